#include "store/token_row.h"

#include "store/query.h"
#include "store/watch.h"

#define COLUMNS                                                                                    \
    "t.id, t.org_id, t.workspace_id, t.kind, t.digest, t.prefix, t.name, t.read_only, "            \
    "t.created_ms,"                                                                                \
    " t.last_used_ms, t.expires_ms, t.revoked_ms, t.decision_id, t.models"
/* $1 is now */
#define LIVE "t.revoked_ms = 0 AND (t.expires_ms = 0 OR t.expires_ms > $1)"

enum { TOUCH_EVERY_MS = 60000 };

struct str
token_kind_name(enum token_kind kind)
{
    static const struct str names[TOKEN_KIND_COUNT] = {
        [TOKEN_ADMIN] = STR_INIT("admin"),
        [TOKEN_ORG] = STR_INIT("org"),
        [TOKEN_WORKSPACE] = STR_INIT("workspace"),
        [TOKEN_USAGE] = STR_INIT("usage"),
    };

    return names[kind];
}

/* Only usage tokens are kept anywhere but in the store. */
static enum err
tell_others(struct store_tx *tx, const struct token_row *t, struct error *e)
{
    return t->kind == TOKEN_USAGE ? store_notify_token(tx, t->digest, e) : ERR_OK;
}

static struct token_row
decode(struct query *q, struct arena *a)
{
    struct token_row t = {.id = query_get_id(q)};

    t.org = query_get_id_or_zero(q);
    t.workspace = query_get_id_or_zero(q);
    QUERY_GET_ENUM(q, token_kind_name, TOKEN_KIND_COUNT, &t.kind);
    query_get_bytes(q, t.digest, sizeof(t.digest));
    t.prefix = query_get_text(q, a);
    t.name = query_get_text(q, a);
    t.read_only = query_get_bool(q);
    t.created_ms = query_get_int(q);
    t.last_used_ms = query_get_int(q);
    t.expires_ms = query_get_int(q);
    t.revoked_ms = query_get_int(q);
    t.decision = query_get_id_or_zero(q);
    t.models = query_get_text(q, a);
    return t;
}

static enum err
decode_one(struct query *q, struct arena *a, struct token_row *ret, struct error *e)
{
    bool found = query_row(q);
    struct token_row t = found ? decode(q, a) : (struct token_row){0};

    if (query_end_found(q, found, "token", e) != ERR_OK)
        return e->code;
    *ret = t;
    return ERR_OK;
}

static enum err
decode_all(struct query *q, struct arena *a, struct token_row **ret, size_t *ret_n, struct error *e)
{
    struct token_row *rows = NULL;
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

enum err
token_row_insert(struct store_tx *tx, const struct token_row *t, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO tokens (id, org_id, workspace_id, kind, digest, "
        "prefix, name, read_only, created_ms,"
        " expires_ms, decision_id, models) VALUES ($1, $2, $3, $4, "
        "$5, $6, $7, $8, $9, $10, $11, $12)");

    /*
     * A key with a NULL in it is not checked by the engines: nothing may belong to a workspace
     * alone.
     */
    ENSURE(!id_is_zero(t->org) || id_is_zero(t->workspace));
    ENSURE(id_is_zero(t->org) == (t->kind == TOKEN_ADMIN));
    query_id(&q, t->id);
    query_id_or_null(&q, t->org);
    query_id_or_null(&q, t->workspace);
    query_text(&q, token_kind_name(t->kind));
    query_blob(&q, t->digest, sizeof(t->digest));
    query_text(&q, t->prefix);
    query_text(&q, t->name);
    query_int(&q, t->read_only);
    query_int(&q, t->created_ms);
    query_int(&q, t->expires_ms);
    query_id_or_null(&q, t->decision);
    query_text(&q, t->models);
    return query_run(&q, e) == ERR_OK ? tell_others(tx, t, e) : e->code;
}

enum err
token_row_find(struct store_tx *tx, const uint8_t digest[static TOKEN_DIGEST_BYTES], int64_t now_ms,
    struct arena *a, struct token_row *ret, bool *ret_suspended, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS ", COALESCE(o.suspended, 0) FROM tokens t"
        " LEFT JOIN orgs o ON o.id = t.org_id WHERE t.digest = $2 AND " LIVE);
    bool found, suspended = false;
    struct token_row t = {0};

    query_int(&q, now_ms);
    query_blob(&q, digest, TOKEN_DIGEST_BYTES);
    found = query_row(&q);
    if (found) {
        t = decode(&q, a);
        suspended = query_get_bool(&q);
    }
    if (query_end_found(&q, found, "token", e) != ERR_OK)
        return e->code;
    *ret = t;
    *ret_suspended = suspended;
    return ERR_OK;
}

