#include "vault/vault.h"

#include <errno.h>
#include <pthread.h>
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

_Static_assert((int)VAULT_KEYS_MAX == (int)KEYRING_KEYS_MAX, "all keys fit");

struct vault {
    pthread_rwlock_t *lock; /* guards memory */
    struct secret *memory;  /* holds the keyring */
    struct outer_keys *outer;
    char *path;
};

/* Between reading() and done(). */
static const struct keyring *
reading(const struct vault *v)
{
    pthread_rwlock_rdlock(v->lock);
    return (const struct keyring *)(const void *)secret_expose(v->memory).p;
}

static void
done(const struct vault *v)
{
    pthread_rwlock_unlock(v->lock);
}

static bool
is_there(struct str path)
{
    AUTO_FREE char *name = strndup(path.p, path.n);
    struct stat st;

    ENSURE(name != NULL);
    return lstat(name, &st) == 0 || errno != ENOENT;
}

static enum err
read_ring(struct str path, const struct outer_keys *outer, bool make, struct secret **ret,
    struct error *e)
{
    AUTO_SECRET struct secret *ring = NULL;
    bool stale = false;

    if (!is_there(path)) {
        if (!make)
            return fail(e, ERR_MASTER_KEY_UNREADABLE,
                "there is no master key at %.*s, but the store holds secrets sealed with one: put "
                "the file back from a backup, or start with an empty store",
                STR_ARG(path));
        if (keyring_make(path, outer, e) != ERR_OK && e->code != ERR_CONFLICT)
            return e->code;
    }
    if (keyring_read(path, outer, &ring, &stale, e) != ERR_OK)
        return e->code;
    if (stale &&
        keyring_replace(
            path, outer, (const struct keyring *)(const void *)secret_expose(ring).p, e) != ERR_OK)
        return e->code;
    *ret = TAKE(ring);
    return ERR_OK;
}

enum err
vault_open_under(
    struct str path, struct outer_keys *outer, bool make, struct vault **ret, struct error *e)
{
    AUTO_OUTER_KEYS struct outer_keys *owned = outer;
    struct secret *memory = NULL;
    struct vault *v;

    if (sodium_init() < 0)
        return fail(e, ERR_INTERNAL, "libsodium can not start");
    if (read_ring(path, owned, make, &memory, e) != ERR_OK)
        return e->code;
    v = calloc(1, sizeof(*v));
    ENSURE(v != NULL);
    v->lock = calloc(1, sizeof(*v->lock));
    v->path = strndup(path.p, path.n);
    ENSURE(v->lock != NULL && v->path != NULL);
    pthread_rwlock_init(v->lock, NULL);
    v->memory = memory;
    v->outer = TAKE(owned);
    *ret = v;
    return ERR_OK;
}

enum err
vault_open(struct str path, bool make, struct vault **ret, struct error *e)
{
    return vault_open_under(path, NULL, make, ret, e);
}

void
vault_close(struct vault *v)
{
    if (v == NULL)
        return;
    secret_free(v->memory);
    outer_keys_free(v->outer);
    pthread_rwlock_destroy(v->lock);
    free(v->lock);
    free(v->path);
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
    const struct keyring *ring;
    struct binding b;
    int64_t key_id;
    uint8_t *out;

    if (place->name.n == 0 || place->name.n > NAME_MAX_BYTES || value.n > VALUE_MAX_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "a secret's name or value is empty or too long");
    out = arena_alloc(a, value.n + VAULT_OVERHEAD_BYTES);
    randombytes_buf(out, NONCE_BYTES);
    ring = reading(v);
    key_id = ring->current;
    b = bind(place, key_id);
    crypto_aead_xchacha20poly1305_ietf_encrypt(out + NONCE_BYTES, NULL, (const uint8_t *)value.p,
        value.n, b.bytes, b.n, NULL, out, keyring_find(ring, key_id)->b);
    done(v);
    *ret = (struct vault_sealed){{(char *)out, value.n + VAULT_OVERHEAD_BYTES}, key_id};
    return ERR_OK;
}

enum open_result { OPENED, NO_KEY, NOT_OURS };

static enum open_result
open_into(const struct vault *v, const struct vault_place *place, const struct vault_sealed *sealed,
    char *room)
{
    const uint8_t *in = (const uint8_t *)sealed->bytes.p;
    struct binding b = bind(place, sealed->key_id);
    const struct seal_key *key = keyring_find(reading(v), sealed->key_id);
    enum open_result result = NO_KEY;

    if (key != NULL)
        result = crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)room, NULL, NULL,
                     in + NONCE_BYTES, sealed->bytes.n - NONCE_BYTES, b.bytes, b.n, in, key->b) == 0
            ? OPENED
            : NOT_OURS;
    done(v);
    return result;
}

enum err
vault_unseal(const struct vault *v, const struct vault_place *place,
    const struct vault_sealed *sealed, struct secret **ret, struct error *e)
{
    AUTO_SECRET struct secret *value = NULL;

    if (place->name.n == 0 || place->name.n > NAME_MAX_BYTES ||
        sealed->bytes.n < VAULT_OVERHEAD_BYTES ||
        sealed->bytes.n > VALUE_MAX_BYTES + VAULT_OVERHEAD_BYTES)
        return fail(e, ERR_SECRET_UNREADABLE, "the sealed bytes of a secret are cut");
    if (secret_new_room(sealed->bytes.n - VAULT_OVERHEAD_BYTES, &value, e) != ERR_OK)
        return e->code;
    switch (open_into(v, place, sealed, secret_room(value))) {
    case OPENED:
        *ret = TAKE(value);
        return ERR_OK;
    case NO_KEY:
        return fail(e, ERR_SECRET_UNREADABLE,
            "the secret %.*s was sealed with key %lld, which the keyring does not have",
            STR_ARG(place->name), (long long)sealed->key_id);
    default:
        return fail(e, ERR_SECRET_UNREADABLE,
            "the secret %.*s can not be unsealed: its row was altered or moved, or the master key "
            "is another one; set it anew",
            STR_ARG(place->name));
    }
}

