#include "store/prune.h"

#include "store/chain.h"
#include "store/query.h"

/* Runs a DELETE ... RETURNING 1 and counts. */
static enum err
count_rows(struct query *q, int64_t *ret, struct error *e)
{
    int64_t n = 0;

    while (query_row(q))
        n++;
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = n;
    return ERR_OK;
}

static enum err
read_ids(struct query *q, struct arena *a, struct id **ret, size_t *ret_n, struct error *e)
{
    struct id *ids = NULL;
    size_t n = 0;

    while (query_row(q)) {
        ids = query_array(a, ids, n, sizeof(*ids));
        ids[n++] = query_get_id(q);
    }
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = ids;
    *ret_n = n;
    return ERR_OK;
}

static enum err
read_int(struct query *q, int64_t *ret, struct error *e)
{
    int64_t v = 0;

    if (query_row(q))
        v = query_get_int(q);
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = v;
    return ERR_OK;
}

/* --- chains ---------------------------------------------------------------------------------- */

enum err
prune_chain_orgs(struct store_tx *tx, enum audit_type chain, int64_t before_ms, struct arena *a,
    struct id **ret, size_t *ret_n, struct error *e)
{
    /* Checkpoints are as old as they are low: the first behind the anchor tells. */
    struct query q = query_start(tx,
        "SELECT h.org_id FROM heads h WHERE h.node_id = $1 AND h.chain = $2 AND $3 >"
        " (SELECT c.created_ms FROM checkpoints c WHERE c.org_id = h.org_id"
        " AND c.node_id = h.node_id AND c.chain = h.chain AND c.seq > COALESCE((SELECT r.seq FROM"
        " anchors r WHERE r.org_id = h.org_id AND r.node_id = h.node_id AND r.chain = h.chain), 0)"
        " ORDER BY c.seq LIMIT 1) ORDER BY 1");

    query_id(&q, store_tx_node(tx));
    query_text(&q, audit_type_name(chain));
    query_int(&q, before_ms);
    return read_ids(&q, a, ret, ret_n, e);
}

/* The furthest checkpoint that is old enough and not more than a portion away; else the next. */
static enum err
covering(struct store_tx *tx, const struct prune_chain *p, int64_t seq, struct checkpoint_row *ret,
    struct error *e)
{
    AUTO_ARENA struct arena a = {0};
    const struct checkpoint_row chain = {
        .org = p->org, .node = store_tx_node(tx), .chain = p->chain};
    struct checkpoint_row *rows = NULL, found = {0};
    size_t n = 0;

    if (checkpoint_row_behind(tx, &chain, seq, PRUNE_ROWS_MAX, &a, &rows, &n, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n && rows[i].created_ms < p->before_ms; i++) {
        if (i == 0 || rows[i].seq <= seq + PRUNE_ROWS_MAX)
            found = rows[i];
    }
    *ret = found;
    return ERR_OK;
}

/* Does the chain hold from the anchor to r->seq? Fills in the hash there. */
static enum err
walk(struct store_tx *tx, const struct chain *chain, struct anchor_row *r, struct arena *a,
    struct str *ret_why, struct error *e)
{
    struct chain_walk w = {.chain = chain};
    bool is_ledger = r->chain == AUDIT_LEDGER;
    enum err code = chain_walk_begin(tx, &w, 0, e);

