#include "store/heartbeat_row.h"

#include "store/query.h"

enum err
heartbeat_row_get(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct heartbeat_row *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT seen_ms, configured, reason, report, card FROM heartbeats"
        " WHERE org_id = $1 AND workspace_id = $2");
    struct heartbeat_row h = {
        .org = org, .workspace = workspace, .report = STR("{}"), .card = STR("{}")};

    query_id(&q, org);
    query_id(&q, workspace);
    if (query_row(&q)) {
        h.seen_ms = query_get_int(&q);
        h.configured = query_get_int_or(&q, 0, &h.says_configured) != 0;
        h.reason = query_get_text(&q, a);
        h.report = query_get_text(&q, a);
        h.card = query_get_text(&q, a);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = h;
    return ERR_OK;
}

static void
query_object(struct query *q, struct str json)
{
    query_text(q, json.n == 0 ? STR("{}") : json);
}

enum err
heartbeat_row_put(struct store_tx *tx, const struct heartbeat_row *h, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO heartbeats (org_id, workspace_id, seen_ms, configured, reason, report, card)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7)"
        " ON CONFLICT (org_id, workspace_id) DO UPDATE SET seen_ms = $3, configured = $4,"
        " reason = $5, report = $6, card = $7");

    query_id(&q, h->org);
    query_id(&q, h->workspace);
    query_int(&q, h->seen_ms);
    query_int_or_null(&q, h->says_configured, h->configured);
    query_text(&q, h->reason);
    query_object(&q, h->report);
    query_object(&q, h->card);
    return query_run(&q, e);
}

enum err
heartbeat_row_reset(struct store_tx *tx, struct id org, struct id workspace, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE heartbeats SET seen_ms = 0, configured = NULL, reason = '', report = '{}'"
        " WHERE org_id = $1 AND workspace_id = $2");

    query_id(&q, org);
    query_id(&q, workspace);
    return query_run(&q, e);
}

enum err
heartbeat_row_missed(struct store_tx *tx, int64_t before_ms, int64_t external_before_ms,
    struct arena *a, struct heartbeat_missed **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT w.org_id, w.id, h.seen_ms FROM workspaces w"
        " JOIN heartbeats h ON h.org_id = w.org_id AND h.workspace_id = w.id"
        " WHERE w.node_id = $1 AND w.status IN ('online', 'degraded') AND h.seen_ms > 0"
        " AND h.seen_ms < CASE WHEN w.runtime IN ('external', 'kimi', 'kimi-cli')"
        " THEN CAST($2 AS BIGINT) ELSE CAST($3 AS BIGINT) END");
    struct heartbeat_missed *rows = NULL;
    size_t n = 0;

    query_id(&q, store_tx_node(tx));
    query_int(&q, external_before_ms);
    query_int(&q, before_ms);
    while (query_row(&q)) {
        struct heartbeat_missed m = {.org = query_get_id(&q)};

        m.workspace = query_get_id(&q);
        m.seen_ms = query_get_int(&q);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = m;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}
