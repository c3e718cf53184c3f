#include "daemon/budgets.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/leases.h"
#include "daemon/thresholds.h"
#include "ledger/tally.h"
#include "store/limit_row.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    LOOK_EVERY_MS = 500,
    AGAIN_MS = 2000, /* for calls that sums hold only as they were added up */
    ROLL_EVERY_MS = 3600 * 1000,
    CLOCK_BACK_MS = 2000,
};

/* A budget in force. */
struct kept {
    struct budget_row row;
    uint32_t slot;
    bool unsure;      /* its sums must be added up anew */
    int64_t again_ms; /* monotonic: not before */
    struct thresholds_told told;
    struct lease lease;
};

struct budgets {
    struct budgets_options o;
    pthread_t thread;
    int64_t clock_ahead_ms;   /* of the monotonic clock; the thread's */
    pthread_mutex_t changing; /* one refresh at a time; also guards leases */
    struct leases *leases;    /* NULL: nobody else spends */
    pthread_mutex_t lock;     /* guards what follows */
    pthread_cond_t stop;
    bool stopping;
    bool any_unsure;
    bool refresh_due;
    struct kept *kept;
    size_t kept_n;
};

/* --- from the store to the counters ---------------------------------------------------------- */

struct load {
    struct budgets *b;
    struct arena arena;
    struct budget_row *rows;
    struct limit_row *limits;
    size_t rows_n, limits_n;
    struct kept *kept; /* as ready() makes them, in the order of rows */
};

static void
load_done(struct load *l)
{
    arena_done(&l->arena);
}

static enum err
load_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct load *l = ctx;
    const struct id all = {0};
    enum err err =
        budget_row_list(tx, all, all, &l->b->o.fallback, &l->arena, &l->rows, &l->rows_n, e);

    return err == ERR_OK ? limit_row_list(tx, all, all, &l->arena, &l->limits, &l->limits_n, e)
                         : err;
}

/* What was spent before this budget had a place. */
static void
add_up(struct budgets *b, struct kept *k)
{
    const struct recorder *recorder = drain_pause(b->o.drain);
    enum tally_outcome outcome = TALLY_FAILED;
    struct error e;

    if (tally_budget(b->o.store, recorder, edge_counters(b->o.edge), &k->row, k->slot, &outcome,
            &e) != ERR_OK)
        log_warn("budget", "its sums cannot be added up now, they are tried again: %s", e.text);
    drain_resume(b->o.drain);
    k->unsure = outcome != TALLY_DONE;
    k->again_ms = outcome == TALLY_AGAIN ? clock_monotonic_ms() + AGAIN_MS : 0;
}

static void
must_add_up(struct kept *k)
{
    k->unsure = true;
    k->again_ms = 0;
}

static void
ready(void *ctx, const struct edge_budget *placed, size_t n)
{
    struct load *l = ctx;

    for (size_t i = 0; i < n; i++) {
        l->kept[i] =
            (struct kept){.row = l->rows[i], .slot = placed[i].slot, .told = thresholds_untold};
        if (!placed[i].is_new)
            continue;
        add_up(l->b, &l->kept[i]);
        /* Once more when tokens name it: calls begin until then. */
        must_add_up(&l->kept[i]);
    }
}

static int
compare_kept(const void *a, const void *b)
{
    const struct kept *const *x = a, *const *y = b;

    return memcmp((*x)->row.id.b, (*y)->row.id.b, sizeof((*x)->row.id.b));
}

static void
take_over_one(struct kept *fresh, const struct kept *old)
{
    bool same_limit = old->row.limit_nano_usd == fresh->row.limit_nano_usd;

    if (!fresh->unsure) {
        fresh->unsure = old->unsure;
        fresh->again_ms = old->again_ms;
    }
    /* What only warns is counted for all nodes, what is hard for this one. */
    if (old->row.hard != fresh->row.hard)
        must_add_up(fresh);
    else if (same_limit)
        fresh->lease = old->lease;
    /* What was told stays told. */
    if (same_limit)
        fresh->told = old->told;
}

