#include "daemon/follow.h"

#include "api/plan.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "store/platform_key.h"
#include "store/token_row.h"
#include "store/watch.h"

#include <pthread.h>
#include <sodium.h>
#include <time.h>

enum { POLL_MS = 2000, AGAIN_S = 2 };

struct follow {
    struct store *store;
    struct edge *edge;
    struct budgets *budgets;
    struct api *api;
    struct store_watch *watch;
    /* New keys mean a reload of nginx, which takes its time: no revocation waits for it. */
    pthread_t keys_thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    enum keys_due { KEYS_FINE, KEYS_TO_COMPARE, KEYS_CHANGED } keys_due;
    bool stopping;
};

struct look_up {
    struct arena *arena;
    const uint8_t *digest;
    struct token_row token;
    bool live;
};

static enum err
find_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct look_up *l = ctx;
    bool suspended = false;
    enum err err = token_row_find(tx, l->digest, clock_ms(), l->arena, &l->token, &suspended, e);

    l->live = err == ERR_OK && l->token.kind == TOKEN_USAGE && !suspended;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err
publish(struct edge *edge, struct arena *arena, const struct token_row *row, struct error *e)
{
    struct edge_token t = {.token = row->id,
        .org = row->org,
        .workspace = row->workspace,
        .decision = row->decision,
        .expires_ms = row->expires_ms};

    memcpy(t.digest, row->digest, sizeof(t.digest));
    t.models = plan_list(arena, row->models, &t.models_n);
    return edge_token_publish(edge, &t, e);
}

/*
 * Brings one token in line. After a publication the store is asked again: a revocation of our own
 * that was committed in between may have reached the gateway before it.
 */
static enum err
apply_token(const struct follow *f, const uint8_t digest[static 32], struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct look_up l = {.arena = &arena, .digest = digest};
    enum err err = store_read(f->store, find_tx, &l, e);

    if (err == ERR_OK && l.live) {
        err = publish(f->edge, &arena, &l.token, e);
        if (err == ERR_OK)
            err = store_read(f->store, find_tx, &l, e);
    }
    if (err == ERR_OK && !l.live)
        edge_token_revoke(f->edge, digest);
    return err;
}

static int
compare_digests(const void *a, const void *b)
{
    return memcmp(a, b, 32);
}

struct listing {
    struct arena *arena;
    struct token_row *tokens;
    struct platform_key *keys;
    size_t tokens_n, keys_n;
};

static enum err
tokens_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct listing *l = ctx;

    return token_row_list_live_usage(tx, clock_ms(), l->arena, &l->tokens, &l->tokens_n, e);
}

/* Applies each digest of a that is not in b. Both are sorted. */
static enum err
apply_missing(const struct follow *f, uint8_t (*a)[32], size_t a_n, uint8_t (*b)[32], size_t b_n,
    struct error *e)
{
    enum err err = ERR_OK;

    for (size_t i = 0; err == ERR_OK && i < a_n; i++) {
        if (bsearch(a[i], b, b_n, 32, compare_digests) == NULL)
            err = apply_token(f, a[i], e);
    }
    return err;
}

/* Only the differences between store and gateway are looked at one by one. */
static enum err
apply_all_tokens(const struct follow *f, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    AUTO_FREE void *owner = NULL;
    struct listing l = {.arena = &arena};
    uint8_t(*wanted)[32], (*there)[32];
    size_t there_n;
    enum err err = store_read(f->store, tokens_tx, &l, e);

    if (err != ERR_OK)
        return err;
    wanted = arena_array(&arena, l.tokens_n + 1, sizeof(*wanted));
    for (size_t i = 0; i < l.tokens_n; i++)
        memcpy(wanted[i], l.tokens[i].digest, sizeof(wanted[i]));
    there_n = edge_token_digests(f->edge, &there);
    owner = there;
    qsort(wanted, l.tokens_n, 32, compare_digests);
    qsort(there, there_n, 32, compare_digests);
    err = apply_missing(f, wanted, l.tokens_n, there, there_n, e);
    return err == ERR_OK ? apply_missing(f, there, there_n, wanted, l.tokens_n, e) : err;
}

static enum err
keys_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct listing *l = ctx;

    return platform_key_list(tx, l->arena, &l->keys, &l->keys_n, e);
}

