#include "store/secret_row.h"

#include "store/query.h"
#include "store/sealed_row.h"

/*
 * Two tables, one shape: org scope is read with a NULL workspace_id. Texts come in pairs, the
 * second for workspace scope, and in_scope() binds what both have in front: $1 the org, $2 the
 * workspace.
 */
#define COLUMNS "name, key_id, version, fingerprint, created_ms, updated_ms, sealed"
#define COLUMNS_UNSEALED "name, key_id, version, fingerprint, created_ms, updated_ms"
#define FROM_ORG " FROM global_secrets WHERE org_id = $1"
#define FROM_WORKSPACE " FROM workspace_secrets WHERE org_id = $1 AND workspace_id = $2"

static bool
is_org_scope(struct id workspace)
{
    return id_is_zero(workspace);
}

/* Starts the text of the scope; returns the number of parameters bound. */
static struct query
in_scope(struct store_tx *tx, struct id org, struct id workspace, const char *of_org,
    const char *of_workspace)
{
    struct query q = query_start(tx, is_org_scope(workspace) ? of_org : of_workspace);

    query_id(&q, org);
    if (!is_org_scope(workspace))
        query_id(&q, workspace);
    return q;
}

static struct secret_row
decode(struct query *q, struct id org, struct id workspace, bool sealed, struct arena *a)
{
    struct secret_row s = {.org = org, .workspace = workspace, .name = query_get_text(q, a)};

    s.key_id = query_get_int(q);
    s.version = query_get_int(q);
    s.fingerprint = query_get_blob(q, a);
    s.created_ms = query_get_int(q);
    s.updated_ms = query_get_int(q);
    s.sealed = sealed ? query_get_blob(q, a) : STR("");
    return s;
}

#define ON_CONFLICT                                                                                \
    " DO UPDATE SET sealed = excluded.sealed, key_id = excluded.key_id,"                           \
    " version = excluded.version, fingerprint = excluded.fingerprint,"                             \
    " updated_ms = excluded.updated_ms"

enum err
secret_row_put(struct store_tx *tx, const struct secret_row *s, struct error *e)
{
    struct query q;

    if (sealed_key_check(tx, s->key_id, e) != ERR_OK)
        return e->code;
    q = in_scope(tx, s->org, s->workspace,
        "INSERT INTO global_secrets (org_id, name, sealed, key_id, version, fingerprint, "
        "created_ms,"
        " updated_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (org_id, "
        "name)" ON_CONFLICT,
        "INSERT INTO workspace_secrets (org_id, workspace_id, name, sealed, key_id, version, "
        "fingerprint,"
        " created_ms, updated_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
        " ON CONFLICT (org_id, workspace_id, name)" ON_CONFLICT);
    query_text(&q, s->name);
    query_blob(&q, s->sealed.p, s->sealed.n);
    query_int(&q, s->key_id);
    query_int(&q, s->version);
    query_blob(&q, s->fingerprint.p, s->fingerprint.n);
    query_int(&q, s->created_ms);
    query_int(&q, s->updated_ms);
    return query_run(&q, e);
}

enum err
secret_row_delete(
    struct store_tx *tx, struct id org, struct id workspace, struct str name, struct error *e)
{
    struct query q = in_scope(tx, org, workspace, "DELETE" FROM_ORG " AND name = $2 RETURNING 1",
        "DELETE" FROM_WORKSPACE " AND name = $3 RETURNING 1");

    query_text(&q, name);
    return query_run_found(&q, "secret", e);
}

enum err
secret_row_get(struct store_tx *tx, struct id org, struct id workspace, struct str name,
    struct arena *a, struct secret_row *ret, struct error *e)
{
    struct query q = in_scope(tx, org, workspace, "SELECT " COLUMNS FROM_ORG " AND name = $2",
        "SELECT " COLUMNS FROM_WORKSPACE " AND name = $3");
    struct secret_row s = {0};
    bool found;

    query_text(&q, name);
    found = query_row(&q);
    if (found)
        s = decode(&q, org, workspace, true, a);
    if (query_end_found(&q, found, "secret", e) != ERR_OK)
        return e->code;
    *ret = s;
    return ERR_OK;
}