static void
take_over(const struct budgets *b, struct kept *fresh, size_t n)
{
    AUTO_FREE const struct kept **by_id = calloc(b->kept_n + 1, sizeof(*by_id));

    ENSURE(by_id != NULL);
    for (size_t i = 0; i < b->kept_n; i++)
        by_id[i] = &b->kept[i];
    qsort(by_id, b->kept_n, sizeof(*by_id), compare_kept);
    for (size_t i = 0; i < n; i++) {
        const struct kept *wanted = &fresh[i];
        const struct kept **old = bsearch(&wanted, by_id, b->kept_n, sizeof(*by_id), compare_kept);

        if (old != NULL)
            take_over_one(&fresh[i], *old);
    }
}

static void
put_in_force(struct budgets *b, struct kept *fresh, size_t n)
{
    pthread_mutex_lock(&b->lock);
    take_over(b, fresh, n);
    free(b->kept);
    b->kept = fresh;
    b->kept_n = n;
    for (size_t i = 0; i < n; i++)
        b->any_unsure = b->any_unsure || fresh[i].unsure;
    pthread_mutex_unlock(&b->lock);
}

static enum err
publish(struct load *l, struct error *e)
{
    struct edge_budget *budgets = arena_array(&l->arena, l->rows_n + 1, sizeof(*budgets));
    struct edge_limit *limits = arena_array(&l->arena, l->limits_n + 1, sizeof(*limits));

    for (size_t i = 0; i < l->rows_n; i++) {
        const struct budget_row *r = &l->rows[i];

        budgets[i] = (struct edge_budget){.id = r->id,
            .org = r->org,
            .workspace = r->workspace,
            .period = r->period,
            .hard = r->hard,
            .shared = r->hard && l->b->leases != NULL,
            .limit_nano = r->limit_nano_usd};
    }
    for (size_t i = 0; i < l->limits_n; i++) {
        const struct limit_row *r = &l->limits[i];

        limits[i].workspace = r->workspace;
        limits[i].requests_per_min = (uint32_t)r->requests_per_minute;
        limits[i].tokens_per_min = (uint32_t)r->tokens_per_minute;
        limits[i].concurrent = (uint32_t)r->concurrent;
        limits[i].per_token = r->per == LIMIT_PER_TOKEN;
    }
    return edge_caps_publish(l->b->o.edge, budgets, l->rows_n, limits, l->limits_n, ready, l, e);
}

/* False: nothing (more) to do. Copies: nothing is locked while the store is asked. */
static bool
next_unsure(struct budgets *b, size_t from, struct kept *ret, size_t *ret_at)
{
    int64_t now = clock_monotonic_ms();
    bool found = false;

    pthread_mutex_lock(&b->lock);
    for (size_t i = from; i < b->kept_n && !found; i++) {
        b->any_unsure = b->any_unsure || b->kept[i].unsure;
        found = b->kept[i].unsure && b->kept[i].again_ms <= now;
        *ret = b->kept[i];
        *ret_at = i;
    }
    pthread_mutex_unlock(&b->lock);
    return found;
}

/* Who calls has the lock changing: budgets keep their order while nobody refreshes. */
static void
make_sure(struct budgets *b)
{
    struct kept k;
    size_t at = 0;

    if (!b->any_unsure)
        return;
    b->any_unsure = false;
    for (size_t from = 0; next_unsure(b, from, &k, &at); from = at + 1) {
        add_up(b, &k);
        pthread_mutex_lock(&b->lock);
        b->kept[at].unsure = k.unsure;
        b->kept[at].again_ms = k.again_ms;
        pthread_mutex_unlock(&b->lock);
    }
    tally_concurrent(drain_pause(b->o.drain), edge_counters(b->o.edge));
    drain_resume(b->o.drain);
}

/* Which part of each budget is ours. Who calls has the lock changing, so the budgets stay. */
static void
look_at_leases(struct budgets *b)
{
    struct budget_slot *slots = edge_counters(b->o.edge)->budgets;

    if (b->leases == NULL)
        return;
    leases_begin(b->leases);
    for (size_t i = 0; i < b->kept_n; i++)
        leases_see(b->leases, &b->kept[i].row, &slots[b->kept[i].slot], &b->kept[i].lease);
    leases_end(b->leases);
}

