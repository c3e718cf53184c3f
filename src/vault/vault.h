/*
 * What must not leak. Seals values with XChaCha20-Poly1305 under a key of the keyring and binds the
 * result to the place where it is kept: moved to another org, workspace, name or version it does
 * not open. The keyring is one 0600 file, sealed under an outer key if there is one; its keys are in
 * locked memory. Safe for threads once open, changes of the keyring included.
 */
#ifndef VAULT_VAULT_H
#define VAULT_VAULT_H

#include "base/arena.h"
#include "base/ids.h"
#include "vault/outer_key.h"
#include "vault/secret.h"

struct vault;

enum {
    VAULT_KEY_BYTES = 32,
    VAULT_FINGERPRINT_BYTES = 32,
    VAULT_OVERHEAD_BYTES = 24 + 16,
    VAULT_KEYS_MAX = 32
};

enum vault_scope { VAULT_SCOPE_ORG = 1, VAULT_SCOPE_WORKSPACE = 2, VAULT_SCOPE_PLATFORM = 3 };

/*
 * Where a sealed value lives. ORG: workspace is zero. WORKSPACE: both are set. PLATFORM: org is
 * zero, workspace is the platform key's id, name the provider.
 */
struct vault_place {
    enum vault_scope scope;
    struct id org;
    struct id workspace;
    struct str name;
    int64_t version; /* of vault_version(), or constant where the id never comes again */
};

struct vault_sealed {
    struct str bytes; /* nonce, ciphertext, tag */
    int64_t key_id;
};

/*
 * Reads the keyring. When there is no file and make is true, makes one with a fresh key,
 * exclusively and durably: say true only when the store holds nothing sealed (secret_row_any), for
 * a fresh key opens nothing that an old one sealed. ERR_MASTER_KEY_UNREADABLE when it is missing
 * (make false), not ours, readable by others, cut or garbled: the sentence names the way out. Never
 * replaces a file.
 */
enum err vault_open(struct str path, bool make, struct vault **ret, struct error *e) MUST_CHECK;
/*
 * The same with an outer key, which the vault owns from now on, also when this fails; NULL: none. A
 * file that is not sealed under the outer key's first is written anew so that it is.
 */
enum err vault_open_under(struct str path, struct outer_keys *outer, bool make, struct vault **ret,
    struct error *e) MUST_CHECK;
/* Wipes the keys. NULL is fine. */
void vault_close(struct vault *v);

/* Under the current key. The bytes are in the arena. */
enum err vault_seal(const struct vault *v, const struct vault_place *place, struct str value,
    struct arena *a, struct vault_sealed *ret, struct error *e) MUST_CHECK;
/* ERR_SECRET_UNREADABLE on any mismatch: wrong place, unknown key, altered or cut bytes. */
enum err vault_unseal(const struct vault *v, const struct vault_place *place,
    const struct vault_sealed *sealed, struct secret **ret, struct error *e) MUST_CHECK;
/*
 * A number for a place that is written (anew): drawn by lot from 2^62, so that the version of a
 * deleted or replaced value does not come again and its bytes never fit the new one.
 */
int64_t vault_version(void);
/*
 * Equal for equal trimmed values under the same key; tells nothing to who has not the keyring. Rows
 * carry the fingerprint of the key that sealed them, so a value is looked for under each key of
 * vault_keys(), and what an old key's fingerprints told is gone with the key. False: no such key.
 */
bool vault_row_fingerprint(const struct vault *v, int64_t key_id, struct str value,
    uint8_t ret[static VAULT_FINGERPRINT_BYTES]);
/*
 * The same under a key of its own which rotation leaves alone: for what must be recognised for a
 * while and is no row's fingerprint (a repeated request).
 */
void vault_fingerprint(
    const struct vault *v, struct str value, uint8_t ret[static VAULT_FINGERPRINT_BYTES]);

/* The key that vault_seal uses now. */
int64_t vault_current_key(const struct vault *v);
/* The ids of all keys, ascending; returns how many. */
size_t vault_keys(const struct vault *v, int64_t ret[static VAULT_KEYS_MAX]);
/* Reads the file again, which somebody may have replaced; on an error all stays as it was. */
enum err vault_reload(struct vault *v, struct error *e) MUST_CHECK;
/*
 * Changes of the keyring: its file is durable before anything uses it. ERR_CONFLICT with the way out
 * when it cannot be done, ERR_MASTER_KEY_UNREADABLE when the file cannot be written.
 */
/* A fresh key, not used yet. */
enum err vault_key_add(struct vault *v, int64_t *ret_id, struct error *e) MUST_CHECK;
/* The newest key becomes the current one; a fresh one is added when it is that already. */
enum err vault_key_next(struct vault *v, int64_t *ret_id, struct error *e) MUST_CHECK;
/*
 * For ever: only when nothing is sealed under it any more. Not the current one nor a newer one.
 * ERR_NOT_FOUND when there is none with that id.
 */
enum err vault_key_remove(struct vault *v, int64_t id, struct error *e) MUST_CHECK;

#endif
