#include "store/impl.h"
#include "store/migration.h"
#include "store/query.h"

#include <time.h>

#include "base/cleanup.h"

enum { TRIES = 10, FIRST_PAUSE_MS = 5, PAUSE_MAX_MS = 300 };

/* A transaction inside another one would wait for its own thread. */
static _Thread_local bool in_transaction;

static enum err
pool_take(struct store *s, struct db **ret, struct error *e)
{
    struct db *db = NULL;

    pthread_mutex_lock(&s->lock);
    while (s->idle_n == 0 && s->open_n == STORE_POOL_SIZE)
        pthread_cond_wait(&s->freed, &s->lock);
    if (s->idle_n > 0)
        db = s->idle[--s->idle_n];
    else
        s->open_n++;
    pthread_mutex_unlock(&s->lock);

    if (db == NULL && db_open(s->driver, s->target, 0, &s->fault, &db, e) != ERR_OK) {
        pthread_mutex_lock(&s->lock);
        s->open_n--;
        pthread_cond_signal(&s->freed);
        pthread_mutex_unlock(&s->lock);
        return e->code;
    }
    *ret = db;
    return ERR_OK;
}

/*
 * A connection that may be inside a half-done transaction is not used again, and those that wait are
 * not trusted either: a server that was away has lost them all.
 */