enum err
budgets_refresh(void *ctx, struct error *e)
{
    struct budgets *b = ctx;
    AUTO(load_done) struct load l = {.b = b};
    enum err err;

    pthread_mutex_lock(&b->changing);
    err = store_read(b->o.store, load_tx, &l, e);
    if (err == ERR_OK) {
        l.kept = calloc(l.rows_n + 1, sizeof(*l.kept));
        ENSURE(l.kept != NULL);
        err = publish(&l, e);
        if (err == ERR_OK)
            put_in_force(b, l.kept, l.rows_n);
        else
            free(l.kept);
        if (err == ERR_OK) {
            make_sure(b);
            look_at_leases(b);
        }
    }
    pthread_mutex_unlock(&b->changing);
    return err;
}

void
budgets_refresh_soon(struct budgets *b)
{
    pthread_mutex_lock(&b->lock);
    b->refresh_due = true;
    pthread_mutex_unlock(&b->lock);
}

static void
refresh_if_due(struct budgets *b)
{
    struct error e;
    bool due;

    pthread_mutex_lock(&b->lock);
    due = b->refresh_due;
    b->refresh_due = false;
    pthread_mutex_unlock(&b->lock);
    if (!due || budgets_refresh(b, &e) == ERR_OK)
        return;
    log_warn("budget", "what another node changed is looked at again: %s", e.text);
    budgets_refresh_soon(b);
}

/* --- sums ------------------------------------------------------------------------------------ */

bool
budgets_sums(void *ctx, struct id budget, int64_t *ret_settled, int64_t *ret_committed)
{
    struct budgets *b = ctx;
    int64_t now = clock_ms();
    const struct budget_slot *s;
    uint32_t slot;

    if (!edge_budget_slot(b->o.edge, budget, &slot))
        return false;
    s = &edge_counters(b->o.edge)->budgets[slot];
    *ret_settled = budget_settled(s, now) + budget_elsewhere(s, now);
    *ret_committed = budget_committed(s, now) + budget_elsewhere(s, now);
    return true;
}

void
budgets_each(struct budgets *b, budgets_each_fn *each, void *ctx)
{
    const struct budget_slot *slots = edge_counters(b->o.edge)->budgets;
    int64_t now = clock_ms();

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n; i++) {
        const struct budget_slot *s = &slots[b->kept[i].slot];

        int64_t elsewhere = budget_elsewhere(s, now);

        each(ctx, &b->kept[i].row, budget_settled(s, now) + elsewhere,
            budget_committed(s, now) + elsewhere);
    }
    pthread_mutex_unlock(&b->lock);
}

/* Also the drain_unsure_fn: a worker died in the act of counting a call of this org. */
void
budgets_recount(void *ctx, struct id org)
{
    struct budgets *b = ctx;

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n; i++) {
        if (id_equal(b->kept[i].row.org, org)) {
            must_add_up(&b->kept[i]);
            b->any_unsure = true;
        }
    }
    pthread_mutex_unlock(&b->lock);
}

/* --- the keeper's thread --------------------------------------------------------------------- */

/* It is looked at again; what the store has by then is not told twice. */
static void
untell(struct budgets *b, struct id budget)
{
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n; i++) {
        if (id_equal(b->kept[i].row.id, budget))
            b->kept[i].told = thresholds_untold;
    }
    pthread_mutex_unlock(&b->lock);
}

static void
tell(struct budgets *b, const struct budgets_alert *alert)
{
    bool is_new = false;
    struct error e;

    if (thresholds_note(b->o.store, alert, &is_new, &e) != ERR_OK) {
        log_warn("budget", "an alert cannot be written down, it is tried again: %s", e.text);
        untell(b, alert->budget.id);
        return;
    }
    if (is_new && b->o.alert != NULL)
        b->o.alert(b->o.alert_ctx, alert);
}

static bool
look_at(struct budgets *b, struct kept *k, int64_t now, struct budgets_alert *ret)
{
    const struct budget_slot *s = &edge_counters(b->o.edge)->budgets[k->slot];

    return thresholds_look(
        &k->row, budget_settled(s, now) + budget_elsewhere(s, now), now, &k->told, ret);
}

