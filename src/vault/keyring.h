/*
 * The keyring file: text, one fact a line, in this order, with a checksum at the end so that a cut
 * or garbled file is told from a good one before a single value is unsealed:
 *
 *     purser-keyring 1
 *     fingerprint HEX64
 *     key ID HEX64           (one or more, ids ascending)
 *     current ID
 *     check HEX64            (SHA-256 of all lines above)
 *
 * Internal to this folder.
 */
#ifndef VAULT_KEYRING_H
#define VAULT_KEYRING_H

#include <stdint.h>

#include "vault/secret.h"

enum { KEYRING_KEYS_MAX = 32, KEYRING_TEXT_MAX = 3900, KEY_BYTES = 32 };

/* A type per kind of key: none can be used for another's job. */
struct seal_key {
    uint8_t b[KEY_BYTES];
};
struct fingerprint_key {
    uint8_t b[KEY_BYTES];
};

struct keyring {
    struct fingerprint_key fingerprint;
    int64_t current;
    size_t n;
    struct {
        int64_t id;
        struct seal_key key;
    } keys[KEYRING_KEYS_MAX];
};

/* NULL when there is none with that id. */
const struct seal_key *keyring_find(const struct keyring *k, int64_t id);
/* The keyring is in the room of *ret. Errors as vault_open() has them. */
enum err keyring_read(struct str path, struct secret **ret, struct error *e) MUST_CHECK;
/* A file with one fresh key; ERR_CONFLICT when there is a file by then. Never replaces one. */
enum err keyring_make(struct str path, struct error *e) MUST_CHECK;

#endif