enum err
token_row_get(struct store_tx *tx, struct id org, struct id token, int64_t now_ms, struct arena *a,
    struct token_row *ret, struct error *e)
{
    struct query q = query_start(
        tx, "SELECT " COLUMNS " FROM tokens t WHERE t.id = $2 AND t.org_id = $3 AND " LIVE);

    query_int(&q, now_ms);
    query_id(&q, token);
    query_id(&q, org);
    return decode_one(&q, a, ret, e);
}

enum err
token_row_touch(struct store_tx *tx, struct id token, int64_t now_ms, struct error *e)
{
    struct query q =
        query_start(tx, "UPDATE tokens SET last_used_ms = $1 WHERE id = $2 AND last_used_ms <= $3");

    query_int(&q, now_ms);
    query_id(&q, token);
    query_int(&q, now_ms - TOUCH_EVERY_MS);
    return query_run(&q, e);
}

enum err
token_row_revoke(struct store_tx *tx, struct id org, struct id token, int64_t now_ms,
    struct arena *a, struct token_row *ret, struct error *e)
{
    struct query q = id_is_zero(org) ? query_start(tx,
                                           "UPDATE tokens SET revoked_ms = $1 WHERE id = $2"
                                           " AND org_id IS NULL AND revoked_ms = 0 RETURNING 1")
                                     : query_start(tx,
                                           "UPDATE tokens SET revoked_ms = $1 WHERE id = $2"
                                           " AND org_id = $3 AND revoked_ms = 0 RETURNING 1");

    query_int(&q, now_ms);
    query_id(&q, token);
    if (!id_is_zero(org))
        query_id(&q, org);
    if (query_run_found(&q, "token", e) != ERR_OK)
        return e->code;
    q = query_start(tx, "SELECT " COLUMNS " FROM tokens t WHERE t.id = $1");
    query_id(&q, token);
    return decode_one(&q, a, ret, e) == ERR_OK ? tell_others(tx, ret, e) : e->code;
}

enum err
token_row_revoke_all(
    struct store_tx *tx, struct id org, enum token_kind kind, int64_t now_ms, struct error *e)
{
    struct query q = id_is_zero(org) ? query_start(tx,
                                           "UPDATE tokens SET revoked_ms = $1 WHERE kind = $2"
                                           " AND revoked_ms = 0 AND org_id IS NULL")
                                     : query_start(tx,
                                           "UPDATE tokens SET revoked_ms = $1 WHERE kind = $2"
                                           " AND revoked_ms = 0 AND org_id = $3");

    query_int(&q, now_ms);
    query_text(&q, token_kind_name(kind));
    if (!id_is_zero(org))
        query_id(&q, org);
    if (query_run(&q, e) != ERR_OK)
        return e->code;
    return kind == TOKEN_USAGE ? store_notify(tx, STORE_CHANGE_ANY, STR(""), e) : ERR_OK;
}

enum err
token_row_extend(struct store_tx *tx, struct id org, struct id token, int64_t now_ms,
    int64_t expires_ms, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE tokens SET expires_ms = $2 WHERE id = $3 AND org_id = $4 AND kind = 'usage'"
        " AND revoked_ms = 0 AND (expires_ms = 0 OR expires_ms > $1) RETURNING digest");
    uint8_t digest[TOKEN_DIGEST_BYTES];
    bool found;

    query_int(&q, now_ms);
    query_int(&q, expires_ms);
    query_id(&q, token);
    query_id(&q, org);
    found = query_row(&q);
    if (found)
        query_get_bytes(&q, digest, sizeof(digest));
    if (query_end_found(&q, found, "token", e) != ERR_OK)
        return e->code;
    return store_notify_token(tx, digest, e);
}

