#include "store/budget_row.h"

#include "store/budget_lease.h"
#include "store/ledger_row.h"
#include "store/prune.h"
#include "store/query.h"

#define COLUMNS "id, org_id, workspace_id, period, mode, limit_nano_usd"

static struct str
mode_name(bool hard)
{
    return hard ? STR("hard") : STR("warn");
}

static enum err
existing_id(struct store_tx *tx, const struct budget_row *b, struct id *ret, struct error *e)
{
#define OF_SCOPE "SELECT id FROM budgets WHERE org_id = $1 AND period = $2 AND workspace_id"
    bool whole_org = id_is_zero(b->workspace);
    struct query q = query_start(tx, whole_org ? OF_SCOPE " IS NULL" : OF_SCOPE " = $3");
    struct id id = {0};

    query_id(&q, b->org);
    query_text(&q, budget_period_name(b->period));
    if (!whole_org)
        query_id(&q, b->workspace);
    if (query_row(&q))
        id = query_get_id(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = id;
    return ERR_OK;
}

enum err
budget_row_put(struct store_tx *tx, const struct budget_row *b, struct error *e)
{
    struct id id = {0};
    struct query q;

    if (existing_id(tx, b, &id, e) != ERR_OK)
        return e->code;
    if (id_is_zero(id)) {
        id = id_new();
        q = query_start(tx,
            "INSERT INTO budgets (" COLUMNS ", created_ms) VALUES ($1, $2, $3, $4, $5, $6, $7)");
        query_id(&q, id);
        query_id(&q, b->org);
        query_id_or_null(&q, b->workspace);
        query_text(&q, budget_period_name(b->period));
        query_text(&q, mode_name(b->hard));
        query_int(&q, b->limit_nano_usd);
        query_int(&q, clock_ms());
        return query_run(&q, e);
    }
    /* Percentages of another limit are other thresholds: they are told anew. */
    q = query_start(tx,
        "DELETE FROM budget_alerts WHERE budget_id = $1 AND NOT EXISTS"
        " (SELECT 1 FROM budgets WHERE id = $1 AND limit_nano_usd = $2)");
    query_id(&q, id);
    query_int(&q, b->limit_nano_usd);
    if (query_run(&q, e) != ERR_OK)
        return e->code;
    /* While it only warned nobody kept to a lease: each node tells anew what it has spent. */
    q = query_start(tx,
        "UPDATE budget_leases SET wanted_ms = " BUDGET_LEASE_UNHEARD " WHERE budget_id = $1"
        " AND NOT EXISTS (SELECT 1 FROM budgets WHERE id = $1 AND mode = $2)");
    query_id(&q, id);
    query_text(&q, mode_name(b->hard));
    if (query_run(&q, e) != ERR_OK)
        return e->code;
    q = query_start(tx, "UPDATE budgets SET mode = $1, limit_nano_usd = $2 WHERE id = $3");
    query_text(&q, mode_name(b->hard));
    query_int(&q, b->limit_nano_usd);
    query_id(&q, id);
    return query_run(&q, e);
}

enum err
budget_row_clear(struct store_tx *tx, struct id org, struct id workspace, struct error *e)
{
    bool whole_org = id_is_zero(workspace);
    struct query q = query_start(tx,
        whole_org ? "DELETE FROM budgets WHERE org_id = $1 AND workspace_id IS NULL"
                  : "DELETE FROM budgets WHERE org_id = $1 AND workspace_id = $2");

    query_id(&q, org);
    if (!whole_org)
        query_id(&q, workspace);
    return query_run(&q, e);
}

enum err
budget_row_remove(struct store_tx *tx, struct id org, struct id workspace,
    enum budget_period period, struct error *e)
{
    const struct budget_row b = {.org = org, .workspace = workspace, .period = period};
    struct id id = {0};
    struct query q;

    if (existing_id(tx, &b, &id, e) != ERR_OK)
        return e->code;
    q = query_start(tx, "DELETE FROM budgets WHERE id = $1 RETURNING 1");
    query_id(&q, id);
    return query_run_found(&q, "budget", e);
}

enum err
budget_row_exempt(struct store_tx *tx, struct id org, bool exempt, struct error *e)
{
    struct query q;

    if (!exempt) {
        q = query_start(tx, "DELETE FROM budget_exemptions WHERE org_id = $1");
        query_id(&q, org);
        return query_run(&q, e);
    }
    q = query_start(tx,
        "INSERT INTO budget_exemptions (org_id, created_ms) VALUES ($1, $2)"
        " ON CONFLICT (org_id) DO NOTHING");
    query_id(&q, org);
    query_int(&q, clock_ms());
    return query_run(&q, e);
}

enum err
budget_row_is_exempt(struct store_tx *tx, struct id org, bool *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM budget_exemptions WHERE org_id = $1");
    bool found;

    query_id(&q, org);
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}

static struct budget_row
decode(struct query *q)
{
    struct budget_row b = {.id = query_get_id(q)};
    AUTO_ARENA struct arena a = {0};

    b.org = query_get_id(q);
    b.workspace = query_get_id_or_zero(q);
    QUERY_GET_ENUM(q, budget_period_name, BUDGET_PERIOD_COUNT, &b.period);
    b.hard = str_equal(query_get_text(q, &a), mode_name(true));
    b.limit_nano_usd = query_get_int(q);
    return b;
}

struct budgets {
    struct arena *arena;
    struct budget_row *rows;
    size_t n;
};

static void
add(struct budgets *l, struct budget_row b)
{
    l->rows = query_array(l->arena, l->rows, l->n, sizeof(*l->rows));
    l->rows[l->n++] = b;
}

/* Orgs that have no budget as a whole and are not exempted: the default's. */
static enum err
add_defaults(struct store_tx *tx, struct id org, const struct budget_default *d, struct budgets *l,
    struct error *e)
{
#define WITHOUT_OWN                                                                                \
    "SELECT id FROM orgs WHERE NOT EXISTS (SELECT 1 FROM budgets b WHERE b.org_id = orgs.id"       \
    " AND b.workspace_id IS NULL) AND NOT EXISTS (SELECT 1 FROM budget_exemptions x"               \
    " WHERE x.org_id = orgs.id)"
    bool all = id_is_zero(org);
    struct query q = query_start(tx, all ? WITHOUT_OWN " ORDER BY id" : WITHOUT_OWN " AND id = $1");

    if (!all)
        query_id(&q, org);
    while (query_row(&q)) {
        struct id id = query_get_id(&q);

        add(l,
            (struct budget_row){.id = id,
                .org = id,
                .period = d->period,
                .hard = d->hard,
                .limit_nano_usd = d->limit_nano_usd,
                .is_default = true});
    }
    return query_end(&q, e);
}

enum err
budget_row_list(struct store_tx *tx, struct id org, struct id workspace,
    const struct budget_default *d, struct arena *a, struct budget_row **ret, size_t *ret_n,
    struct error *e)
{
#define BUDGETS "SELECT " COLUMNS " FROM budgets"
#define IN_ORDER " ORDER BY org_id, workspace_id IS NOT NULL, workspace_id, created_ms, period"
    bool all = id_is_zero(org), one = !id_is_zero(workspace);
    struct budgets l = {.arena = a};
    struct query q = query_start(tx,
        all       ? BUDGETS IN_ORDER
            : one ? BUDGETS
            " WHERE org_id = $1 AND (workspace_id IS NULL OR workspace_id = $2)" IN_ORDER
                  : BUDGETS " WHERE org_id = $1" IN_ORDER);

    if (!all)
        query_id(&q, org);
    if (one)
        query_id(&q, workspace);
    while (query_row(&q))
        add(&l, decode(&q));
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    if (d->limit_nano_usd >= 0 && add_defaults(tx, org, d, &l, e) != ERR_OK)
        return e->code;
    *ret = l.rows;
    *ret_n = l.n;
    return ERR_OK;
}

enum err
budget_row_spent(struct store_tx *tx, const struct budget_row *b, int64_t now_ms,
    int64_t *ret_nano_usd, struct error *e)
{
    int64_t number = budget_period_number(b->period, now_ms);
    int64_t end = b->period == BUDGET_TOTAL ? 0 : budget_period_start(b->period, number + 1);
    struct ledger_totals t;
    int64_t pruned = 0;
    enum err err = ledger_row_totals(
        tx, b->org, b->workspace, budget_period_start(b->period, number), end, &t, e);

    if (err == ERR_OK && b->period == BUDGET_TOTAL)
        err = prune_spent(tx, b->org, b->workspace, &pruned, e);
    if (err == ERR_OK)
        *ret_nano_usd = t.cost_nano_usd + pruned;
    return err;
}

enum err
budget_row_spent_here(struct store_tx *tx, const struct budget_row *b, int64_t now_ms,
    int64_t *ret_nano_usd, struct error *e)
{
/* A correction gives back to the node that had made the call, whoever booked it. */
#define SPENT_HERE                                                                                 \
    "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) FROM ledger r WHERE org_id = $1"       \
    " AND opened_ms >= $3 AND opened_ms < $4 AND CASE WHEN kind = 'call' THEN node_id ELSE"        \
    " COALESCE((SELECT o.node_id FROM ledger o WHERE o.call_id = r.call_id"                        \
    " AND o.attempt = r.attempt AND o.kind = 'call'), node_id) END = $2"
    bool whole_org = id_is_zero(b->workspace), total = b->period == BUDGET_TOTAL;
    int64_t number = budget_period_number(b->period, now_ms), sum, pruned = 0;
    struct query q = query_start(tx, whole_org ? SPENT_HERE : SPENT_HERE " AND workspace_id = $5");

    query_id(&q, b->org);
    query_id(&q, store_tx_node(tx));
    query_int(&q, budget_period_start(b->period, number));
    query_int(&q, total ? INT64_MAX : budget_period_start(b->period, number + 1));
    if (!whole_org)
        query_id(&q, b->workspace);
    sum = query_row(&q) ? query_get_int(&q) : 0;
    if (query_end(&q, e) != ERR_OK ||
        (total && prune_spent_here(tx, b->org, b->workspace, &pruned, e) != ERR_OK))
        return e->code;
    *ret_nano_usd = sum + pruned;
    return ERR_OK;
}

enum err
budget_alert_note(struct store_tx *tx, struct id budget, int64_t period_number, int percent,
    bool *ret_new, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO budget_alerts (budget_id, period_number, percent, created_ms)"
        " VALUES ($1, $2, $3, $4) ON CONFLICT (budget_id, period_number, percent) DO NOTHING"
        " RETURNING 1");
    bool found;

    query_id(&q, budget);
    query_int(&q, period_number);
    query_int(&q, percent);
    query_int(&q, clock_ms());
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret_new = found;
    return ERR_OK;
}
