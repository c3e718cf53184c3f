#include "store/node_row.h"

#include "store/query.h"

enum err
node_row_list(
    struct store_tx *tx, struct arena *a, struct node_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT n.id, n.created_ms, n.last_seen_ms, COUNT(w.id), CAST(COALESCE(SUM(CASE WHEN"
        " w.status IN ('provisioning', 'online', 'degraded', 'offline') THEN 1 ELSE 0 END), 0)"
        " AS BIGINT) FROM nodes n LEFT JOIN workspaces w ON w.node_id = n.id"
        " AND w.status <> 'removed' GROUP BY n.id, n.created_ms, n.last_seen_ms"
        " ORDER BY n.created_ms, n.id");
    struct node_row *rows = NULL;
    size_t n = 0;

    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n].id = query_get_id(&q);
        rows[n].created_ms = query_get_int(&q);
        rows[n].last_seen_ms = query_get_int(&q);
        rows[n].workspaces = query_get_int(&q);
        rows[n++].up = query_get_int(&q);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

/* Those that are removed, too: no row may name a node that is not there. */
static enum err
move_workspaces(struct store_tx *tx, struct id node, struct arena *a, struct id **ret,
    size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE workspaces SET node_id = $1, uid = NULL WHERE node_id = $2 RETURNING id, status");
    struct id *ids = NULL;
    size_t n = 0;

    query_id(&q, store_tx_node(tx));
    query_id(&q, node);
    while (query_row(&q)) {
        struct id id = query_get_id(&q);

        if (str_equal(query_get_text(&q, a), STR("removed")))
            continue;
        ids = query_array(a, ids, n, sizeof(*ids));
        ids[n++] = id;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = ids;
    *ret_n = n;
    return ERR_OK;
}

/* Followers look whether the sum of all nodes' changes is what they were told: it must not sink. */
static enum err
keep_changes(struct store_tx *tx, struct id node, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE nodes SET changes = changes + (SELECT changes FROM nodes WHERE id = $1)"
        " WHERE id = $2");

    query_id(&q, node);
    query_id(&q, store_tx_node(tx));
    return query_run(&q, e);
}

enum err
node_row_take_over(struct store_tx *tx, struct id node, struct arena *a, struct id **ret,
    size_t *ret_n, struct error *e)
{
    struct id *ids = NULL;
    size_t n = 0;
    struct query q;
    enum err err = move_workspaces(tx, node, a, &ids, &n, e);

    if (err == ERR_OK)
        err = keep_changes(tx, node, e);
    if (err != ERR_OK)
        return err;
    q = query_start(tx, "DELETE FROM nodes WHERE id = $1");
    query_id(&q, node);
    err = query_run(&q, e);
    if (err != ERR_OK)
        return err;
    *ret = ids;
    *ret_n = n;
    return ERR_OK;
}
