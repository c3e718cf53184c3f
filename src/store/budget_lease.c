#include "store/budget_lease.h"

#include "store/impl.h"
#include "store/query.h"

bool
store_is_shared(const struct store *s)
{
    return s->driver->listen_sql != NULL;
}

static int64_t
smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t
larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static enum err
is_alone(struct store_tx *tx, int64_t since_ms, bool *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM nodes WHERE id <> $1 AND last_seen_ms > $2");

    query_id(&q, store_tx_node(tx));
    query_int(&q, since_ms);
    *ret = !query_row(&q);
    return query_end(&q, e);
}

/* The store's clock, which all nodes share. Refuses when ours is too far from it. */
static enum err
shared_clock(struct store_tx *tx, int64_t *ret_ms, struct error *e)
{
    int64_t before = clock_ms(), after, there, off;
    struct query q = query_start(tx, tx->store->driver->clock_sql);

    there = query_row(&q) ? query_get_int(&q) : 0;
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    /* The answer took its time: anything in between is no difference. */
    after = clock_ms();
    off = there < before ? before - there : there > after ? after - there : 0;
    if (off > BUDGET_LEASE_CLOCK_OFF_MS || off < -BUDGET_LEASE_CLOCK_OFF_MS)
        return fail(e, ERR_STATE_UNUSABLE,
            "this machine's clock is %.1f s %s the store's: set it right (is a time service "
            "running?)",
            (double)(off < 0 ? -off : off) / 1000, off < 0 ? "behind" : "ahead of");
    *ret_ms = there;
    return ERR_OK;
}

static enum err
list_wanted(struct store_tx *tx, int64_t since_ms, struct arena *a, struct budget_lease_others *o,
    struct error *e)
{
    struct query q = query_start(tx,
        "SELECT budget_id, node_id FROM budget_leases WHERE wanted_ms > $1 AND node_id <> $2"
        " ORDER BY budget_id, node_id");

    query_int(&q, since_ms);
    query_id(&q, store_tx_node(tx));
    while (query_row(&q)) {
        o->wanted = query_array(a, o->wanted, o->wanted_n, sizeof(*o->wanted));
        o->wanted[o->wanted_n].budget = query_get_id(&q);
        o->wanted[o->wanted_n++].node = query_get_id(&q);
    }
    return query_end(&q, e);
}

enum err
budget_lease_renew(struct store_tx *tx, int64_t for_ms, int64_t recent_ms, struct arena *a,
    struct budget_lease_others *ret, struct error *e)
{
    struct budget_lease_others others = {.wanted = NULL};
    int64_t now = 0;
    enum err err = shared_clock(tx, &now, e);
    struct query q;

    if (err != ERR_OK)
        return err;
    q = query_start(tx, "SELECT leases_until_ms FROM nodes WHERE id = $1");
    query_id(&q, store_tx_node(tx));
    others.lapsed = !query_row(&q) || query_get_int(&q) < now;
    err = query_end(&q, e);
    if (err != ERR_OK)
        return err;
    q = query_start(
        tx, "UPDATE nodes SET leases_until_ms = $1 WHERE id = $2 AND leases_until_ms < $1");
    query_int(&q, now + for_ms);
    query_id(&q, store_tx_node(tx));
    err = query_run(&q, e);
    if (err == ERR_OK)
        err = is_alone(tx, now - recent_ms, &others.alone, e);
    if (err == ERR_OK)
        err = list_wanted(tx, now - recent_ms, a, &others, e);
    if (err == ERR_OK)
        *ret = others;
    return err;
}

/* The part that is known to be spent stays with who spent it. */
static enum err
take_from_the_gone(struct store_tx *tx, const struct budget_row *b, int64_t period, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE budget_leases SET held_nano = CASE WHEN period_number = $1 THEN spent_nano ELSE 0"
        " END WHERE budget_id = $2 AND node_id <> $3 AND node_id NOT IN"
        " (SELECT id FROM nodes WHERE leases_until_ms >= $4)");

    query_int(&q, period);
    query_id(&q, b->id);
    query_id(&q, store_tx_node(tx));
    query_int(&q, budget_period_start(b->period, period));
    return query_run(&q, e);
}

/* A lease for each node that the ledger knows and that has told none: of what it has spent at least. */
static enum err
seed(struct store_tx *tx, const struct budget_row *b, int64_t period, struct error *e)
{
/* Entries that were removed for their age count in a budget in total, which begins at 0. */
#define SEED(scope)                                                                                \
    "INSERT INTO budget_leases (budget_id, node_id, held_nano, spent_nano, period_number,"         \
    " wanted_ms) SELECT CAST($1 AS TEXT), node_id, spent, spent, CAST($2 AS "                      \
    "BIGINT), " BUDGET_LEASE_UNHEARD " FROM"                                                       \
    " (SELECT node_id, CAST(CASE WHEN SUM(cost) < 0 THEN 0 ELSE SUM(cost) END AS BIGINT) AS spent" \
    " FROM (SELECT node_id, cost_nano_usd AS cost FROM ledger WHERE org_id = $3"                   \
    " AND opened_ms >= $4 AND opened_ms < $5 AND node_id <> $6" scope                              \
    " UNION ALL SELECT node_id, cost_nano_usd FROM pruned_spend WHERE org_id = $3"                 \
    " AND CAST($4 AS BIGINT) = 0 AND node_id <> $6" scope                                          \
    ") AS booked GROUP BY node_id) AS sums WHERE 1 = 1"                                            \
    " ON CONFLICT (budget_id, node_id) DO UPDATE SET held_nano = excluded.held_nano"               \
    " WHERE budget_leases.wanted_ms = excluded.wanted_ms"                                          \
    " AND budget_leases.held_nano < excluded.held_nano"
    struct query q =
        query_start(tx, id_is_zero(b->workspace) ? SEED("") : SEED(" AND workspace_id = $7"));

    query_id(&q, b->id);
    query_int(&q, period);
    query_id(&q, b->org);
    query_int(&q, budget_period_start(b->period, period));
    query_int(
        &q, b->period == BUDGET_TOTAL ? INT64_MAX : budget_period_start(b->period, period + 1));
    query_id(&q, store_tx_node(tx));
    if (!id_is_zero(b->workspace))
        query_id(&q, b->workspace);
    return query_run(&q, e);
}