/* Binds what narrows a list down: now, kind, then org and workspace as far as they are given. */
#define OF_ADMIN LIVE " AND t.kind = $2 AND t.org_id IS NULL"
#define OF_ORG LIVE " AND t.kind = $2 AND t.org_id = $3"
#define OF_WORKSPACE OF_ORG " AND t.workspace_id = $4"

static struct query
narrowed(struct store_tx *tx, struct id org, struct id workspace, enum token_kind kind,
    int64_t now_ms, const char *of_admin, const char *of_org, const char *of_workspace)
{
    bool admin = id_is_zero(org);
    bool whole_org = id_is_zero(workspace);
    struct query q = query_start(tx, admin ? of_admin : whole_org ? of_org : of_workspace);

    query_int(&q, now_ms);
    query_text(&q, token_kind_name(kind));
    if (!admin)
        query_id(&q, org);
    if (!admin && !whole_org)
        query_id(&q, workspace);
    return q;
}

enum err
token_row_list(struct store_tx *tx, struct id org, struct id workspace, enum token_kind kind,
    int64_t now_ms, struct arena *a, struct token_row **ret, size_t *ret_n, struct error *e)
{
#define LIST "SELECT " COLUMNS " FROM tokens t WHERE "
#define NEWEST " ORDER BY t.created_ms DESC, t.id DESC"
    struct query q = narrowed(tx, org, workspace, kind, now_ms, LIST OF_ADMIN NEWEST,
        LIST OF_ORG NEWEST, LIST OF_WORKSPACE NEWEST);

    return decode_all(&q, a, ret, ret_n, e);
}

enum err
token_row_list_org(struct store_tx *tx, struct id org, int64_t now_ms, struct arena *a,
    struct token_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx, LIST LIVE " AND t.org_id = $2" NEWEST);

    query_int(&q, now_ms);
    query_id(&q, org);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
token_row_list_bound(struct store_tx *tx, struct id org, struct id workspace, int64_t now_ms,
    struct arena *a, struct token_row **ret, size_t *ret_n, struct error *e)
{
#define BOUND LIVE " AND t.decision_id IS NOT NULL AND t.expires_ms = 0"
#define OLDEST " ORDER BY t.created_ms, t.id"
    bool of_node = id_is_zero(workspace);
    struct query q = query_start(tx,
        of_node ? "SELECT " COLUMNS " FROM tokens t JOIN workspaces w ON w.org_id = t.org_id"
                  " AND w.id = t.workspace_id WHERE " BOUND " AND w.node_id = $2" OLDEST
                : LIST BOUND " AND t.org_id = $2 AND t.workspace_id = $3" OLDEST);

    query_int(&q, now_ms);
    query_id(&q, of_node ? store_tx_node(tx) : org);
    if (!of_node)
        query_id(&q, workspace);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
token_row_count_live(struct store_tx *tx, struct id org, struct id workspace, enum token_kind kind,
    int64_t now_ms, int64_t *ret, struct error *e)
{
#define COUNT "SELECT COUNT(*) FROM tokens t WHERE "
#define UNBOUND " AND (t.kind <> 'workspace' OR t.decision_id IS NULL)"
    struct query q = narrowed(tx, org, workspace, kind, now_ms, COUNT OF_ADMIN UNBOUND,
        COUNT OF_ORG UNBOUND, COUNT OF_WORKSPACE UNBOUND);
    int64_t n = 0;

    if (query_row(&q))
        n = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = n;
    return ERR_OK;
}

enum err
token_row_list_live_usage(struct store_tx *tx, int64_t now_ms, struct arena *a,
    struct token_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS
        " FROM tokens t JOIN orgs o ON o.id = t.org_id WHERE t.kind = 'usage' AND " LIVE
        " AND o.suspended = 0 ORDER BY t.id");

    query_int(&q, now_ms);
    return decode_all(&q, a, ret, ret_n, e);
}