static void
watch(struct budgets *b)
{
    enum { AT_ONCE = 64 };
    struct budgets_alert found[AT_ONCE];
    int64_t now = clock_ms();
    size_t n = 0;

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n && n < AT_ONCE; i++)
        n += look_at(b, &b->kept[i], now, &found[n]);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < n; i++)
        tell(b, &found[i]);
}

/*
 * Sums that belong to a period ahead would count until it comes, and rates until then, too: what was
 * spent is added up anew for the time that it is now.
 */
static void
look_at_clock(struct budgets *b)
{
    const struct counters *c = edge_counters(b->o.edge);
    int64_t ahead = clock_ms() - clock_monotonic_ms(), back = b->clock_ahead_ms - ahead;

    b->clock_ahead_ms = ahead;
    if (back < CLOCK_BACK_MS)
        return;
    log_warn("budget", "the clock was set back by %.1f s: budgets are added up anew",
        (double)back / 1000);
    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n; i++)
        b->kept[i].unsure = b->any_unsure = true;
    pthread_mutex_unlock(&b->lock);
    for (uint32_t i = 0; i < c->header->limits_n && atomic_load(&c->limits[i].serial) != 0; i++)
        limit_forget(&c->limits[i]);
}

/* A sum's tag comes round again after 4,096 periods: old ones are cleared long before. */
static void
roll(struct budgets *b)
{
    struct budget_slot *slots = edge_counters(b->o.edge)->budgets;
    int64_t now = clock_ms();

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n; i++)
        budget_roll(&slots[b->kept[i].slot], now);
    pthread_mutex_unlock(&b->lock);
}

static bool
rest(struct budgets *b)
{
    const struct timespec until = clock_deadline(LOOK_EVERY_MS);
    bool stopping;

    pthread_mutex_lock(&b->lock);
    while (!b->stopping && clock_wait(&b->stop, &b->lock, &until) == 0)
        continue;
    stopping = b->stopping;
    pthread_mutex_unlock(&b->lock);
    return !stopping;
}

static void *
keeper_main(void *arg)
{
    struct budgets *b = arg;
    int64_t rolled_ms = clock_monotonic_ms();

    while (rest(b)) {
        look_at_clock(b);
        refresh_if_due(b);
        pthread_mutex_lock(&b->changing);
        make_sure(b);
        look_at_leases(b);
        pthread_mutex_unlock(&b->changing);
        watch(b);
        if (clock_monotonic_ms() - rolled_ms > ROLL_EVERY_MS) {
            roll(b);
            rolled_ms = clock_monotonic_ms();
        }
    }
    return NULL;
}

enum err
budgets_open(const struct budgets_options *o, struct budgets **ret, struct error *e)
{
    struct budgets *b = calloc(1, sizeof(*b));
    enum err err;

    ENSURE(b != NULL);
    b->o = *o;
    b->clock_ahead_ms = clock_ms() - clock_monotonic_ms();
    pthread_mutex_init(&b->changing, NULL);
    pthread_mutex_init(&b->lock, NULL);
    pthread_cond_init(&b->stop, NULL);
    b->leases = leases_new(o->store, o->policy_max_age_ms);
    err = budgets_refresh(b, e);
    if (err != ERR_OK) {
        leases_free(b->leases);
        free(b);
        return err;
    }
    /* Nobody knows what an earlier purserd had not settled when it died. */
    for (size_t i = 0; i < b->kept_n; i++)
        b->kept[i].unsure = b->any_unsure = true;
    drain_set_counters(o->drain, edge_counters(o->edge), budgets_recount, b);
    ENSURE(pthread_create(&b->thread, NULL, keeper_main, b) == 0);
    *ret = b;
    return ERR_OK;
}

void
budgets_close(struct budgets *b)
{
    if (b == NULL)
        return;
    drain_set_counters(b->o.drain, NULL, NULL, NULL);
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->stop);
    pthread_mutex_unlock(&b->lock);
    pthread_join(b->thread, NULL);
    free(b->kept);
    leases_free(b->leases);
    free(b);
}
