#include "daemon/retention.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/logs.h"
#include "store/prune.h"

#include <pthread.h>
#include <stdlib.h>

enum { EVERY_MS = 3600 * 1000, PAUSE_MS = 5, KEYS_KEPT_DAYS = 1, PERIOD_DAYS = 35 };

static const int64_t day_ms = 24 * 3600 * 1000;

struct retention {
    struct retention_options o;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping;
};

/* One portion, or the list of whose portions there are. */
struct portion {
    struct retention *r;
    struct arena arena;
    struct prune_chain chain;
    enum prune_kind kind;
    struct id org;
    int64_t before_ms;
    int64_t removed;
    struct str why;
    struct id *orgs;
    size_t orgs_n;
};

static void
portion_done(struct portion *p)
{
    arena_done(&p->arena);
}
#define AUTO_PORTION __attribute__((cleanup(portion_done)))

/* False when it is time to end. */
static bool
rest(struct retention *r, int64_t ms)
{
    const struct timespec until = clock_deadline(ms);
    bool stopping;

    pthread_mutex_lock(&r->lock);
    while (!r->stopping && clock_wait(&r->stop, &r->lock, &until) == 0)
        continue;
    stopping = r->stopping;
    pthread_mutex_unlock(&r->lock);
    return !stopping;
}

/* Portions until one is not full of work; between two others get their turn. */
static enum err
repeat(struct portion *p, store_tx_fn *fn, bool durable, int64_t *total, struct error *e)
{
    enum err err;

    do {
        err =
            durable ? store_tx_durable(p->r->o.store, fn, p, e) : store_tx(p->r->o.store, fn, p, e);
        if (err == ERR_OK)
            *total += p->removed;
    } while (err == ERR_OK && p->removed > 0 && rest(p->r, PAUSE_MS));
    return err;
}

static int64_t
cutoff(int64_t days)
{
    return clock_ms() - days * day_ms;
}

/* --- chains ---------------------------------------------------------------------------------- */

static void
sign_anchor(void *ctx, struct anchor_row *anchor)
{
    checkpoints_sign_anchor(ctx, anchor);
}

static enum err
chain_orgs_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct portion *p = ctx;

    return prune_chain_orgs(
        tx, p->chain.chain, p->chain.before_ms, &p->arena, &p->orgs, &p->orgs_n, e);
}

static enum err
chain_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct portion *p = ctx;

    return prune_chain(tx, &p->chain, &p->arena, &p->removed, &p->why, e);
}

static enum err
prune_one_chain(struct retention *r, const struct prune_chain *chain, struct error *e)
{
    AUTO_PORTION struct portion p = {.r = r, .chain = *chain};
    int64_t total = 0;
    char org[ID_TEXT_BYTES];
    enum err err = repeat(&p, chain_tx, true, &total, e);

    if (err != ERR_OK)
        return err;
    id_text(chain->org, org);
    if (p.why.n > 0)
        log_warn("retention", "nothing old of the %.*s chain of org %s is removed: %.*s",
            STR_ARG(audit_type_name(chain->chain)), org, STR_ARG(p.why));
    if (total > 0)
        log_info("retention", "%lld entries of the %.*s chain of org %s were removed for their age",
            (long long)total, STR_ARG(audit_type_name(chain->chain)), org);
    return ERR_OK;
}

static enum err
prune_chains(struct retention *r, enum audit_type type, int64_t days, struct error *e)
{
    AUTO_PORTION struct portion p = {.r = r, .chain = {.chain = type, .before_ms = cutoff(days)}};
    enum err err;

    if (days == 0)
        return ERR_OK;
    p.chain.sign = sign_anchor;
    p.chain.sign_ctx = r->o.checkpoints;
    checkpoints_public_key(r->o.checkpoints, p.chain.public_key);
    err = store_read(r->o.store, chain_orgs_tx, &p, e);
    for (size_t i = 0; err == ERR_OK && i < p.orgs_n && rest(r, 0); i++) {
        p.chain.org = p.orgs[i];
        err = prune_one_chain(r, &p.chain, e);
    }
    return err;
}

/* --- the others ------------------------------------------------------------------------------ */

static enum err
event_orgs_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct portion *p = ctx;

    return prune_event_orgs(tx, &p->arena, &p->orgs, &p->orgs_n, e);
}

