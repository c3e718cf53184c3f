#include "store/anchor_row.h"

#include "base/buf.h"
#include "store/chain.h"
#include "store/query.h"

#include <sodium.h>

#define COLUMNS                                                                                    \
    "org_id, node_id, chain, seq, hash, checkpoint, until_ms, pruned_ms, public_key, signature"

size_t
anchor_message(const struct anchor_row *r, uint8_t ret[static ANCHOR_MESSAGE_MAX])
{
    AUTO_BUF struct buf b;

    buf_init(&b, ANCHOR_MESSAGE_MAX);
    canonical_text(&b, STR("purser anchor 1"));
    buf_add(&b, (struct str){(const char *)r->org.b, sizeof(r->org.b)});
    buf_add(&b, (struct str){(const char *)r->node.b, sizeof(r->node.b)});
    canonical_text(&b, audit_type_name(r->chain));
    canonical_int(&b, r->seq);
    buf_add(&b, (struct str){(const char *)r->hash, sizeof(r->hash)});
    canonical_int(&b, r->checkpoint);
    canonical_int(&b, r->until_ms);
    canonical_int(&b, r->pruned_ms);
    ENSURE(buf_ok(&b));
    memcpy(ret, b.p, b.n);
    return b.n;
}

enum err
anchor_row_get(struct store_tx *tx, struct id org, struct id node, enum audit_type chain,
    struct anchor_row *ret, struct error *e)
{
    struct query q = query_start(
        tx, "SELECT " COLUMNS " FROM anchors WHERE org_id = $1 AND node_id = $2 AND chain = $3");
    struct anchor_row r = {0};

    query_id(&q, org);
    query_id(&q, node);
    query_text(&q, audit_type_name(chain));
    if (query_row(&q)) {
        r.org = query_get_id(&q);
        r.node = query_get_id(&q);
        QUERY_GET_ENUM(&q, audit_type_name, AUDIT_TYPE_COUNT, &r.chain);
        r.seq = query_get_int(&q);
        query_get_bytes(&q, r.hash, sizeof(r.hash));
        r.checkpoint = query_get_int(&q);
        r.until_ms = query_get_int(&q);
        r.pruned_ms = query_get_int(&q);
        query_get_bytes(&q, r.public_key, sizeof(r.public_key));
        query_get_bytes(&q, r.signature, sizeof(r.signature));
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = r;
    return ERR_OK;
}

enum err
anchor_row_put(struct store_tx *tx, const struct anchor_row *r, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO anchors (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
        " ON CONFLICT (org_id, node_id, chain) DO UPDATE SET seq = excluded.seq,"
        " hash = excluded.hash, checkpoint = excluded.checkpoint, until_ms = excluded.until_ms,"
        " pruned_ms = excluded.pruned_ms, public_key = excluded.public_key,"
        " signature = excluded.signature");

    query_id(&q, r->org);
    query_id(&q, r->node);
    query_text(&q, audit_type_name(r->chain));
    query_int(&q, r->seq);
    query_blob(&q, r->hash, sizeof(r->hash));
    query_int(&q, r->checkpoint);
    query_int(&q, r->until_ms);
    query_int(&q, r->pruned_ms);
    query_blob(&q, r->public_key, sizeof(r->public_key));
    query_blob(&q, r->signature, sizeof(r->signature));
    return query_run(&q, e);
}

static bool
is_signed(const struct anchor_row *r)
{
    uint8_t message[ANCHOR_MESSAGE_MAX];
    size_t n = anchor_message(r, message);

    return crypto_sign_verify_detached(r->signature, message, n, r->public_key) == 0;
}

static bool
covers(const struct checkpoint_row *c, const struct anchor_row *r)
{
    return checkpoint_is_signed(c) && id_equal(c->org, r->org) && c->chain == r->chain &&
        c->seq >= r->seq && c->created_ms == r->until_ms &&
        (c->seq > r->seq || memcmp(c->hash, r->hash, sizeof(c->hash)) == 0) &&
        memcmp(c->public_key, r->public_key, sizeof(c->public_key)) == 0;
}

enum err
anchor_row_verify(struct store_tx *tx, const struct anchor_row *r, struct arena *a,
    struct str *ret_why, struct error *e)
{
    struct checkpoint_row c = {0};
    struct str why = STR("");
    enum err code = ERR_OK;

    if (r->seq != 0)
        code = checkpoint_row_get(tx, r->node, r->checkpoint, &c, e);
    if (code != ERR_OK && code != ERR_NOT_FOUND)
        return code;
    if (r->seq != 0 && !is_signed(r))
        why = arena_printf(a,
            "the anchor at entry %lld was moved or forged: its signature does not fit",
            (long long)r->seq);
    else if (r->seq != 0 && (code == ERR_NOT_FOUND || !covers(&c, r)))
        why = arena_printf(a, "the anchor at entry %lld is not covered by checkpoint %lld",
            (long long)r->seq, (long long)r->checkpoint);
    *ret_why = why;
    return ERR_OK;
}

enum err
anchor_row_ledger_until(struct store_tx *tx, struct id org, int64_t *ret_ms, struct error *e)
{
#define UNTIL                                                                                      \
    "SELECT CAST(COALESCE(MAX(until_ms), 0) AS BIGINT) FROM anchors WHERE chain = 'ledger'"
    bool all = id_is_zero(org);
    struct query q = query_start(tx, all ? UNTIL : UNTIL " AND org_id = $1");
    int64_t until = 0;

    if (!all)
        query_id(&q, org);
    if (query_row(&q))
        until = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret_ms = until;
    return ERR_OK;
}
