#include "store/limit_row.h"

#include "store/query.h"

#define COLUMNS "org_id, workspace_id, per, requests_per_minute, tokens_per_minute, concurrent"

struct str
limit_per_name(enum limit_per per)
{
    return per == LIMIT_PER_TOKEN ? STR("token") : STR("workspace");
}

static enum err
limit_row_remove(struct store_tx *tx, const struct limit_row *l, struct error *e)
{
    struct query q = query_start(
        tx, "DELETE FROM rate_limits WHERE org_id = $1 AND workspace_id = $2 AND per = $3");

    query_id(&q, l->org);
    query_id(&q, l->workspace);
    query_text(&q, limit_per_name(l->per));
    return query_run(&q, e);
}

enum err
limit_row_put(struct store_tx *tx, const struct limit_row *l, struct error *e)
{
    struct query q;

    if (l->requests_per_minute == 0 && l->tokens_per_minute == 0 && l->concurrent == 0)
        return limit_row_remove(tx, l, e);
    q = query_start(tx,
        "INSERT INTO rate_limits (" COLUMNS ") SELECT org_id, id, $3, $4, $5, $6 FROM workspaces"
        " WHERE org_id = $1 AND id = $2 ON CONFLICT (org_id, workspace_id, per) DO UPDATE SET"
        " requests_per_minute = excluded.requests_per_minute,"
        " tokens_per_minute = excluded.tokens_per_minute, concurrent = excluded.concurrent"
        " RETURNING 1");
    query_id(&q, l->org);
    query_id(&q, l->workspace);
    query_text(&q, limit_per_name(l->per));
    query_int(&q, l->requests_per_minute);
    query_int(&q, l->tokens_per_minute);
    query_int(&q, l->concurrent);
    return query_run_found(&q, "workspace", e);
}

enum err
limit_row_list(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct limit_row **ret, size_t *ret_n, struct error *e)
{
#define LIMITS "SELECT " COLUMNS " FROM rate_limits"
    bool all = id_is_zero(workspace);
    struct query q = query_start(tx,
        all ? LIMITS " ORDER BY 1, 2, 3"
            : LIMITS " WHERE org_id = $1 AND workspace_id = $2 ORDER BY 1, 2, 3");
    struct limit_row *rows = NULL;
    size_t n = 0;

    if (!all) {
        query_id(&q, org);
        query_id(&q, workspace);
    }
    while (query_row(&q)) {
        struct limit_row l = {.org = query_get_id(&q)};

        l.workspace = query_get_id(&q);
        QUERY_GET_ENUM(&q, limit_per_name, LIMIT_PER_COUNT, &l.per);
        l.requests_per_minute = query_get_int(&q);
        l.tokens_per_minute = query_get_int(&q);
        l.concurrent = query_get_int(&q);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = l;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}
