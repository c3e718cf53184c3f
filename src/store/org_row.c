#include "store/org_row.h"

#include "store/query.h"
#include "store/watch.h"

#define COLUMNS "id, slug, name, suspended, vendor_keys, created_ms"

struct str
org_vendor_keys_name(enum org_vendor_keys v)
{
    return v == ORG_VENDOR_KEYS_ALLOW ? STR("allow") : STR("reject");
}

bool
org_vendor_keys_from_name(struct str name, enum org_vendor_keys *ret)
{
    for (int v = 0; v < ORG_VENDOR_KEYS_COUNT; v++) {
        if (str_equal(name, org_vendor_keys_name((enum org_vendor_keys)v))) {
            *ret = (enum org_vendor_keys)v;
            return true;
        }
    }
    return false;
}

static struct org_row
decode(struct query *q, struct arena *a)
{
    struct org_row o = {.id = query_get_id(q)};

    o.slug = query_get_text(q, a);
    o.name = query_get_text(q, a);
    o.suspended = query_get_bool(q);
    QUERY_GET_ENUM(q, org_vendor_keys_name, ORG_VENDOR_KEYS_COUNT, &o.vendor_keys);
    o.created_ms = query_get_int(q);
    return o;
}

static enum err
decode_one(struct query *q, struct arena *a, struct org_row *ret, struct error *e)
{
    bool found = query_row(q);
    struct org_row o = found ? decode(q, a) : (struct org_row){0};

    if (query_end_found(q, found, "org", e) != ERR_OK)
        return e->code;
    *ret = o;
    return ERR_OK;
}

enum err
org_row_insert(struct store_tx *tx, const struct org_row *o, struct error *e)
{
    struct query q =
        query_start(tx, "INSERT INTO orgs (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6)");

    query_id(&q, o->id);
    query_text(&q, o->slug);
    query_text(&q, o->name);
    query_int(&q, o->suspended);
    query_text(&q, org_vendor_keys_name(o->vendor_keys));
    query_int(&q, o->created_ms);
    return query_run(&q, e);
}

enum err
org_row_get(
    struct store_tx *tx, struct id org, struct arena *a, struct org_row *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT " COLUMNS " FROM orgs WHERE id = $1");

    query_id(&q, org);
    return decode_one(&q, a, ret, e);
}

enum err
org_row_get_by_slug(
    struct store_tx *tx, struct str slug, struct arena *a, struct org_row *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT " COLUMNS " FROM orgs WHERE slug = $1");

    query_text(&q, slug);
    return decode_one(&q, a, ret, e);
}

enum err
org_row_list(
    struct store_tx *tx, struct arena *a, struct org_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx, "SELECT " COLUMNS " FROM orgs ORDER BY slug");
    struct org_row *rows = NULL;
    size_t n = 0;

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
org_row_set_suspended(struct store_tx *tx, struct id org, bool suspended, struct error *e)
{
    struct query q = query_start(tx, "UPDATE orgs SET suspended = $1 WHERE id = $2 RETURNING 1");

    query_int(&q, suspended);
    query_id(&q, org);
    if (query_run_found(&q, "org", e) != ERR_OK)
        return e->code;
    return store_notify(tx, STORE_CHANGE_ANY, STR(""), e);
}

enum err
org_row_update(struct store_tx *tx, const struct org_row *o, struct error *e)
{
    struct query q = query_start(
        tx, "UPDATE orgs SET slug = $1, name = $2, vendor_keys = $3 WHERE id = $4 RETURNING 1");

    query_text(&q, o->slug);
    query_text(&q, o->name);
    query_text(&q, org_vendor_keys_name(o->vendor_keys));
    query_id(&q, o->id);
    return query_run_found(&q, "org", e);
}

enum err
org_row_check_active(struct store_tx *tx, struct id org, struct error *e)
{
    AUTO_ARENA struct arena a = {0};
    struct org_row o;

    if (org_row_get(tx, org, &a, &o, e) != ERR_OK)
        return e->code;
    if (!o.suspended)
        return ERR_OK;
    return fail(e, ERR_ORG_SUSPENDED,
        "the org is suspended, so nothing of it runs: resume it first (purser org resume %.*s)",
        STR_ARG(o.slug));
}
