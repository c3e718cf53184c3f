/*
 * The outer key: 256 bits that are kept away from the state directory (a KMS, a systemd credential)
 * and under which the keyring's file is sealed. The file alone then opens nothing.
 *
 * The source gives text, one key a line, as 64 hexadecimal digits ("openssl rand -hex 32"); empty
 * lines and those that begin with # do not count. The first key seals; all of them open, so an outer
 * key is replaced by putting the new one in front, starting purser once, and taking the old one out.
 */
#ifndef VAULT_OUTER_KEY_H
#define VAULT_OUTER_KEY_H

#include "vault/secret.h"

#include <stdint.h>

enum { OUTER_KEYS_MAX = 8, OUTER_KEY_BYTES = 32 };

/* Lives in locked memory; whoever has it frees it with outer_keys_free(). */
struct outer_keys {
    size_t n;
    uint8_t keys[OUTER_KEYS_MAX][OUTER_KEY_BYTES];
    struct secret *memory; /* what all this is in */
};

/*
 * Where it comes from. Texts are NUL-terminated; empty ones and NULL are not set. Without file and
 * command, purser-key in the credentials' directory is taken when systemd has put it there.
 */
struct outer_source {
    const char *file;
    /* Program and arguments, split at spaces, run without a shell; its output is the text. */
    const char *command;
    const char *credentials; /* systemd's $CREDENTIALS_DIRECTORY */
    char *const *variables;  /* the command's environment; NULL: none */
};

/* *ret is NULL when there is no source. ERR_MASTER_KEY_UNREADABLE with the way out. */
enum err outer_keys_read(
    const struct outer_source *source, struct outer_keys **ret, struct error *e) MUST_CHECK;
/* Wipes. NULL is fine. */
void outer_keys_free(struct outer_keys *k);

static inline void
outer_keys_cleanup(struct outer_keys **k)
{
    outer_keys_free(*k);
}
#define AUTO_OUTER_KEYS __attribute__((cleanup(outer_keys_cleanup)))

#endif
