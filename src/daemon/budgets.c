#include "daemon/budgets.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/leases.h"
#include "ledger/tally.h"
#include "store/event_row.h"
#include "store/limit_row.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { LOOK_EVERY_MS = 500, ROLL_EVERY_MS = 3600 * 1000, THRESHOLDS = 4 };

static const int thresholds[THRESHOLDS] = {50, 75, 90, 100};

/* A budget in force. */
struct kept {
    struct budget_row row;
    uint32_t slot;
    bool unsure;         /* its sums must be added up anew */
    int64_t told_period; /* of told; -1: nothing looked at yet */
    int told;            /* thresholds told in that period */
    struct lease lease;
};

struct budgets {
    struct budgets_options o;
    pthread_t thread;
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
    bool done = false;
    struct error e;

    if (tally_budget(b->o.store, recorder, edge_counters(b->o.edge), &k->row, k->slot, &done, &e) !=
        ERR_OK)
        log_warn("budget", "its sums cannot be added up now, they are tried again: %s", e.text);
    drain_resume(b->o.drain);
    k->unsure = !done;
}

static void
ready(void *ctx, const struct edge_budget *placed, size_t n)
{
    struct load *l = ctx;

    for (size_t i = 0; i < n; i++) {
        l->kept[i] = (struct kept){.row = l->rows[i], .slot = placed[i].slot, .told_period = -1};
        if (placed[i].is_new)
            add_up(l->b, &l->kept[i]);
    }
}

/* What was told stays told. */
static void
take_over(const struct budgets *b, struct kept *fresh, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < b->kept_n; k++) {
            const struct kept *old = &b->kept[k];

            if (!id_equal(old->row.id, fresh[i].row.id))
                continue;
            fresh[i].unsure = fresh[i].unsure || old->unsure;
            fresh[i].lease = old->lease;
            if (old->row.limit_nano_usd != fresh[i].row.limit_nano_usd)
                fresh[i].lease = (struct lease){0};
            else {
                fresh[i].told = old->told;
                fresh[i].told_period = old->told_period;
            }
        }
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
        if (err == ERR_OK)
            look_at_leases(b);
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
        if (id_equal(b->kept[i].row.org, org))
            b->kept[i].unsure = b->any_unsure = true;
    }
    pthread_mutex_unlock(&b->lock);
}

/* --- the keeper's thread --------------------------------------------------------------------- */

/* False: nothing (more) to do. Copies: nothing is locked while the store is asked. */
static bool
next_unsure(struct budgets *b, size_t from, struct kept *ret, size_t *ret_at)
{
    bool found = false;

    pthread_mutex_lock(&b->lock);
    for (size_t i = from; i < b->kept_n && !found; i++) {
        found = b->kept[i].unsure;
        *ret = b->kept[i];
        *ret_at = i;
    }
    pthread_mutex_unlock(&b->lock);
    return found;
}

static void
make_sure(struct budgets *b)
{
    struct kept k;
    size_t at = 0;

    if (!b->any_unsure)
        return;
    /* Budgets keep their order while nobody refreshes. */
    pthread_mutex_lock(&b->changing);
    b->any_unsure = false;
    for (size_t from = 0; next_unsure(b, from, &k, &at); from = at + 1) {
        add_up(b, &k);
        pthread_mutex_lock(&b->lock);
        b->kept[at].unsure = k.unsure;
        b->any_unsure = b->any_unsure || k.unsure;
        pthread_mutex_unlock(&b->lock);
    }
    tally_concurrent(drain_pause(b->o.drain), edge_counters(b->o.edge));
    drain_resume(b->o.drain);
    pthread_mutex_unlock(&b->changing);
}

struct telling {
    struct budgets_alert alert;
    int64_t period;
    bool is_new;
};

static enum err
tell_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct telling *t = ctx;
    const struct budget_row *r = &t->alert.budget;
    AUTO_ARENA struct arena a = {0};
    struct event_row event = {.org = r->org,
        .workspace = r->workspace,
        .type = STR("budget.alert"),
        .created_ms = t->alert.at_ms};
    enum err err = budget_alert_note(tx, r->id, t->period, t->alert.percent, &t->is_new, e);

    if (err != ERR_OK || !t->is_new)
        return err;
    event.json = arena_printf(&a,
        "{\"percent\":%d,\"period\":\"%.*s\",\"mode\":\"%s\",\"limit_nano_usd\":%lld,"
        "\"spent_nano_usd\":%lld}",
        t->alert.percent, STR_ARG(budget_period_name(r->period)), r->hard ? "hard" : "warn",
        (long long)r->limit_nano_usd, (long long)t->alert.settled_nano);
    return event_row_append(tx, &event, NULL, e);
}

/* Only the highest threshold that was passed is told: those below it are old news. */
static bool
look_at(struct budgets *b, struct kept *k, int64_t now, struct telling *ret)
{
    const struct budget_slot *s = &edge_counters(b->o.edge)->budgets[k->slot];
    int64_t period = budget_period_number(k->row.period, now), settled;
    int passed = 0;

    settled = budget_settled(s, now) + budget_elsewhere(s, now);
    if (k->told_period != period) {
        k->told_period = period;
        k->told = 0;
    }
    while (passed < THRESHOLDS && k->row.limit_nano_usd > 0 &&
        (__int128)settled * 100 >= (__int128)k->row.limit_nano_usd * thresholds[passed])
        passed++;
    if (passed <= k->told)
        return false;
    *ret = (struct telling){
        .alert = {.budget = k->row,
            .percent = thresholds[passed - 1],
            .settled_nano = settled,
            .at_ms = now,
            .resets_ms =
                k->row.period == BUDGET_TOTAL ? 0 : budget_period_start(k->row.period, period + 1)},
        .period = period};
    k->told = passed;
    return true;
}

static void
tell(struct budgets *b, struct telling *t)
{
    struct error e;

    if (store_tx(b->o.store, tell_tx, t, &e) != ERR_OK) {
        log_warn("budget", "an alert cannot be written down: %s", e.text);
        return;
    }
    if (t->is_new && b->o.alert != NULL)
        b->o.alert(b->o.alert_ctx, &t->alert);
}

static void
watch(struct budgets *b)
{
    enum { AT_ONCE = 64 };
    struct telling found[AT_ONCE];
    int64_t now = clock_ms();
    size_t n = 0;

    pthread_mutex_lock(&b->lock);
    for (size_t i = 0; i < b->kept_n && n < AT_ONCE; i++)
        n += look_at(b, &b->kept[i], now, &found[n]);
    pthread_mutex_unlock(&b->lock);
    for (size_t i = 0; i < n; i++)
        tell(b, &found[i]);
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
    while (!b->stopping && pthread_cond_timedwait(&b->stop, &b->lock, &until) == 0)
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
        refresh_if_due(b);
        make_sure(b);
        pthread_mutex_lock(&b->changing);
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
