/*
 * Credentials' text form: prefix + 43 base62 digits (256 random bits) + 6 base62 digits of CRC-32
 * over what stands before. Stored and compared only as SHA-256. The CRC lets a typing error and a
 * foreign token be told apart from a revoked one without a look-up.
 */
#ifndef CORE_TOKEN_H
#define CORE_TOKEN_H

#include "core/str.h"

#include <stdint.h>

enum token_kind { TOKEN_ADMIN, TOKEN_ORG, TOKEN_WORKSPACE, TOKEN_USAGE, TOKEN_KIND_COUNT };

enum {
    TOKEN_RANDOM_BYTES = 32,
    TOKEN_TEXT_BYTES = 8 + 43 + 6, /* at most; without a NUL */
    TOKEN_DIGEST_BYTES = 32,
};

/* "psr_adm_" ... */
struct str token_prefix(enum token_kind kind);
/* Writes the text (no NUL) and returns its length. */
size_t token_format(enum token_kind kind, const uint8_t random[static TOKEN_RANDOM_BYTES],
    char ret[static TOKEN_TEXT_BYTES]);
/* True when text has the form and the CRC of that kind. */
bool token_parse(struct str text, enum token_kind *ret_kind);
/* SHA-256 of the text. */
void token_digest(struct str text, uint8_t ret[static TOKEN_DIGEST_BYTES]);

#endif