    if (code == ERR_OK)
        code = is_ledger ? ledger_chain_walk(tx, &w, 0, r->seq, e)
                         : decision_chain_walk(tx, &w, 0, r->seq, e);
    if (code != ERR_OK)
        return code;
    memcpy(r->hash, w.last.hash, sizeof(r->hash));
    if (w.why != NULL)
        *ret_why = arena_printf(a, "entry %lld %s", (long long)w.at, w.why);
    else if (w.last.seq != r->seq)
        *ret_why = arena_printf(a, "entry %lld is missing", (long long)w.last.seq + 1);
    return ERR_OK;
}

static enum err
keep_spend(struct store_tx *tx, const struct anchor_row *r, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO pruned_spend (org_id, workspace_id, node_id, cost_nano_usd)"
        " SELECT org_id, workspace_id, node_id, CAST(SUM(cost_nano_usd) AS BIGINT) FROM ledger"
        " WHERE org_id = $1 AND node_id = $2 AND seq <= $3 GROUP BY org_id, workspace_id, node_id"
        " ON CONFLICT (org_id, workspace_id, node_id) DO UPDATE SET"
        " cost_nano_usd = pruned_spend.cost_nano_usd + excluded.cost_nano_usd");

    query_id(&q, r->org);
    query_id(&q, r->node);
    query_int(&q, r->seq);
    return query_run(&q, e);
}

static enum err
remove_entries(
    struct store_tx *tx, const struct anchor_row *r, int64_t *ret_removed, struct error *e)
{
    struct query q;

    if (r->chain == AUDIT_LEDGER && keep_spend(tx, r, e) != ERR_OK)
        return e->code;
    q = query_start(tx,
        r->chain == AUDIT_LEDGER
            ? "DELETE FROM ledger WHERE org_id = $1 AND node_id = $2 AND seq <= $3 RETURNING 1"
            : "DELETE FROM decisions WHERE org_id = $1 AND node_id = $2 AND seq <= $3 RETURNING 1");
    query_id(&q, r->org);
    query_id(&q, r->node);
    query_int(&q, r->seq);
    return count_rows(&q, ret_removed, e);
}

enum err
prune_chain(struct store_tx *tx, const struct prune_chain *p, struct arena *a, int64_t *ret_removed,
    struct str *ret_why, struct error *e)
{
    const struct chain chain = {audit_type_name(p->chain).p, p->org, store_tx_node(tx)};
    struct anchor_row r;
    struct checkpoint_row c;
    struct str why;
    int64_t end;

    *ret_removed = 0;
    if (anchor_row_get(tx, p->org, chain.node, p->chain, &r, e) != ERR_OK ||
        anchor_row_verify(tx, &r, a, &why, e) != ERR_OK || covering(tx, p, r.seq, &c, e) != ERR_OK)
        return e->code;
    *ret_why = why;
    if (c.seq == 0 || why.n > 0)
        return ERR_OK;
    end = c.seq - r.seq > PRUNE_ROWS_MAX ? r.seq + PRUNE_ROWS_MAX : c.seq;
    r = (struct anchor_row){.org = p->org,
        .node = chain.node,
        .chain = p->chain,
        .seq = end,
        .checkpoint = c.number,
        .until_ms = c.created_ms,
        .pruned_ms = clock_ms()};
    /* Whoever can write checkpoints, but not sign them, must not have evidence removed. */
    if (memcmp(c.public_key, p->public_key, sizeof(c.public_key)) != 0)
        why = arena_printf(a, "checkpoint %lld is not signed by this node", (long long)c.number);
    else if (checkpoint_row_verify(tx, &c, a, &why, e) != ERR_OK ||
        walk(tx, &chain, &r, a, &why, e) != ERR_OK)
        return e->code;
    *ret_why = why;
    if (why.n > 0)
        return ERR_OK;
    p->sign(p->sign_ctx, &r);
    return anchor_row_put(tx, &r, e) == ERR_OK ? remove_entries(tx, &r, ret_removed, e) : e->code;
}

enum err
prune_spent_here(
    struct store_tx *tx, struct id org, struct id workspace, int64_t *ret_nano_usd, struct error *e)
{
#define SPENT_HERE                                                                                 \
    "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) FROM pruned_spend WHERE org_id = $1"   \
    " AND node_id = $2"
    bool whole_org = id_is_zero(workspace);
    struct query q = query_start(tx, whole_org ? SPENT_HERE : SPENT_HERE " AND workspace_id = $3");

