#include "api/reseal.h"

#include "store/sealed_row.h"

#include <stdatomic.h>

enum { BATCH = 100, AGAIN_MS = 5000, TROUBLE_MS = 1000 };

struct reseal {
    struct api *api;
    pthread_t thread;
    atomic_bool closing;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool wanted;
    struct reseal_status status;
};

struct batch {
    struct reseal *r;
    enum sealed_kind kind;
    int64_t key_id;
    const struct sealed_row *behind;
    struct arena arena;
    struct sealed_row *rows;
    size_t n;
    struct sealed_fresh fresh[BATCH]; /* sealed.n 0: the row does not open */
    int64_t done, unreadable;
};

static enum err
read_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct batch *b = ctx;

    return sealed_row_list(tx, b->kind, b->key_id, b->behind, BATCH, &b->arena, &b->rows, &b->n, e);
}

static enum err
write_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct batch *b = ctx;
    enum err err = ERR_OK;

    b->done = 0;
    for (size_t i = 0; err == ERR_OK && i < b->n; i++) {
        bool done = false;

        if (b->fresh[i].sealed.n == 0)
            continue;
        err = sealed_key_check(tx, b->fresh[i].key_id, e);
        if (err == ERR_OK)
            err = sealed_row_replace(tx, &b->rows[i], &b->fresh[i], &done, e);
        b->done += done;
    }
    return err;
}

/* False: it does not open, and stays. */
static bool
seal_anew(struct batch *b, size_t i)
{
    static const enum vault_scope scopes[SEALED_KIND_COUNT] = {
        [SEALED_ORG_SECRET] = VAULT_SCOPE_ORG,
        [SEALED_WORKSPACE_SECRET] = VAULT_SCOPE_WORKSPACE,
        [SEALED_PLATFORM_KEY] = VAULT_SCOPE_PLATFORM,
    };
    const struct vault *vault = b->r->api->o.vault;
    const struct sealed_row *row = &b->rows[i];
    struct vault_place place = {
        scopes[row->kind], row->org, row->workspace, row->name, row->version};
    struct vault_sealed old = {row->sealed, row->key_id}, fresh;
    AUTO_SECRET struct secret *value = NULL;
    uint8_t *print = arena_alloc(&b->arena, VAULT_FINGERPRINT_BYTES);
    struct error e;

    if (vault_unseal(vault, &place, &old, &value, &e) != ERR_OK ||
        vault_seal(vault, &place, secret_expose(value), &b->arena, &fresh, &e) != ERR_OK ||
        !vault_row_fingerprint(vault, fresh.key_id, secret_expose(value), print))
        return false;
    b->fresh[i] = (struct sealed_fresh){
        fresh.bytes, {(const char *)print, VAULT_FINGERPRINT_BYTES}, fresh.key_id};
    return true;
}

/* One batch; *ret_more: there may be another one behind it. */
static enum err
run_batch(struct batch *b, bool *ret_more, struct error *e)
{
    struct store *store = b->r->api->o.store;
    enum err err = store_read(store, read_tx, b, e);

    b->unreadable = 0;
    for (size_t i = 0; err == ERR_OK && i < b->n; i++)
        b->unreadable += !seal_anew(b, i);
    if (err == ERR_OK && b->n > 0)
        err = store_tx_durable(store, write_tx, b, e);
    if (err != ERR_OK)
        return err;
    *ret_more = b->n == BATCH;
    pthread_mutex_lock(&b->r->lock);
    b->r->status.done += b->done;
    pthread_mutex_unlock(&b->r->lock);
    return ERR_OK;
}

/* All rows of one kind under one old key, but for those that do not open. */
static enum err
run_kind(
    struct reseal *r, enum sealed_kind kind, int64_t key_id, int64_t *unreadable, struct error *e)
{
    const struct timespec pause = {.tv_nsec = 1000000}; /* lets those in who wait to write */
    struct sealed_row behind;
    char name[512];
    bool more = true, has_behind = false;
    enum err err = ERR_OK;

    while (err == ERR_OK && more && !atomic_load(&r->closing)) {
        struct batch b = {
            .r = r, .kind = kind, .key_id = key_id, .behind = has_behind ? &behind : NULL};

        more = false;
        err = run_batch(&b, &more, e);
        *unreadable += b.unreadable;
        if (err == ERR_OK && more) {
            behind = b.rows[b.n - 1];
            ENSURE(behind.name.n <= sizeof(name));
            memcpy(name, behind.name.p, behind.name.n);
            behind.name.p = name;
            has_behind = true;
        }
        arena_done(&b.arena);
        nanosleep(&pause, NULL);
    }
    return err;
}