/* One scope's rows in the order of their names. */
static enum err
read_scope(struct store_tx *tx, struct id org, struct id workspace, bool sealed, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = sealed
        ? in_scope(tx, org, workspace, "SELECT " COLUMNS FROM_ORG " ORDER BY name",
              "SELECT " COLUMNS FROM_WORKSPACE " ORDER BY name")
        : in_scope(tx, org, workspace, "SELECT " COLUMNS_UNSEALED FROM_ORG " ORDER BY name",
              "SELECT " COLUMNS_UNSEALED FROM_WORKSPACE " ORDER BY name");
    struct secret_row *rows = NULL;
    size_t n = 0;

    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode(&q, org, workspace, sealed, a);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

/* A workspace that is not there must not look like one without secrets. */
static enum err
check_workspace(struct store_tx *tx, struct id org, struct id workspace, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM workspaces WHERE org_id = $1 AND id = $2");

    query_id(&q, org);
    query_id(&q, workspace);
    return query_run_found(&q, "workspace", e);
}

static enum err
read_merged(struct store_tx *tx, struct id org, struct id workspace, bool sealed, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e)
{
    struct secret_row *shared = NULL, *own = NULL, *merged;
    size_t shared_n = 0, own_n = 0, n = 0;

    if (is_org_scope(workspace))
        return read_scope(tx, org, workspace, sealed, a, ret, ret_n, e);
    if (check_workspace(tx, org, workspace, e) != ERR_OK ||
        read_scope(tx, org, (struct id){{0}}, sealed, a, &shared, &shared_n, e) != ERR_OK ||
        read_scope(tx, org, workspace, sealed, a, &own, &own_n, e) != ERR_OK)
        return e->code;
    merged = arena_array(a, shared_n + own_n + 1, sizeof(*merged));
    for (size_t i = 0, j = 0; i < shared_n || j < own_n;) {
        int order = i == shared_n ? 1 : j == own_n ? -1 : str_compare(shared[i].name, own[j].name);

        merged[n++] = order < 0 ? shared[i] : own[j];
        i += order <= 0;
        j += order >= 0;
    }
    *ret = merged;
    *ret_n = n;
    return ERR_OK;
}

enum err
secret_row_list(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e)
{
    return read_merged(tx, org, workspace, false, a, ret, ret_n, e);
}

enum err
secret_row_load(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct secret_row **ret, size_t *ret_n, struct error *e)
{
    return read_merged(tx, org, workspace, true, a, ret, ret_n, e);
}

enum err
secret_row_list_inheritors(struct store_tx *tx, struct id org, struct str name, struct arena *a,
    struct id **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT id FROM workspaces w WHERE org_id = $1 AND status <> 'removed' AND NOT EXISTS"
        " (SELECT 1 FROM workspace_secrets s WHERE s.org_id = $1 AND s.workspace_id = w.id"
        " AND s.name = $2) ORDER BY id");
    struct id *ids = NULL;
    size_t n = 0;

    query_id(&q, org);
    query_text(&q, name);
    while (query_row(&q)) {
        ids = query_array(a, ids, n, sizeof(*ids));
        ids[n++] = query_get_id(&q);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = ids;
    *ret_n = n;
    return ERR_OK;
}

/* Rows of any org, their columns behind org_id and workspace_id. */
static enum err
read_anywhere(
    struct query *q, struct arena *a, struct secret_row **ret, size_t *ret_n, struct error *e)
{
    struct secret_row *rows = NULL;
    size_t n = 0;

    while (query_row(q)) {
        struct id org = query_get_id(q);
        struct id workspace = query_get_id_or_zero(q);

        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode(q, org, workspace, false, a);
    }
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

#define ANYWHERE(where)                                                                            \
    "SELECT org_id, NULL AS workspace_id, " COLUMNS_UNSEALED " FROM global_secrets WHERE " where   \
    " UNION ALL SELECT org_id, workspace_id, " COLUMNS_UNSEALED                                    \
    " FROM workspace_secrets WHERE " where " ORDER BY 1, 3, 2"

enum err
secret_row_list_equal(struct store_tx *tx, struct str fingerprint, struct id but_org, size_t max,
    struct arena *a, struct secret_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx, ANYWHERE("fingerprint = $1 AND org_id <> $2") " LIMIT $3");

    query_blob(&q, fingerprint.p, fingerprint.n);
    query_id(&q, but_org);
    query_int(&q, (int64_t)max);
    return read_anywhere(&q, a, ret, ret_n, e);
}

enum err
secret_row_list_platforms(struct store_tx *tx, size_t max, struct arena *a, struct secret_row **ret,
    size_t *ret_n, struct error *e)
{
    struct query q = query_start(
        tx, ANYWHERE("fingerprint IN (SELECT fingerprint FROM platform_keys)") " LIMIT $1");

    query_int(&q, (int64_t)max);
    return read_anywhere(&q, a, ret, ret_n, e);
}

enum err
secret_row_list_shared(struct store_tx *tx, size_t max, struct arena *a, struct str **ret,
    size_t *ret_n, struct error *e)
{
    /* UNION leaves one row for each fingerprint and org. */
    struct query q = query_start(tx,
        "SELECT fingerprint FROM (SELECT fingerprint, org_id FROM global_secrets"
        " UNION SELECT fingerprint, org_id FROM workspace_secrets) AS places"
        " GROUP BY fingerprint HAVING COUNT(*) > 1 ORDER BY fingerprint LIMIT $1");
    struct str *prints = NULL;
    size_t n = 0;

    query_int(&q, (int64_t)max);
    while (query_row(&q)) {
        prints = query_array(a, prints, n, sizeof(*prints));
        prints[n++] = query_get_blob(&q, a);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = prints;
    *ret_n = n;
    return ERR_OK;
}

enum err
secret_row_any(struct store_tx *tx, bool *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM global_secrets) OR "
        "EXISTS (SELECT 1 FROM workspace_secrets)"
        " OR EXISTS (SELECT 1 FROM platform_keys) OR EXISTS (SELECT 1 FROM retired_keys)");
    bool found = query_row(&q);

    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}