    query_id(&q, org);
    query_id(&q, store_tx_node(tx));
    if (!whole_org)
        query_id(&q, workspace);
    return read_int(&q, ret_nano_usd, e);
}

enum err
prune_spent(
    struct store_tx *tx, struct id org, struct id workspace, int64_t *ret_nano_usd, struct error *e)
{
#define SPENT                                                                                      \
    "SELECT CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT) FROM pruned_spend WHERE org_id = $1"
    bool whole_org = id_is_zero(workspace);
    struct query q = query_start(tx, whole_org ? SPENT : SPENT " AND workspace_id = $2");

    query_id(&q, org);
    if (!whole_org)
        query_id(&q, workspace);
    return read_int(&q, ret_nano_usd, e);
}

/* --- what is in no chain --------------------------------------------------------------------- */

enum err
prune_event_orgs(
    struct store_tx *tx, struct arena *a, struct id **ret, size_t *ret_n, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT DISTINCT org_id FROM heads WHERE chain = 'event' ORDER BY 1");

    return read_ids(&q, a, ret, ret_n, e);
}

enum err
prune_events(
    struct store_tx *tx, struct id org, int64_t before_ms, int64_t *ret_removed, struct error *e)
{
    struct query q = query_start(tx,
        "DELETE FROM events WHERE org_id = $1 AND seq IN (SELECT seq FROM (SELECT seq, created_ms"
        " FROM events WHERE org_id = $1 ORDER BY seq LIMIT $3) AS oldest WHERE created_ms < $2)"
        " RETURNING 1");

    query_id(&q, org);
    query_int(&q, before_ms);
    query_int(&q, PRUNE_ROWS_MAX);
    return count_rows(&q, ret_removed, e);
}

enum err
prune_rows(struct store_tx *tx, enum prune_kind kind, int64_t before_ms, int64_t *ret_removed,
    struct error *e)
{
    static const char *const sql[PRUNE_KIND_COUNT] = {
        [PRUNE_TOKENS] = "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE"
                         " (revoked_ms > 0 AND revoked_ms < $1)"
                         " OR (expires_ms > 0 AND expires_ms < $1) LIMIT $2) RETURNING 1",
        [PRUNE_RUNS] = "DELETE FROM runs WHERE id IN (SELECT id FROM runs WHERE expires_ms < $1"
                       " LIMIT $2) RETURNING 1",
        [PRUNE_BUDGET_ALERTS] =
            "DELETE FROM budget_alerts WHERE (budget_id, period_number, percent) IN"
            " (SELECT budget_id, period_number, percent FROM budget_alerts WHERE created_ms < $1"
            " AND period_number <> 0 LIMIT $2) RETURNING 1",
        [PRUNE_IDEMPOTENCY_KEYS] =
            "DELETE FROM idempotency_keys WHERE (org_id, idempotency_key) IN"
            " (SELECT org_id, idempotency_key FROM idempotency_keys WHERE created_ms < $1"
            " LIMIT $2) RETURNING 1",
    };
    struct query q = query_start(tx, sql[kind]);

    query_int(&q, before_ms);
    query_int(&q, PRUNE_ROWS_MAX);
    return count_rows(&q, ret_removed, e);
}

/* --- when ------------------------------------------------------------------------------------ */

enum err
prune_note(struct store_tx *tx, int64_t now_ms, struct error *e)
{
    struct query q = query_start(tx, "UPDATE nodes SET retained_ms = $1 WHERE id = $2");

    query_int(&q, now_ms);
    query_id(&q, store_tx_node(tx));
    return query_run(&q, e);
}

enum err
prune_last(struct store_tx *tx, int64_t *ret_ms, struct error *e)
{
    struct query q = query_start(tx, "SELECT retained_ms FROM nodes WHERE id = $1");

    query_id(&q, store_tx_node(tx));
    return read_int(&q, ret_ms, e);
}