static void
pool_give(struct store *s, struct db *db, bool usable)
{
    pthread_mutex_lock(&s->lock);
    s->idle[s->idle_n++] = db;
    while (!usable && s->idle_n > 0) {
        db_close(s->idle[--s->idle_n]);
        s->open_n--;
    }
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

/* Begins, runs, commits or rolls back. *ret_usable false: the connection must be closed. */
static enum err
run_on(struct store *s, struct db *db, enum db_mode mode, store_tx_fn *fn, void *ctx,
    bool *ret_busy, bool *ret_usable, struct error *e)
{
    struct store_tx tx = {.store = s, .db = db};
    enum db_result result = db_begin(db, mode);
    enum err err = result == DB_OK ? fn(&tx, ctx, e) : db_fail(db, result, e);

    if (err == ERR_OK && tx.failed)
        err = fail(e, ERR_INTERNAL, "a failed statement was overlooked: nothing was written");
    if (err == ERR_OK) {
        result = db_commit(db);
        if (result != DB_OK)
            err = db_fail(db, result, e);
    }
    if (err == ERR_OK && tx.events && s->on_event != NULL)
        s->on_event(s->on_event_ctx, tx.events_org);
    *ret_busy = tx.busy || result == DB_BUSY;
    *ret_usable = err == ERR_OK || db_rollback(db) == DB_OK;
    return err;
}

static enum err
run_once(struct store *s, enum db_mode mode, bool durable, store_tx_fn *fn, void *ctx,
    bool *ret_busy, struct error *e)
{
    struct db *db = NULL;
    bool usable = true;
    enum err err;

    *ret_busy = false;
    if (durable) {
        pthread_mutex_lock(&s->durable_lock);
        err = s->durable != NULL
            ? ERR_OK
            : db_open(s->driver, s->target, DB_DURABLE, &s->fault, &s->durable, e);
        if (err == ERR_OK)
            err = run_on(s, s->durable, mode, fn, ctx, ret_busy, &usable, e);
        if (!usable)
            db_close(TAKE(s->durable));
        pthread_mutex_unlock(&s->durable_lock);
        return err;
    }
    if (pool_take(s, &db, e) != ERR_OK)
        return e->code;
    err = run_on(s, db, mode, fn, ctx, ret_busy, &usable, e);
    pool_give(s, db, usable);
    return err;
}

static void
pause_before(int attempt)
{
    long ms = (long)FIRST_PAUSE_MS << attempt;

    ms = ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : ms;
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static enum err
run(struct store *s, enum db_mode mode, bool durable, store_tx_fn *fn, void *ctx, struct error *e)
{
    bool queue = mode == DB_WRITE && s->driver->one_writer;
    bool busy = true;
    enum err err = ERR_OK;

    ENSURE(!in_transaction);
    in_transaction = true;
    for (int attempt = 0; attempt < TRIES && busy; attempt++) {
        if (attempt > 0)
            pause_before(attempt);
        if (queue)
            pthread_mutex_lock(&s->writer);
        err = run_once(s, mode, durable, fn, ctx, &busy, e);
        if (queue)
            pthread_mutex_unlock(&s->writer);
        busy = busy && err != ERR_OK;
    }
    in_transaction = false;
    return err;
}

enum err
store_tx(struct store *s, store_tx_fn *fn, void *ctx, struct error *e)
{
    return run(s, DB_WRITE, false, fn, ctx, e);
}

enum err
store_tx_durable(struct store *s, store_tx_fn *fn, void *ctx, struct error *e)
{
    return run(s, DB_WRITE, true, fn, ctx, e);
}

enum err
store_read(struct store *s, store_tx_fn *fn, void *ctx, struct error *e)
{
    return run(s, DB_READ, false, fn, ctx, e);
}

enum err
store_keeper_open(struct store *s, struct db **ret, struct error *e)
{
    struct db *db;
    bool held = false;
    enum err err = db_open(s->driver, s->target, 0, NULL, &db, e);

    if (err != ERR_OK)
        return err;
    err = db_hold(db, false, &held, e);
    if (err == ERR_OK && !held)
        err = fail(e, ERR_STATE_LOCKED,
            "the store is being migrated or copied: try again when that is done");
    if (err != ERR_OK)
        db_close(db);
    else
        *ret = db;
    return err;
}

static struct store *
store_new(struct str url)
{
    struct store *s = calloc(1, sizeof(*s));

    ENSURE(s != NULL);
    s->url = strndup(url.p, url.n);
    ENSURE(s->url != NULL);
    s->driver = db_driver_for(str_from_cstr(s->url), &s->target);
    s->instance = id_new();
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->writer, NULL);
    pthread_mutex_init(&s->durable_lock, NULL);
    pthread_cond_init(&s->freed, NULL);
    return s;
}

enum err
store_open_node(struct str url, struct str node_file, struct store **ret, struct error *e)
{
    struct store *s = store_new(url);
    enum err err = node_file.n == 0 ? ERR_OK : store_keeper_open(s, &s->keeper, e);

    if (err == ERR_OK)
        err = store_migrate(url, migrations_n, e);
    if (err == ERR_OK)
        err = node_claim(s, node_file, e);
    if (err == ERR_OK)
        err = node_hold(s, e);
    if (err == ERR_OK)
        *ret = s;
    else
        store_close(s);
    return err;
}

enum err
store_open(struct str url, struct store **ret, struct error *e)
{
    return store_open_node(url, STR(""), ret, e);
}

void
store_close(struct store *s)
{
    if (s == NULL)
        return;
    ENSURE(s->idle_n == s->open_n);
    while (s->idle_n > 0)
        db_close(s->idle[--s->idle_n]);
    db_close(s->durable);
    db_close(s->keeper);
    pthread_cond_destroy(&s->freed);
    pthread_mutex_destroy(&s->durable_lock);
    pthread_mutex_destroy(&s->writer);
    pthread_mutex_destroy(&s->lock);
    free(s->url);
    free(s);
}

void
store_on_event(struct store *s, store_event_fn *fn, void *ctx)
{
    s->on_event = fn;
    s->on_event_ctx = ctx;
}

void
store_tx_note_event(struct store_tx *tx, struct id org)
{
    bool another = tx->events && !id_equal(tx->events_org, org);

    tx->events = true;
    tx->events_org = another ? (struct id){0} : org;
}

struct id
store_node(const struct store *s)
{
    return s->node;
}

struct id
store_tx_node(const struct store_tx *tx)
{
    return tx->store->node;
}

void
store_fault_set(struct store *s, long n)
{
    atomic_store(&s->fault.calls, 0);
    atomic_store(&s->fault.countdown, n);
}

long
store_fault_calls(const struct store *s)
{
    return atomic_load(&s->fault.calls);
}