static enum err
events_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct portion *p = ctx;

    return prune_events(tx, p->org, p->before_ms, &p->removed, e);
}

static enum err
prune_all_events(struct retention *r, struct error *e)
{
    AUTO_PORTION struct portion p = {.r = r, .before_ms = cutoff(r->o.events_days)};
    int64_t total = 0;
    enum err err = store_read(r->o.store, event_orgs_tx, &p, e);

    for (size_t i = 0; err == ERR_OK && i < p.orgs_n && rest(r, 0); i++) {
        p.org = p.orgs[i];
        err = repeat(&p, events_tx, false, &total, e);
    }
    if (total > 0)
        log_info("retention", "%lld events were removed for their age", (long long)total);
    return err;
}

static enum err
rows_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct portion *p = ctx;

    return prune_rows(tx, p->kind, p->before_ms, &p->removed, e);
}

static enum err
prune_kind(struct retention *r, enum prune_kind kind, int64_t days, struct error *e)
{
    AUTO_PORTION struct portion p = {.r = r, .kind = kind, .before_ms = cutoff(days)};
    int64_t total = 0;

    return repeat(&p, rows_tx, false, &total, e);
}

static enum err
prune_history(struct retention *r, struct error *e)
{
    int64_t days = r->o.events_days;
    enum err err = prune_kind(r, PRUNE_IDEMPOTENCY_KEYS, KEYS_KEPT_DAYS, e);

    if (err != ERR_OK || days == 0)
        return err;
    err = prune_all_events(r, e);
    if (err == ERR_OK)
        err = prune_kind(r, PRUNE_TOKENS, days, e);
    if (err == ERR_OK)
        err = prune_kind(r, PRUNE_RUNS, days, e);
    /* One of a month that still runs would be told again. */
    if (err == ERR_OK)
        err = prune_kind(r, PRUNE_BUDGET_ALERTS, days < PERIOD_DAYS ? PERIOD_DAYS : days, e);
    return err;
}

static enum err
prune_logs(struct retention *r, struct error *e)
{
    int64_t before_ms = cutoff(r->o.logs_days);
    bool rotated = false;
    int dropped;

    if (r->o.logs_days == 0)
        return ERR_OK;
    dropped = logs_drop_agents(r->o.state_dir, before_ms);
    if (dropped > 0)
        log_info("retention", "%d logs of agents were dropped for their age", dropped);
    /* One that starts just now may have opened the log already. */
    if (!edge_gateway_present(r->o.edge))
        return ERR_OK;
    if (logs_rotate(r->o.state_dir, clock_ms(), before_ms, &rotated, e) != ERR_OK)
        return e->code;
    return rotated ? edge_logs_reopen(r->o.edge, e) : ERR_OK;
}

/* --- rounds ---------------------------------------------------------------------------------- */

static enum err
note_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    (void)ctx;
    return prune_note(tx, clock_ms(), e);
}

static enum err
round_once(struct retention *r, struct error *e)
{
    enum err err = prune_chains(r, AUDIT_LEDGER, r->o.ledger_days, e);

    if (err == ERR_OK)
        err = prune_chains(r, AUDIT_DECISION, r->o.decisions_days, e);
    if (err == ERR_OK)
        err = prune_history(r, e);
    if (err == ERR_OK)
        err = prune_logs(r, e);
    /* A round that was told to end has not been through all of it. */
    return err == ERR_OK && rest(r, 0) ? store_tx(r->o.store, note_tx, NULL, e) : err;
}

static void *
retention_main(void *arg)
{
    struct retention *r = arg;
    struct error e;

    do {
        if (round_once(r, &e) != ERR_OK)
            log_warn("retention", "what is too old stays for another hour: %s", e.text);
    } while (rest(r, EVERY_MS));
    return NULL;
}

struct retention *
retention_start(const struct retention_options *o)
{
    struct retention *r = calloc(1, sizeof(*r));

    ENSURE(r != NULL);
    r->o = *o;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->stop, NULL);
    ENSURE(pthread_create(&r->thread, NULL, retention_main, r) == 0);
    return r;
}

void
retention_stop(struct retention *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->stopping = true;
    pthread_cond_broadcast(&r->stop);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    free(r);
}