int64_t
vault_version(void)
{
    uint64_t drawn;

    randombytes_buf(&drawn, sizeof(drawn));
    return (int64_t)((drawn >> 2) + 1);
}

static void
fingerprint_with(const uint8_t key[static KEY_BYTES], struct str value,
    uint8_t ret[static VAULT_FINGERPRINT_BYTES])
{
    value = str_trim(value);
    crypto_generichash(
        ret, VAULT_FINGERPRINT_BYTES, (const uint8_t *)value.p, value.n, key, KEY_BYTES);
}

void
vault_fingerprint(
    const struct vault *v, struct str value, uint8_t ret[static VAULT_FINGERPRINT_BYTES])
{
    fingerprint_with(reading(v)->fingerprint.b, value, ret);
    done(v);
}

/* Never the sealing key itself: one made of it for this job alone. */
bool
vault_row_fingerprint(const struct vault *v, int64_t key_id, struct str value,
    uint8_t ret[static VAULT_FINGERPRINT_BYTES])
{
    static const char job[] = "purser-row-fingerprint-1";
    const struct seal_key *key = keyring_find(reading(v), key_id);
    uint8_t made[KEY_BYTES];
    bool found = key != NULL;

    if (found)
        crypto_generichash(
            made, sizeof(made), (const uint8_t *)job, sizeof(job) - 1, key->b, KEY_BYTES);
    done(v);
    if (found)
        fingerprint_with(made, value, ret);
    sodium_memzero(made, sizeof(made));
    return found;
}

int64_t
vault_current_key(const struct vault *v)
{
    int64_t id = reading(v)->current;

    done(v);
    return id;
}

size_t
vault_keys(const struct vault *v, int64_t ret[static VAULT_KEYS_MAX])
{
    const struct keyring *ring = reading(v);
    size_t n = ring->n;

    for (size_t i = 0; i < n; i++)
        ret[i] = ring->keys[i].id;
    done(v);
    return n;
}

enum err
vault_reload(struct vault *v, struct error *e)
{
    AUTO_SECRET struct secret *fresh = NULL;
    struct secret *before;
    enum err err;

    pthread_rwlock_wrlock(v->lock);
    err = read_ring(str_from_cstr(v->path), v->outer, false, &fresh, e);
    if (err == ERR_OK) {
        before = v->memory;
        v->memory = TAKE(fresh);
        fresh = before; /* wiped and freed at the end of this block */
    }
    pthread_rwlock_unlock(v->lock);
    return err;
}

/* What a change does to a copy of the keyring; the id it is about goes in and out. */
typedef enum err change_fn(struct keyring *ring, int64_t *id, struct error *e);

/* Copy, change, make durable, and only then use. */
static enum err
change(struct vault *v, change_fn *fn, int64_t *id, struct error *e)
{
    AUTO_SECRET struct secret *fresh = NULL;
    struct secret *before;
    enum err err;

    pthread_rwlock_wrlock(v->lock);
    before = v->memory;
    err = secret_new(secret_expose(before), &fresh, e);
    if (err == ERR_OK)
        err = fn((struct keyring *)(void *)secret_room(fresh), id, e);
    if (err == ERR_OK)
        err = keyring_replace(str_from_cstr(v->path), v->outer,
            (const struct keyring *)(const void *)secret_expose(fresh).p, e);
    if (err == ERR_OK) {
        v->memory = TAKE(fresh);
        fresh = before; /* wiped and freed at the end of this block */
    }
    pthread_rwlock_unlock(v->lock);
    return err;
}

static enum err
change_add(struct keyring *ring, int64_t *id, struct error *e)
{
    if (!keyring_add(ring))
        return fail(e, ERR_CONFLICT,
            "the keyring holds %d keys already: retire those that nothing is sealed under "
            "(purser keys status, purser keys retire ID)",
            KEYRING_KEYS_MAX);
    *id = ring->keys[ring->n - 1].id;
    return ERR_OK;
}

static enum err
change_next(struct keyring *ring, int64_t *id, struct error *e)
{
    if (ring->keys[ring->n - 1].id == ring->current && change_add(ring, id, e) != ERR_OK)
        return e->code;
    ring->current = *id = ring->keys[ring->n - 1].id;
    return ERR_OK;
}

static enum err
change_remove(struct keyring *ring, int64_t *id, struct error *e)
{
    if (keyring_find(ring, *id) == NULL)
        return fail(e, ERR_NOT_FOUND, "the keyring has no key %lld", (long long)*id);
    if (*id >= ring->current)
        return fail(e, ERR_CONFLICT,
            *id == ring->current
                ? "key %lld is the one in use: bring another one into use first (purser keys "
                  "rotate)"
                : "key %lld is newer than the one in use: bring it into use (purser keys rotate)",
            (long long)*id);
    keyring_remove(ring, *id);
    return ERR_OK;
}

enum err
vault_key_add(struct vault *v, int64_t *ret_id, struct error *e)
{
    return change(v, change_add, ret_id, e);
}

enum err
vault_key_next(struct vault *v, int64_t *ret_id, struct error *e)
{
    return change(v, change_next, ret_id, e);
}

enum err
vault_key_remove(struct vault *v, int64_t id, struct error *e)
{
    return change(v, change_remove, &id, e);
}
