#include "store/idempotency_row.h"

#include "store/query.h"

/* The admin's own keys stand under an empty org: a key column can not be NULL. */
static void
bind_owner(struct query *q, struct id org)
{
    if (id_is_zero(org))
        query_text(q, STR(""));
    else
        query_id(q, org);
}

enum err
idempotency_row_get(struct store_tx *tx, struct id org, struct str key, struct arena *a,
    struct idempotency_row *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT request, status, body, created_ms FROM idempotency_keys"
        " WHERE org_id = $1 AND idempotency_key = $2");
    struct idempotency_row r = {.org = org, .key = key};
    bool found;

    bind_owner(&q, org);
    query_text(&q, key);
    found = query_row(&q);
    if (found) {
        query_get_bytes(&q, r.request, sizeof(r.request));
        r.status = query_get_int(&q);
        r.body = query_get_text(&q, a);
        r.created_ms = query_get_int(&q);
    }
    if (query_end_found(&q, found, "idempotency key", e) != ERR_OK)
        return e->code;
    *ret = r;
    return ERR_OK;
}

enum err
idempotency_row_insert(struct store_tx *tx, const struct idempotency_row *r, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO idempotency_keys (org_id, idempotency_key, request, status, body, created_ms)"
        " VALUES ($1, $2, $3, $4, $5, $6)");

    bind_owner(&q, r->org);
    query_text(&q, r->key);
    query_blob(&q, r->request, sizeof(r->request));
    query_int(&q, r->status);
    query_text(&q, r->body);
    query_int(&q, r->created_ms);
    return query_run(&q, e);
}

enum err
idempotency_row_prune(struct store_tx *tx, int64_t before_ms, struct error *e)
{
    struct query q = query_start(tx, "DELETE FROM idempotency_keys WHERE created_ms < $1");

    query_int(&q, before_ms);
    return query_run(&q, e);
}
