/*
 * What must not leak. Seals values with XChaCha20-Poly1305 under a key of the keyring and binds the
 * result to the place where it is kept: moved to another org, workspace, name or version it does
 * not open. The keyring is one 0600 file; its keys are in locked memory. Safe for threads once
 * open.
 */
#ifndef VAULT_VAULT_H
#define VAULT_VAULT_H

#include "base/arena.h"
#include "base/ids.h"
#include "vault/secret.h"

struct vault;

enum { VAULT_KEY_BYTES = 32, VAULT_FINGERPRINT_BYTES = 32, VAULT_OVERHEAD_BYTES = 24 + 16 };

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
    int64_t version;
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
/* Wipes the keys. NULL is fine. */
void vault_close(struct vault *v);

/* Under the current key. The bytes are in the arena. */
enum err vault_seal(const struct vault *v, const struct vault_place *place, struct str value,
    struct arena *a, struct vault_sealed *ret, struct error *e) MUST_CHECK;
/* ERR_SECRET_UNREADABLE on any mismatch: wrong place, unknown key, altered or cut bytes. */
enum err vault_unseal(const struct vault *v, const struct vault_place *place,
    const struct vault_sealed *sealed, struct secret **ret, struct error *e) MUST_CHECK;
/*
 * Equal for equal trimmed values; tells nothing else to who has not the keyring; survives
 * rotation.
 */
void vault_fingerprint(
    const struct vault *v, struct str value, uint8_t ret[static VAULT_FINGERPRINT_BYTES]);
/* The key that vault_seal uses now. */
int64_t vault_current_key(const struct vault *v);

#endif
