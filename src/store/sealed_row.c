#include "store/sealed_row.h"

#include "store/query.h"

/*
 * One shape for all tables: $1 the key, $2 and $3 the ids and $4 the name that the list goes on
 * behind, $5 how many.
 */
static const char *const list_sql[SEALED_KIND_COUNT] = {
    [SEALED_ORG_SECRET] =
        "SELECT org_id, NULL AS workspace_id, name, version, sealed FROM global_secrets"
        " WHERE key_id = $1 AND (org_id, name) > ($2, $4) AND $3 = $3 ORDER BY org_id, name"
        " LIMIT $5",
    [SEALED_WORKSPACE_SECRET] =
        "SELECT org_id, workspace_id, name, version, sealed FROM workspace_secrets"
        " WHERE key_id = $1 AND (org_id, workspace_id, name) > ($2, $3, $4)"
        " ORDER BY org_id, workspace_id, name LIMIT $5",
    [SEALED_PLATFORM_KEY] =
        ("SELECT NULL AS org_id, id, provider, version, sealed FROM platform_keys"
         " WHERE key_id = $1 AND $2 = $2 AND id > $3 AND $4 = $4 ORDER BY id LIMIT $5"),
};

/* $1 sealed, $2 fingerprint, $3 key, then which row: $4, $5, $6 as above, $7 old key, $8 version. */
static const char *const replace_sql[SEALED_KIND_COUNT] = {
    [SEALED_ORG_SECRET] =
        "UPDATE global_secrets SET sealed = $1, fingerprint = $2, key_id = $3 WHERE org_id = $4"
        " AND $5 = $5 AND name = $6 AND key_id = $7 AND version = $8 RETURNING 1",
    [SEALED_WORKSPACE_SECRET] =
        "UPDATE workspace_secrets SET sealed = $1, fingerprint = $2, key_id = $3 WHERE org_id = $4"
        " AND workspace_id = $5 AND name = $6 AND key_id = $7 AND version = $8 RETURNING 1",
    [SEALED_PLATFORM_KEY] =
        "UPDATE platform_keys SET sealed = $1, fingerprint = $2, key_id = $3 WHERE $4 = $4"
        " AND id = $5 AND provider = $6 AND key_id = $7 AND version = $8 RETURNING 1",
};

enum err
sealed_row_list(struct store_tx *tx, enum sealed_kind kind, int64_t key_id,
    const struct sealed_row *behind, size_t max, struct arena *a, struct sealed_row **ret,
    size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx, list_sql[kind]);
    struct sealed_row *rows = NULL;
    size_t n = 0;

    query_int(&q, key_id);
    query_id(&q, behind == NULL ? (struct id){0} : behind->org);
    query_id(&q, behind == NULL ? (struct id){0} : behind->workspace);
    query_text(&q, behind == NULL ? STR("") : behind->name);
    query_int(&q, (int64_t)max);
    while (query_row(&q)) {
        struct sealed_row r = {.kind = kind, .key_id = key_id};

        r.org = query_get_id_or_zero(&q);
        r.workspace = query_get_id_or_zero(&q);
        r.name = query_get_text(&q, a);
        r.version = query_get_int(&q);
        r.sealed = query_get_blob(&q, a);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = r;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
sealed_row_replace(struct store_tx *tx, const struct sealed_row *was,
    const struct sealed_fresh *fresh, bool *ret_done, struct error *e)
{
    struct query q = query_start(tx, replace_sql[was->kind]);
    bool done;

    query_blob(&q, fresh->sealed.p, fresh->sealed.n);
    query_blob(&q, fresh->fingerprint.p, fresh->fingerprint.n);
    query_int(&q, fresh->key_id);
    query_id(&q, was->org);
    query_id(&q, was->workspace);
    query_text(&q, was->name);
    query_int(&q, was->key_id);
    query_int(&q, was->version);
    done = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret_done = done;
    return ERR_OK;
}

enum err
sealed_row_count(
    struct store_tx *tx, struct arena *a, struct sealed_count **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT key_id, CAST(SUM(n) AS BIGINT) FROM"
        " (SELECT key_id, COUNT(*) AS n FROM global_secrets GROUP BY key_id"
        " UNION ALL SELECT key_id, COUNT(*) AS n FROM workspace_secrets GROUP BY key_id"
        " UNION ALL SELECT key_id, COUNT(*) AS n FROM platform_keys GROUP BY key_id) AS counts"
        " GROUP BY key_id ORDER BY key_id");
    struct sealed_count *rows = NULL;
    size_t n = 0;

    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n].key_id = query_get_int(&q);
        rows[n++].rows = query_get_int(&q);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
sealed_key_is_retired(struct store_tx *tx, int64_t key_id, bool *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT 1 FROM retired_keys WHERE key_id = $1");
    bool found;

    query_int(&q, key_id);
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}

enum err
sealed_key_check(struct store_tx *tx, int64_t key_id, struct error *e)
{
    bool retired = false;

    if (sealed_key_is_retired(tx, key_id, &retired, e) != ERR_OK)
        return e->code;
    return retired ? fail(e, ERR_CONFLICT, "key %lld was retired meanwhile: repeat the request",
                         (long long)key_id)
                   : ERR_OK;
}

enum err
sealed_key_retire(struct store_tx *tx, int64_t key_id, int64_t now_ms, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct sealed_count *counts = NULL;
    struct query q;
    size_t n = 0;

    if (sealed_row_count(tx, &arena, &counts, &n, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        if (counts[i].key_id == key_id)
            return fail(e, ERR_CONFLICT,
                "%lld values are still sealed under key %lld: purser keys rotate seals them anew, "
                "purser keys status shows how far it is",
                (long long)counts[i].rows, (long long)key_id);
    }
    q = query_start(tx,
        "INSERT INTO retired_keys (key_id, retired_ms) VALUES ($1, $2)"
        " ON CONFLICT (key_id) DO NOTHING");
    query_int(&q, key_id);
    query_int(&q, now_ms);
    return query_run(&q, e);
}
