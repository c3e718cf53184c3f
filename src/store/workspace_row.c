#include "store/workspace_row.h"

#include "store/query.h"

#define COLUMNS                                                                                    \
    "id, org_id, node_id, parent_id, name, role, runtime, url, llm_billing_mode, command,"         \
    " workspace_dir, extra_models, required_env, budget_limit_cents, desired, status,"             \
    " last_error_code, last_error, readiness, restart, start_timeout_ms, launch, restarts,"        \
    " start_due_ms, uid, created_ms, updated_ms, version"
#define TOUCH "version = version + 1, updated_ms = "

static struct workspace_row
decode(struct query *q, struct arena *a)
{
    struct workspace_row w = {.id = query_get_id(q)};

    w.org = query_get_id(q);
    w.node = query_get_id(q);
    w.parent = query_get_id_or_zero(q);
    w.name = query_get_text(q, a);
    w.role = query_get_text(q, a);
    w.runtime = query_get_text(q, a);
    w.url = query_get_text(q, a);
    w.override_raw = query_get_text_or_null(q, a, &w.override_present);
    w.command = query_get_text(q, a);
    w.workspace_dir = query_get_text(q, a);
    w.extra_models = query_get_text(q, a);
    w.required_env = query_get_text(q, a);
    w.budget_limit_cents = query_get_int_or(q, 0, &w.has_budget_limit);
    QUERY_GET_ENUM(q, workspace_desired_name, WORKSPACE_DESIRED_COUNT, &w.desired);
    QUERY_GET_ENUM(q, workspace_status_name, WORKSPACE_STATUS_COUNT, &w.status);
    w.last_error_code = query_get_text(q, a);
    w.last_error = query_get_text(q, a);
    QUERY_GET_ENUM(q, workspace_readiness_name, READINESS_COUNT, &w.care.readiness);
    QUERY_GET_ENUM(q, workspace_restart_name, RESTART_COUNT, &w.care.restart);
    w.care.start_timeout_ms = query_get_int(q);
    w.launch = query_get_text(q, a);
    w.restarts = query_get_int(q);
    w.start_due_ms = query_get_int(q);
    w.uid = query_get_int_or(q, 0, NULL);
    w.created_ms = query_get_int(q);
    w.updated_ms = query_get_int(q);
    w.version = query_get_int(q);
    return w;
}

static enum err
decode_all(
    struct query *q, struct arena *a, struct workspace_row **ret, size_t *ret_n, struct error *e)
{
    struct workspace_row *rows = NULL;
    size_t n = 0;