/* Is there a node that may spend of the budget without a lease? */
static enum err
is_unheard(struct store_tx *tx, const struct budget_lease_ask *ask, bool *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT 1 FROM nodes n WHERE id <> $1 AND last_seen_ms > $2 AND NOT EXISTS (SELECT 1"
        " FROM budget_leases l WHERE l.budget_id = $3 AND l.node_id = n.id AND l.wanted_ms"
        " <> " BUDGET_LEASE_UNHEARD ")");

    query_id(&q, store_tx_node(tx));
    query_int(&q, ask->recent_ms > 0 ? ask->now_ms - ask->recent_ms : INT64_MAX);
    query_id(&q, ask->budget->id);
    *ret = query_row(&q);
    return query_end(&q, e);
}

/* Negative: none. *ret_told: by ourselves. */
static enum err
own_lease(
    struct store_tx *tx, const struct budget_row *b, int64_t *ret, bool *ret_told, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT held_nano, CASE WHEN wanted_ms = " BUDGET_LEASE_UNHEARD " THEN 0 ELSE 1 END"
        " FROM budget_leases WHERE budget_id = $1 AND node_id = $2");
    bool found;

    query_id(&q, b->id);
    query_id(&q, store_tx_node(tx));
    found = query_row(&q);
    *ret = found ? query_get_int(&q) : -1;
    *ret_told = found && query_get_int(&q) != 0;
    return query_end(&q, e);
}

static enum err
others(struct store_tx *tx, const struct budget_row *b, int64_t period, int64_t *ret_held,
    int64_t *ret_settled, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT CAST(COALESCE(SUM(held_nano), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN"
        " period_number = $1 THEN spent_nano ELSE 0 END), 0) AS BIGINT) FROM budget_leases"
        " WHERE budget_id = $2 AND node_id <> $3");

    query_int(&q, period);
    query_id(&q, b->id);
    query_id(&q, store_tx_node(tx));
    if (query_row(&q)) {
        *ret_held = query_get_int(&q);
        *ret_settled = query_get_int(&q);
    }
    return query_end(&q, e);
}

enum err
budget_lease_stands(
    struct store_tx *tx, const struct budget_row *b, int64_t lease, bool *ret, struct error *e)
{
    int64_t own = -1, theirs = 0, elsewhere;
    bool told = false;
    enum err err = own_lease(tx, b, &own, &told, e);

    if (err == ERR_OK)
        err = others(tx, b, 0, &theirs, &elsewhere, e);
    if (err == ERR_OK)
        *ret = told && own >= lease && own <= b->limit_nano_usd - theirs;
    return err;
}

static enum err
put(struct store_tx *tx, const struct budget_lease_ask *ask, int64_t held, int64_t period,
    bool satisfied, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO budget_leases (budget_id, node_id, held_nano, spent_nano, period_number,"
        " wanted_ms) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (budget_id, node_id) DO UPDATE"
        " SET held_nano = excluded.held_nano, spent_nano = excluded.spent_nano,"
        " period_number = excluded.period_number, wanted_ms = excluded.wanted_ms");

    query_id(&q, ask->budget->id);
    query_id(&q, store_tx_node(tx));
    query_int(&q, held);
    query_int(&q, ask->settled);
    query_int(&q, period);
    query_int(&q, satisfied ? 0 : ask->now_ms);
    return query_run(&q, e);
}

enum err
budget_lease_settle(struct store_tx *tx, const struct budget_lease_ask *ask, int64_t *ret_held,
    int64_t *ret_elsewhere, struct error *e)
{
    const struct budget_row *b = ask->budget;
    int64_t period = budget_period_number(b->period, ask->now_ms);
    int64_t own = -1, theirs = 0, elsewhere = 0, held;
    bool unheard = false, told = false;
    enum err err = own_lease(tx, b, &own, &told, e);

    if (err == ERR_OK && !told)
        err = seed(tx, b, period, e);
    if (err == ERR_OK)
        err = take_from_the_gone(tx, b, period, e);
    if (err == ERR_OK)
        err = others(tx, b, period, &theirs, &elsewhere, e);
    if (err == ERR_OK)
        err = is_unheard(tx, ask, &unheard, e);
    if (err != ERR_OK)
        return err;
    held = smaller(ask->wished, b->limit_nano_usd - theirs);
    if (unheard)
        held = smaller(held, b->limit_nano_usd / BUDGET_LEASE_SHARE);
    held = larger(held, larger(ask->committed, smaller(ask->lease, own)));
    err = put(tx, ask, held, period, !ask->wanted || held > ask->lease, e);
    if (err != ERR_OK)
        return err;
    *ret_held = held;
    *ret_elsewhere = elsewhere;
    return ERR_OK;
}