/* A key whose retirement was cut short is taken out of the keyring now. */
struct retired {
    int64_t key_id;
    bool is_retired;
};

static enum err
retired_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct retired *r = ctx;

    return sealed_key_is_retired(tx, r->key_id, &r->is_retired, e);
}

static enum err
run_round(struct reseal *r, int64_t *ret_unreadable, struct error *e)
{
    struct vault *vault = r->api->o.vault;
    int64_t keys[VAULT_KEYS_MAX], current = vault_current_key(vault), unreadable = 0;
    size_t keys_n = vault_keys(vault, keys);

    for (size_t i = 0; i < keys_n; i++) {
        struct retired q = {.key_id = keys[i]};

        if (keys[i] >= current)
            continue;
        if (store_read(r->api->o.store, retired_tx, &q, e) != ERR_OK)
            return e->code;
        if (q.is_retired && vault_key_remove(vault, keys[i], e) != ERR_OK)
            return e->code;
        for (int kind = 0; !q.is_retired && kind < SEALED_KIND_COUNT; kind++) {
            if (run_kind(r, (enum sealed_kind)kind, keys[i], &unreadable, e) != ERR_OK)
                return e->code;
        }
    }
    *ret_unreadable = unreadable;
    return ERR_OK;
}

/*
 * Until when to wait: somebody who sealed before a rotation may write after the round, so it looks
 * again while there are old keys. Called with the lock held.
 */
static void
wait_for_work(struct reseal *r, int64_t ms)
{
    int64_t until_ms = clock_monotonic_ms() + ms;
    struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};

    if (ms == 0)
        pthread_cond_wait(&r->changed, &r->lock);
    else
        pthread_cond_timedwait(&r->changed, &r->lock, &until);
}

static void *
reseal_main(void *ctx)
{
    struct reseal *r = ctx;
    int64_t told = 0;

    pthread_mutex_lock(&r->lock);
    while (!atomic_load(&r->closing)) {
        int64_t keys[VAULT_KEYS_MAX], unreadable = 0;
        struct error e = {.code = ERR_OK};
        enum err err;

        r->wanted = false;
        r->status.running = true;
        pthread_mutex_unlock(&r->lock);
        err = run_round(r, &unreadable, &e);
        if (err != ERR_OK && told == 0)
            log_warn("keys", "sealing anew waits: %s", e.text);
        if (err == ERR_OK && unreadable > 0 && told != unreadable)
            log_error("keys", "%lld values do not open and stay as they are (purser audit secrets)",
                (long long)unreadable);
        told = err != ERR_OK ? -1 : unreadable;
        pthread_mutex_lock(&r->lock);
        r->status.running = err != ERR_OK;
        r->status.unreadable = unreadable;
        snprintf(r->status.trouble, sizeof(r->status.trouble), "%.*s",
            (int)sizeof(r->status.trouble) - 1, err == ERR_OK ? "" : e.text);
        if (!r->wanted && !atomic_load(&r->closing))
            wait_for_work(r,
                err != ERR_OK                               ? TROUBLE_MS
                    : vault_keys(r->api->o.vault, keys) > 1 ? AGAIN_MS
                                                            : 0);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err
reseal_open(struct api *a, struct reseal **ret, struct error *e)
{
    AUTO_FREE struct reseal *r = calloc(1, sizeof(*r));
    pthread_condattr_t attributes;

    ENSURE(r != NULL);
    r->api = a;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&r->thread, NULL, reseal_main, r) != 0)
        return fail(e, ERR_INTERNAL, "no thread for sealing anew");
    *ret = TAKE(r);
    return ERR_OK;
}

void
reseal_close(struct reseal *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    atomic_store(&r->closing, true);
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

void
reseal_begin(struct reseal *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->wanted = true;
    r->status.running = true;
    r->status.done = 0;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

void
reseal_status(struct reseal *r, struct reseal_status *ret)
{
    if (r == NULL) {
        *ret = (struct reseal_status){0};
        return;
    }
    pthread_mutex_lock(&r->lock);
    *ret = r->status;
    pthread_mutex_unlock(&r->lock);
}