    while (query_row(q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode(q, a);
    }
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

static void
bind_array(struct query *q, struct str json)
{
    query_text(q, json.n == 0 ? STR("[]") : json);
}

static void
bind_budget(struct query *q, const struct workspace_row *w)
{
    query_int_or_null(q, w->has_budget_limit, w->budget_limit_cents);
}

static void
bind_policy(struct query *q, const struct workspace_row *w)
{
    query_text(q, workspace_readiness_name(w->care.readiness));
    query_text(q, workspace_restart_name(w->care.restart));
    query_int(q, w->care.start_timeout_ms);
    query_text(q, w->launch.n == 0 ? STR("{}") : w->launch);
}

enum err
workspace_row_insert(struct store_tx *tx, const struct workspace_row *w, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO workspaces (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11,"
        " $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, NULL, $25, $26, 1)");

    query_id(&q, w->id);
    query_id(&q, w->org);
    query_id(&q, store_tx_node(tx));
    query_id_or_null(&q, w->parent);
    query_text(&q, w->name);
    query_text(&q, w->role);
    query_text(&q, w->runtime);
    query_text(&q, w->url);
    query_text_or_null(&q, w->override_present, w->override_raw);
    bind_array(&q, w->command);
    query_text(&q, w->workspace_dir);
    bind_array(&q, w->extra_models);
    bind_array(&q, w->required_env);
    bind_budget(&q, w);
    query_text(&q, workspace_desired_name(w->desired));
    query_text(&q, workspace_status_name(w->status));
    query_text(&q, w->last_error_code);
    query_text(&q, w->last_error);
    bind_policy(&q, w);
    query_int(&q, w->restarts);
    query_int(&q, w->start_due_ms);
    query_int(&q, w->created_ms);
    query_int(&q, w->created_ms);
    return query_run(&q, e);
}

enum err
workspace_row_get(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct workspace_row *ret, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT " COLUMNS " FROM workspaces WHERE org_id = $1 AND id = $2");
    struct workspace_row w = {0};
    bool found;

    query_id(&q, org);
    query_id(&q, workspace);
    found = query_row(&q);
    if (found)
        w = decode(&q, a);
    if (query_end_found(&q, found, "workspace", e) != ERR_OK)
        return e->code;
    *ret = w;
    return ERR_OK;
}

enum err
workspace_row_list(struct store_tx *tx, struct id org, struct arena *a, struct workspace_row **ret,
    size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS " FROM workspaces WHERE org_id = $1 AND status <> 'removed'"
        " ORDER BY created_ms, id");

    query_id(&q, org);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
workspace_row_list_node(struct store_tx *tx, struct arena *a, struct workspace_row **ret,
    size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS " FROM workspaces WHERE node_id = $1 AND status <> 'removed'"
        " ORDER BY created_ms, id");

    query_id(&q, store_tx_node(tx));
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
workspace_row_find_org(
    struct store_tx *tx, struct id workspace, struct id *ret_org, struct error *e)
{
    struct query q = query_start(tx, "SELECT org_id FROM workspaces WHERE id = $1");
    struct id org = {{0}};
    bool found;

    query_id(&q, workspace);
    found = query_row(&q);
    if (found)
        org = query_get_id(&q);
    if (query_end_found(&q, found, "workspace", e) != ERR_OK)
        return e->code;
    *ret_org = org;
    return ERR_OK;
}

/* After a write that hit no row: was it gone, or only not as expected? */
static enum err
explain_no_hit(struct store_tx *tx, struct id org, struct id workspace, enum err otherwise,
    const char *text, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM workspaces WHERE org_id = $1 AND id = $2");

    query_id(&q, org);
    query_id(&q, workspace);
    if (query_run_found(&q, "workspace", e) != ERR_OK)
        return e->code;
    return fail(e, otherwise, "%s", text);
}

enum err
workspace_row_update(struct store_tx *tx, const struct workspace_row *w, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE workspaces SET name = $1, role = $2, runtime = $3, parent_id = $4, url = $5,"
        " command = $6, workspace_dir = $7, extra_models = $8, required_env = $9,"
        " budget_limit_cents = $10, readiness = $11, restart = $12, start_timeout_ms = $13,"
        " launch = $14, " TOUCH
        "$15 WHERE org_id = $16 AND id = $17 AND version = $18 RETURNING 1");
    enum err err;

    query_text(&q, w->name);
    query_text(&q, w->role);
    query_text(&q, w->runtime);
    query_id_or_null(&q, w->parent);
    query_text(&q, w->url);
    bind_array(&q, w->command);
    query_text(&q, w->workspace_dir);
    bind_array(&q, w->extra_models);
    bind_array(&q, w->required_env);
    bind_budget(&q, w);
    bind_policy(&q, w);
    query_int(&q, clock_ms());
    query_id(&q, w->org);
    query_id(&q, w->id);
    query_int(&q, w->version);
    err = query_run_found(&q, "workspace", e);
    if (err != ERR_NOT_FOUND || tx->failed)
        return err;
    return explain_no_hit(tx, w->org, w->id, ERR_CONFLICT,
        "the workspace was changed meanwhile: read it again and repeat", e);
}

enum err
workspace_row_set_override(
    struct store_tx *tx, struct id org, struct id workspace, const struct str *raw, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE workspaces SET llm_billing_mode = $1, " TOUCH "$2"
        " WHERE org_id = $3 AND id = $4 RETURNING 1");

    query_text_or_null(&q, raw != NULL, raw != NULL ? *raw : STR_NONE);
    query_int(&q, clock_ms());
    query_id(&q, org);
    query_id(&q, workspace);
    return query_run_found(&q, "workspace", e);
}

enum err
workspace_row_set_life(struct store_tx *tx, struct id org, struct id workspace,
    const struct workspace_life *life, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE workspaces SET desired = $1, status = $2, last_error_code = $3, last_error = $4,"
        " restarts = $5, start_due_ms = $6, " TOUCH "$7"
        " WHERE org_id = $8 AND id = $9 AND status <> 'removed' RETURNING 1");
    enum err err;

    ENSURE(life->status != WORKSPACE_REMOVED);
    query_text(&q, workspace_desired_name(life->desired));
    query_text(&q, workspace_status_name(life->status));
    query_text(&q, life->error_code);
    query_text(&q, life->error_text);
    query_int(&q, life->restarts);
    query_int(&q, life->start_due_ms);
    query_int(&q, clock_ms());
    query_id(&q, org);
    query_id(&q, workspace);
    err = query_run_found(&q, "workspace", e);
    if (err != ERR_NOT_FOUND)
        return err;
    return explain_no_hit(tx, org, workspace, ERR_GONE, "the workspace was removed", e);
}