/* Something was missed, perhaps not this: nginx is reloaded only when the keys are others. */
static enum err
compare_platform_keys(const struct follow *f, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct listing l = {.arena = &arena};
    struct id *ids;
    enum err err = store_read(f->store, keys_tx, &l, e);

    if (err != ERR_OK)
        return err;
    ids = arena_array(&arena, l.keys_n + 1, sizeof(*ids));
    for (size_t i = 0; i < l.keys_n; i++)
        ids[i] = l.keys[i].id;
    return edge_holds_keys(f->edge, ids, l.keys_n) ? ERR_OK
                                                   : edge_platform_keys_changed(f->edge, e);
}

static void
keys_are_due(struct follow *f, enum keys_due due)
{
    pthread_mutex_lock(&f->lock);
    if (due > f->keys_due)
        f->keys_due = due;
    pthread_cond_signal(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void *
keys_main(void *arg)
{
    struct follow *f = arg;

    pthread_mutex_lock(&f->lock);
    while (!f->stopping) {
        enum keys_due due = f->keys_due;
        struct timespec until;
        struct error e;
        enum err err;

        if (due == KEYS_FINE) {
            pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        f->keys_due = KEYS_FINE;
        pthread_mutex_unlock(&f->lock);
        err = due == KEYS_CHANGED ? edge_platform_keys_changed(f->edge, &e)
                                  : compare_platform_keys(f, &e);
        if (err != ERR_OK)
            log_warn("purserd", "another node's platform keys are looked at again: %s", e.text);
        until = clock_deadline(AGAIN_S * 1000);
        pthread_mutex_lock(&f->lock);
        if (err == ERR_OK)
            continue;
        f->keys_due = due > f->keys_due ? due : f->keys_due;
        while (!f->stopping && clock_wait(&f->changed, &f->lock, &until) == 0)
            continue;
    }
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static bool
take_id(const struct follow *f, enum store_change change, struct str key)
{
    struct id id;

    if (!id_parse(key, &id))
        return true;
    if (change == STORE_CHANGE_WISH)
        return api_wishes_changed(f->api, id);
    if (change == STORE_CHANGE_EVENT)
        api_events_changed(f->api, id);
    else
        budgets_recount(f->budgets, id); /* a call of this org was corrected */
    return true;
}

/* A store_change_fn. */
static bool
take_change(void *ctx, enum store_change change, struct str key)
{
    struct follow *f = ctx;
    uint8_t digest[32];
    enum err err = ERR_OK;
    struct error e;
    size_t n = 0;

    if (change == STORE_CHANGE_EVENT || change == STORE_CHANGE_WISH)
        return take_id(f, change, key);
    if (change == STORE_CHANGE_BUDGETS || change == STORE_CHANGE_ANY)
        budgets_refresh_soon(f->budgets);
    if (change == STORE_CHANGE_BUDGETS)
        return take_id(f, change, key);
    if (change == STORE_CHANGE_ANY && !api_wishes_changed(f->api, (struct id){0}))
        return false;
    if (change != STORE_CHANGE_TOKEN)
        keys_are_due(f, change == STORE_CHANGE_ANY ? KEYS_TO_COMPARE : KEYS_CHANGED);
    if (change == STORE_CHANGE_TOKEN &&
        sodium_hex2bin(digest, sizeof(digest), key.p, key.n, NULL, &n, NULL) == 0 &&
        n == sizeof(digest))
        err = apply_token(f, digest, &e);
    else if (change != STORE_CHANGE_PLATFORM_KEYS)
        err = apply_all_tokens(f, &e);
    if (err != ERR_OK)
        log_warn("purserd", "what another node changed is looked at again later: %s", e.text);
    return err == ERR_OK;
}

struct follow *
follow_start(struct store *store, struct edge *edge, struct budgets *budgets, struct api *api)
{
    struct follow *f = calloc(1, sizeof(*f));
    const struct store_watch_options o = {.poll_ms = POLL_MS, .fn = take_change, .ctx = f};

    ENSURE(f != NULL);
    f->store = store;
    f->edge = edge;
    f->budgets = budgets;
    f->api = api;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->changed, NULL);
    ENSURE(pthread_create(&f->keys_thread, NULL, keys_main, f) == 0);
    store_watch_start(store, &o, &f->watch);
    return f;
}

void
follow_stop(struct follow *f)
{
    if (f == NULL)
        return;
    store_watch_stop(f->watch);
    pthread_mutex_lock(&f->lock);
    f->stopping = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    pthread_join(f->keys_thread, NULL);
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->changed);
    free(f);
}
