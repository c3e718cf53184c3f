/*
 * The keyring: text, one fact a line, in this order, with a checksum at the end so that a cut or
 * garbled one is told from a good one before a single value is unsealed:
 *
 *     purser-keyring 1
 *     fingerprint HEX64
 *     key ID HEX64           (one or more, ids ascending)
 *     current ID
 *     check HEX64            (SHA-256 of all lines above)
 *
 * It is kept in a file as it is, or sealed under an outer key that is kept elsewhere (keyring_file.c,
 * outer_key.h). Internal to this folder.
 */
#ifndef VAULT_KEYRING_H
#define VAULT_KEYRING_H

#include <stdint.h>

#include "vault/outer_key.h"

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
/* k is zeroed before. False when text is not one whole keyring. */
bool keyring_parse(struct str text, struct keyring *k);
/* Returns the length. room is locked memory: the text holds the keys. */
size_t keyring_compose(const struct keyring *k, char room[static KEYRING_TEXT_MAX]);
/* One fresh key, current. */
void keyring_fresh(struct keyring *k);
/* A fresh key behind the others, with the next id; not current yet. False when there is no room. */
bool keyring_add(struct keyring *k);
void keyring_remove(struct keyring *k, int64_t id);

/*
 * The file. The keyring is in the room of *ret. outer may be NULL. *ret_stale: it is not sealed as
 * it would be written now (not at all, or under an older outer key). Errors as vault_open() has them.
 */
enum err keyring_read(struct str path, const struct outer_keys *outer, struct secret **ret,
    bool *ret_stale, struct error *e) MUST_CHECK;
/* A file with one fresh key; ERR_CONFLICT when there is a file by then. Never replaces one. */
enum err keyring_make(struct str path, const struct outer_keys *outer, struct error *e) MUST_CHECK;
/* In one step: after a crash there is the old file or the new one, whole and durable. */
enum err keyring_replace(struct str path, const struct outer_keys *outer, const struct keyring *k,
    struct error *e) MUST_CHECK;

#endif
