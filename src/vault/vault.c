#include "vault/vault.h"

#include <errno.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "vault/keyring.h"

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES

_Static_assert(NONCE_BYTES + TAG_BYTES == VAULT_OVERHEAD_BYTES, "the overhead is nonce and tag");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_KEYBYTES == KEY_BYTES, "keys are 32 bytes");
_Static_assert((int)VAULT_KEY_BYTES == (int)KEY_BYTES, "keys are 32 bytes");

enum { NAME_MAX_BYTES = 256, VALUE_MAX_BYTES = 1 << 20 };

struct vault {
    struct secret *memory; /* holds the keyring */
};

static const struct keyring *
ring_of(const struct vault *v)
{
    return (const struct keyring *)(const void *)secret_expose(v->memory).p;
}

static bool
is_there(struct str path)
{
    AUTO_FREE char *name = strndup(path.p, path.n);
    struct stat st;

    ENSURE(name != NULL);
    return lstat(name, &st) == 0 || errno != ENOENT;
}

enum err
vault_open(struct str path, bool make, struct vault **ret, struct error *e)
{
    struct secret *memory;
    struct vault *v;

    if (sodium_init() < 0)
        return fail(e, ERR_INTERNAL, "libsodium can not start");
    if (!is_there(path)) {
        if (!make)
            return fail(e, ERR_MASTER_KEY_UNREADABLE,
                "there is no master key at %.*s, but the store holds secrets sealed with one: put "
                "the"
                " file back from a backup, or start with an empty store",
                STR_ARG(path));
        if (keyring_make(path, e) != ERR_OK && e->code != ERR_CONFLICT)
            return e->code;
    }
    if (keyring_read(path, &memory, e) != ERR_OK)
        return e->code;
    v = calloc(1, sizeof(*v));
    ENSURE(v != NULL);
    v->memory = memory;
    *ret = v;
    return ERR_OK;
}

void
vault_close(struct vault *v)
{
    if (v == NULL)
        return;
    secret_free(v->memory);
    free(v);
}

/*
 * What the ciphertext is bound to. Everything but the name has a fixed size, and the name comes
 * last.
 */
struct binding {
    uint8_t bytes[16 + 1 + 16 + 16 + 8 + 8 + NAME_MAX_BYTES];
    size_t n;
};

static void
add(struct binding *b, const void *p, size_t n)
{
    ENSURE(n <= sizeof(b->bytes) - b->n);
    if (n > 0)
        memcpy(b->bytes + b->n, p, n);
    b->n += n;
}

static void
add_int(struct binding *b, int64_t v)
{
    uint8_t bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)((uint64_t)v >> (8 * (7 - i)));
    add(b, bytes, sizeof(bytes));
}

static struct binding
bind(const struct vault_place *place, int64_t key_id)
{
    static const char format[16] = "purser-seal-1";
    struct binding b = {.n = 0};
    uint8_t scope = (uint8_t)place->scope;

    add(&b, format, sizeof(format));
    add(&b, &scope, 1);
    add(&b, place->org.b, sizeof(place->org.b));
    add(&b, place->workspace.b, sizeof(place->workspace.b));
    add_int(&b, place->version);
    add_int(&b, key_id);
    add(&b, place->name.p, place->name.n);
    return b;
}

enum err
vault_seal(const struct vault *v, const struct vault_place *place, struct str value,
    struct arena *a, struct vault_sealed *ret, struct error *e)
{
    const struct keyring *ring = ring_of(v);
    struct binding b;
    uint8_t *out;

    if (place->name.n == 0 || place->name.n > NAME_MAX_BYTES || value.n > VALUE_MAX_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "a secret's name or value is empty or too long");
    b = bind(place, ring->current);
    out = arena_alloc(a, value.n + VAULT_OVERHEAD_BYTES);
    randombytes_buf(out, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE_BYTES, NULL, (const uint8_t *)value.p,
        value.n, b.bytes, b.n, NULL, out, keyring_find(ring, ring->current)->b);
    *ret = (struct vault_sealed){{(char *)out, value.n + VAULT_OVERHEAD_BYTES}, ring->current};
    return ERR_OK;
}

enum err
vault_unseal(const struct vault *v, const struct vault_place *place,
    const struct vault_sealed *sealed, struct secret **ret, struct error *e)
{
    const struct seal_key *key = keyring_find(ring_of(v), sealed->key_id);
    const uint8_t *in = (const uint8_t *)sealed->bytes.p;
    AUTO_SECRET struct secret *value = NULL;
    struct binding b;

    if (key == NULL)
        return fail(e, ERR_SECRET_UNREADABLE,
            "the secret %.*s was sealed with key %lld, which the keyring does not have",
            STR_ARG(place->name), (long long)sealed->key_id);
    if (place->name.n == 0 || place->name.n > NAME_MAX_BYTES ||
        sealed->bytes.n < VAULT_OVERHEAD_BYTES ||
        sealed->bytes.n > VALUE_MAX_BYTES + VAULT_OVERHEAD_BYTES)
        return fail(e, ERR_SECRET_UNREADABLE, "the sealed bytes of a secret are cut");
    if (secret_new_room(sealed->bytes.n - VAULT_OVERHEAD_BYTES, &value, e) != ERR_OK)
        return e->code;
    b = bind(place, sealed->key_id);
    if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)secret_room(value), NULL, NULL,
            in + NONCE_BYTES, sealed->bytes.n - NONCE_BYTES, b.bytes, b.n, in, key->b) != 0)
        return fail(e, ERR_SECRET_UNREADABLE,
            "the secret %.*s can not be unsealed: its row was altered or moved, or the master key "
            "is"
            " another one; set it anew",
            STR_ARG(place->name));
    *ret = TAKE(value);
    return ERR_OK;
}

void
vault_fingerprint(
    const struct vault *v, struct str value, uint8_t ret[static VAULT_FINGERPRINT_BYTES])
{
    value = str_trim(value);
    crypto_generichash(ret, VAULT_FINGERPRINT_BYTES, (const uint8_t *)value.p, value.n,
        ring_of(v)->fingerprint.b, KEY_BYTES);
}

int64_t
vault_current_key(const struct vault *v)
{
    return ring_of(v)->current;
}
