/* What a workspace holds of the node and gives back at its end. */
#include "store/query.h"
#include "store/watch.h"
#include "store/workspace_row.h"

static enum err
uid_free(struct store_tx *tx, int64_t first, int64_t count, int64_t *ret, struct error *e)
{
    /* Either the first one, or one behind a taken one: the smallest of these that is free. */
    struct query q = query_start(tx,
        "SELECT MIN(candidate) FROM (SELECT CAST($1 AS BIGINT) AS candidate UNION SELECT uid + 1"
        " FROM workspaces WHERE node_id = $2 AND uid >= $1 AND uid < $3) AS candidates"
        " WHERE NOT EXISTS (SELECT 1 FROM workspaces WHERE node_id = $2 AND uid = candidate)");
    int64_t uid = 0;

    query_int(&q, first);
    query_id(&q, store_tx_node(tx));
    query_int(&q, first + count);
    if (query_row(&q))
        uid = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    if (uid >= first + count)
        return fail(e, ERR_CONFLICT, "all %lld user ids from %lld on are taken: widen the range",
            (long long)count, (long long)first);
    *ret = uid;
    return ERR_OK;
}

enum err
workspace_row_allot_uid(struct store_tx *tx, struct id org, struct id workspace, int64_t first,
    int64_t count, int64_t *ret_uid, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT uid FROM workspaces WHERE org_id = $1 AND id = $2 AND node_id = $3"
        " AND status <> 'removed'");
    int64_t uid = 0;
    bool found;

    query_id(&q, org);
    query_id(&q, workspace);
    query_id(&q, store_tx_node(tx));
    found = query_row(&q);
    if (found)
        uid = query_get_int_or(&q, 0, NULL);
    if (query_end_found(&q, found, "workspace", e) != ERR_OK)
        return e->code;
    if (uid == 0) {
        if (uid_free(tx, first, count, &uid, e) != ERR_OK)
            return e->code;
        q = query_start(tx, "UPDATE workspaces SET uid = $1 WHERE org_id = $2 AND id = $3");
        query_int(&q, uid);
        query_id(&q, org);
        query_id(&q, workspace);
        if (query_run(&q, e) != ERR_OK)
            return e->code;
    }
    *ret_uid = uid;
    return ERR_OK;
}

enum err
workspace_row_list_ids(struct store_tx *tx, struct id org, struct arena *a, struct id **ret,
    size_t *ret_n, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT id FROM workspaces WHERE org_id = $1 AND node_id = $2");
    struct id *rows = NULL;
    size_t n = 0;

    query_id(&q, org);
    query_id(&q, store_tx_node(tx));
    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = query_get_id(&q);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
workspace_row_remove(struct store_tx *tx, struct id org, struct id workspace, struct error *e)
{
    int64_t now = clock_ms();
    struct workspace_row w;
    AUTO_ARENA struct arena a = {0};
    struct query q;

    if (workspace_row_get(tx, org, workspace, &a, &w, e) != ERR_OK)
        return e->code;
    if (w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "the workspace was removed");
    q = query_start(tx, "DELETE FROM workspace_secrets WHERE org_id = $1 AND workspace_id = $2");
    query_id(&q, org);
    query_id(&q, workspace);
    if (query_run(&q, e) != ERR_OK)
        return e->code;
    q = query_start(tx,
        "UPDATE tokens SET revoked_ms = $1 WHERE org_id = $2 AND workspace_id = $3 "
        "AND revoked_ms = 0");
    query_int(&q, now);
    query_id(&q, org);
    query_id(&q, workspace);
    if (query_run(&q, e) != ERR_OK || store_notify(tx, STORE_CHANGE_ANY, STR(""), e) != ERR_OK)
        return e->code;
    q = query_start(tx,
        "UPDATE workspaces SET desired = 'removed', status = 'removed', uid = NULL,"
        " version = version + 1, updated_ms = $1 WHERE org_id = $2 AND id = $3");
    query_int(&q, now);
    query_id(&q, org);
    query_id(&q, workspace);
    return query_run(&q, e);
}
