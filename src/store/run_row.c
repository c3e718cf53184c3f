#include "store/run_row.h"

#include "store/query.h"

#define COLUMNS "id, org_id, workspace_id, token_id, mode, model, created_ms, ttl_ms, expires_ms"

static struct run_row
decode(struct query *q, struct arena *a)
{
    struct run_row r = {.id = query_get_id(q)};

    r.org = query_get_id(q);
    r.workspace = query_get_id(q);
    r.token = query_get_id_or_zero(q);
    r.mode = query_get_text(q, a);
    r.model = query_get_text(q, a);
    r.created_ms = query_get_int(q);
    r.ttl_ms = query_get_int(q);
    r.expires_ms = query_get_int(q);
    return r;
}

static enum err
drop_expired(struct store_tx *tx, const struct run_row *r, int64_t now_ms, struct error *e)
{
    struct query q = query_start(
        tx, "DELETE FROM runs WHERE org_id = $1 AND workspace_id = $2 AND expires_ms <= $3");

    query_id(&q, r->org);
    query_id(&q, r->workspace);
    query_int(&q, now_ms);
    return query_run(&q, e);
}

enum err
run_row_insert(struct store_tx *tx, const struct run_row *r, int64_t now_ms, struct error *e)
{
    struct query q;

    if (drop_expired(tx, r, now_ms, e) != ERR_OK)
        return e->code;
    q = query_start(
        tx, "INSERT INTO runs (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    query_id(&q, r->id);
    query_id(&q, r->org);
    query_id(&q, r->workspace);
    query_id_or_null(&q, r->token);
    query_text(&q, r->mode);
    query_text(&q, r->model);
    query_int(&q, r->created_ms);
    query_int(&q, r->ttl_ms);
    query_int(&q, r->expires_ms);
    return query_run(&q, e);
}

enum err
run_row_get(struct store_tx *tx, struct id org, struct id workspace, struct id run, int64_t now_ms,
    struct arena *a, struct run_row *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS " FROM runs WHERE org_id = $1 AND workspace_id = $2 AND id = $3"
        " AND expires_ms > $4");
    struct run_row r = {0};
    bool found;

    query_id(&q, org);
    query_id(&q, workspace);
    query_id(&q, run);
    query_int(&q, now_ms);
    found = query_row(&q);
    if (found)
        r = decode(&q, a);
    if (query_end_found(&q, found, "run", e) != ERR_OK)
        return e->code;
    *ret = r;
    return ERR_OK;
}

enum err
run_row_list(struct store_tx *tx, struct id org, struct id workspace, int64_t now_ms,
    struct arena *a, struct run_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS " FROM runs WHERE org_id = $1 AND workspace_id = $2 AND expires_ms > $3"
        " ORDER BY id DESC");
    struct run_row *rows = NULL;
    size_t n = 0;

    query_id(&q, org);
    query_id(&q, workspace);
    query_int(&q, now_ms);
    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode(&q, a);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
run_row_extend(
    struct store_tx *tx, struct id org, struct id run, int64_t expires_ms, struct error *e)
{
    struct query q = query_start(
        tx, "UPDATE runs SET expires_ms = $1 WHERE org_id = $2 AND id = $3 RETURNING 1");

    query_int(&q, expires_ms);
    query_id(&q, org);
    query_id(&q, run);
    return query_run_found(&q, "run", e);
}

enum err
run_row_delete(struct store_tx *tx, struct id org, struct id run, struct error *e)
{
    struct query q = query_start(tx, "DELETE FROM runs WHERE org_id = $1 AND id = $2 RETURNING 1");

    query_id(&q, org);
    query_id(&q, run);
    return query_run_found(&q, "run", e);
}
