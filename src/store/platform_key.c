#include "store/platform_key.h"

#include "store/query.h"
#include "store/sealed_row.h"
#include "store/watch.h"

#define COLUMNS "id, provider, weight, sealed, key_id, version, fingerprint, created_ms, retired_ms"

static enum err
tell_others(struct store_tx *tx, struct error *e)
{
    return store_notify(tx, STORE_CHANGE_PLATFORM_KEYS, STR(""), e);
}

enum err
platform_key_insert(struct store_tx *tx, const struct platform_key *k, struct error *e)
{
    struct query q;

    if (sealed_key_check(tx, k->key_id, e) != ERR_OK)
        return e->code;
    q = query_start(
        tx, "INSERT INTO platform_keys (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    query_id(&q, k->id);
    query_text(&q, k->provider);
    query_int(&q, k->weight);
    query_blob(&q, k->sealed.p, k->sealed.n);
    query_int(&q, k->key_id);
    query_int(&q, k->version);
    query_blob(&q, k->fingerprint.p, k->fingerprint.n);
    query_int(&q, k->created_ms);
    query_int(&q, k->retired_ms);
    return query_run(&q, e) == ERR_OK ? tell_others(tx, e) : e->code;
}

enum err
platform_key_list(
    struct store_tx *tx, struct arena *a, struct platform_key **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS
        " FROM platform_keys WHERE retired_ms = 0 ORDER BY provider, created_ms, id");
    struct platform_key *rows = NULL;
    size_t n = 0;

    while (query_row(&q)) {
        struct platform_key k = {.id = query_get_id(&q)};

        k.provider = query_get_text(&q, a);
        k.weight = query_get_int(&q);
        k.sealed = query_get_blob(&q, a);
        k.key_id = query_get_int(&q);
        k.version = query_get_int(&q);
        k.fingerprint = query_get_blob(&q, a);
        k.created_ms = query_get_int(&q);
        k.retired_ms = query_get_int(&q);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = k;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
platform_key_set_weight(struct store_tx *tx, struct id key, int64_t weight, struct error *e)
{
    struct query q = query_start(
        tx, "UPDATE platform_keys SET weight = $1 WHERE id = $2 AND retired_ms = 0 RETURNING 1");

    query_int(&q, weight);
    query_id(&q, key);
    return query_run_found(&q, "platform key", e) == ERR_OK ? tell_others(tx, e) : e->code;
}

enum err
platform_key_retire(struct store_tx *tx, struct id key, int64_t now_ms, struct error *e)
{
    struct query q = query_start(tx,
        "UPDATE platform_keys SET retired_ms = $1 WHERE id = $2 AND retired_ms = 0 RETURNING 1");

    query_int(&q, now_ms);
    query_id(&q, key);
    return query_run_found(&q, "platform key", e) == ERR_OK ? tell_others(tx, e) : e->code;
}

enum err
platform_key_retire_provider(
    struct store_tx *tx, struct str provider, int64_t now_ms, struct error *e)
{
    struct query q = query_start(
        tx, "UPDATE platform_keys SET retired_ms = $1 WHERE provider = $2 AND retired_ms = 0");

    query_int(&q, now_ms);
    query_text(&q, provider);
    return query_run(&q, e) == ERR_OK ? tell_others(tx, e) : e->code;
}

enum err
platform_key_has_fingerprint(
    struct store_tx *tx, struct str fingerprint, bool *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM platform_keys WHERE fingerprint = $1 LIMIT 1");
    bool found;

    query_blob(&q, fingerprint.p, fingerprint.n);
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}
