#include "store/checkpoint_row.h"

#include "base/buf.h"
#include "store/anchor_row.h"
#include "store/chain.h"
#include "store/org_deletion_row.h"
#include "store/query.h"

#include <sodium.h>

#define COLUMNS "node_id, number, org_id, chain, seq, hash, created_ms, public_key, signature"

size_t
checkpoint_message(const struct checkpoint_row *c, uint8_t ret[static CHECKPOINT_MESSAGE_MAX])
{
    AUTO_BUF struct buf b;

    buf_init(&b, CHECKPOINT_MESSAGE_MAX);
    canonical_text(&b, STR("purser checkpoint 1"));
    buf_add(&b, (struct str){(const char *)c->node.b, sizeof(c->node.b)});
    canonical_int(&b, c->number);
    buf_add(&b, (struct str){(const char *)c->org.b, sizeof(c->org.b)});
    canonical_text(&b, audit_type_name(c->chain));
    canonical_int(&b, c->seq);
    buf_add(&b, (struct str){(const char *)c->hash, sizeof(c->hash)});
    canonical_int(&b, c->created_ms);
    ENSURE(buf_ok(&b));
    memcpy(ret, b.p, b.n);
    return b.n;
}

bool
checkpoint_is_signed(const struct checkpoint_row *c)
{
    uint8_t message[CHECKPOINT_MESSAGE_MAX];
    size_t n = checkpoint_message(c, message);

    return crypto_sign_verify_detached(c->signature, message, n, c->public_key) == 0;
}

static struct checkpoint_row
decode(struct query *q)
{
    struct checkpoint_row c = {.node = query_get_id(q)};

    c.number = query_get_int(q);
    c.org = query_get_id(q);
    QUERY_GET_ENUM(q, audit_type_name, AUDIT_TYPE_COUNT, &c.chain);
    c.seq = query_get_int(q);
    query_get_bytes(q, c.hash, sizeof(c.hash));
    c.created_ms = query_get_int(q);
    query_get_bytes(q, c.public_key, sizeof(c.public_key));
    query_get_bytes(q, c.signature, sizeof(c.signature));
    return c;
}

static enum err
decode_all(
    struct query *q, struct arena *a, struct checkpoint_row **ret, size_t *ret_n, struct error *e)
{
    struct checkpoint_row *rows = NULL;
    size_t n = 0;

    while (query_row(q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode(q);
    }
    if (query_end(q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

/* A head that is no hash is for verification to tell: the others are signed all the same. */
enum err
checkpoint_row_due(struct store_tx *tx, struct arena *a, struct checkpoint_row **ret, size_t *ret_n,
    struct error *e)
{
    struct query q = query_start(tx,
        "SELECT h.org_id, h.chain, h.seq, h.hash FROM heads h WHERE h.node_id = $1"
        " AND h.chain IN ('decision', 'ledger') AND LENGTH(h.hash) = 32"
        " AND NOT EXISTS (SELECT 1 FROM checkpoints c"
        " WHERE c.org_id = h.org_id AND c.node_id = h.node_id AND c.chain = h.chain"
        " AND c.seq >= h.seq) ORDER BY h.org_id, h.chain");
    struct checkpoint_row *rows = NULL;
    size_t n = 0;

    query_id(&q, store_tx_node(tx));
    while (query_row(&q)) {
        struct checkpoint_row c = {.node = store_tx_node(tx), .org = query_get_id(&q)};

        QUERY_GET_ENUM(&q, audit_type_name, AUDIT_TYPE_COUNT, &c.chain);
        c.seq = query_get_int(&q);
        query_get_bytes(&q, c.hash, sizeof(c.hash));
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = c;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
checkpoint_row_next(struct store_tx *tx, int64_t *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT CAST(COALESCE(MAX(number), 0) + 1 AS BIGINT) FROM checkpoints WHERE node_id = $1");
    int64_t next = 1;

    query_id(&q, store_tx_node(tx));
    if (query_row(&q))
        next = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = next;
    return ERR_OK;
}

enum err
checkpoint_row_append(struct store_tx *tx, const struct checkpoint_row *c, struct error *e)
{
    struct query q = query_start(
        tx, "INSERT INTO checkpoints (" COLUMNS ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");

    query_id(&q, c->node);
    query_int(&q, c->number);
    query_id(&q, c->org);
    query_text(&q, audit_type_name(c->chain));
    query_int(&q, c->seq);
    query_blob(&q, c->hash, sizeof(c->hash));
    query_int(&q, c->created_ms);
    query_blob(&q, c->public_key, sizeof(c->public_key));
    query_blob(&q, c->signature, sizeof(c->signature));
    return query_run(&q, e);
}

enum err
checkpoint_row_list(struct store_tx *tx, struct id org, struct id node, int64_t after, size_t max,
    struct arena *a, struct checkpoint_row **ret, size_t *ret_n, struct error *e)
{
#define FROM_HERE                                                                                  \
    "SELECT " COLUMNS " FROM checkpoints WHERE (node_id > $1 OR (node_id = $1 AND number > $2))"
#define IN_ORDER " ORDER BY node_id, number LIMIT $3"
    bool all = id_is_zero(org);
    struct query q =
        query_start(tx, all ? FROM_HERE IN_ORDER : FROM_HERE " AND org_id = $4" IN_ORDER);

    query_id(&q, node);
    query_int(&q, after);
    query_int(&q, (int64_t)max);
    if (!all)
        query_id(&q, org);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
checkpoint_row_behind(struct store_tx *tx, const struct checkpoint_row *chain, int64_t seq,
    size_t max, struct arena *a, struct checkpoint_row **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " COLUMNS " FROM checkpoints WHERE org_id = $1 AND node_id = $2 AND chain = $3"
        " AND seq > $4 ORDER BY seq LIMIT $5");

    query_id(&q, chain->org);
    query_id(&q, chain->node);
    query_text(&q, audit_type_name(chain->chain));
    query_int(&q, seq);
    query_int(&q, (int64_t)max);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
checkpoint_row_get(struct store_tx *tx, struct id node, int64_t number, struct checkpoint_row *ret,
    struct error *e)
{
    struct query q =
        query_start(tx, "SELECT " COLUMNS " FROM checkpoints WHERE node_id = $1 AND number = $2");
    struct checkpoint_row c = {0};
    bool found;

    query_id(&q, node);
    query_int(&q, number);
    found = query_row(&q);
    if (found)
        c = decode(&q);
    if (query_end_found(&q, found, "checkpoint", e) != ERR_OK)
        return e->code;
    *ret = c;
    return ERR_OK;
}

enum err
checkpoint_row_newest(struct store_tx *tx, struct id org, struct arena *a,
    struct checkpoint_row **ret, size_t *ret_n, struct error *e)
{
#define NEWEST                                                                                     \
    "SELECT " COLUMNS " FROM checkpoints c WHERE NOT EXISTS (SELECT 1 FROM checkpoints d WHERE"    \
    " d.org_id = c.org_id AND d.node_id = c.node_id AND d.chain = c.chain AND (d.seq > c.seq OR"   \
    " (d.seq = c.seq AND d.number > c.number)))"
    bool all = id_is_zero(org);
    struct query q =
        query_start(tx, all ? NEWEST " ORDER BY 1, 2" : NEWEST " AND c.org_id = $1 ORDER BY 1, 2");

    if (!all)
        query_id(&q, org);
    return decode_all(&q, a, ret, ret_n, e);
}

enum err
checkpoint_row_verify(struct store_tx *tx, const struct checkpoint_row *c, struct arena *a,
    struct str *ret_why, struct error *e)
{
    const struct chain chain = {audit_type_name(c->chain).p, c->org, c->node};
    struct anchor_row anchor = {0};
    struct chain_link now;
    struct str why = STR("");
    bool gone = false; /* with its whole org */

    if (chain_link_at(tx, &chain, c->seq, &now, e) != ERR_OK ||
        (now.seq == 0 &&
            org_deletion_row_took(tx, c->org, c->chain == AUDIT_LEDGER, &gone, e) != ERR_OK) ||
        (now.seq == 0 && anchor_row_get(tx, c->org, c->node, c->chain, &anchor, e) != ERR_OK))
        return e->code;
    if (!checkpoint_is_signed(c))
        why = arena_printf(
            a, "checkpoint %lld was altered: its signature does not fit", (long long)c->number);
    else if (anchor.seq >= c->seq) {
        if (memcmp(anchor.public_key, c->public_key, sizeof(c->public_key)) != 0)
            why = arena_printf(a,
                "%.*s entry %lld of checkpoint %lld was removed by somebody who has another key",
                STR_ARG(audit_type_name(c->chain)), (long long)c->seq, (long long)c->number);
    } else if (now.seq == 0 && !gone)
        why = arena_printf(a, "%.*s entry %lld was there at checkpoint %lld and is missing",
            STR_ARG(audit_type_name(c->chain)), (long long)c->seq, (long long)c->number);
    else if (now.seq != 0 && memcmp(now.hash, c->hash, sizeof(now.hash)) != 0)
        why = arena_printf(a, "%.*s entry %lld is another one than at checkpoint %lld",
            STR_ARG(audit_type_name(c->chain)), (long long)c->seq, (long long)c->number);
    *ret_why = why;
    return ERR_OK;
}

static void
note_key(struct checkpoint_summary *s, const uint8_t key[static CHECKPOINT_KEY_BYTES])
{
    for (size_t i = 0; i < s->keys_n; i++) {
        if (memcmp(s->keys[i], key, CHECKPOINT_KEY_BYTES) == 0)
            return;
    }
    if (s->keys_n < CHECKPOINT_KEYS_MAX)
        memcpy(s->keys[s->keys_n++], key, CHECKPOINT_KEY_BYTES);
}

/* One page of checkpoints; *at moves to the last of them. */
static enum err
verify_page(struct store_tx *tx, bool whole, const struct checkpoint_row *rows, size_t n,
    struct checkpoint_row *at, struct arena *a, struct checkpoint_summary *s, struct error *e)
{
    for (size_t i = 0; i < n; i++) {
        const struct checkpoint_row *c = &rows[i];
        int64_t expected = id_equal(c->node, at->node) ? at->number + 1 : 1;
        struct str why;

        if (checkpoint_row_verify(tx, c, a, &why, e) != ERR_OK)
            return e->code;
        if (why.n == 0 && whole && c->number != expected)
            why = arena_printf(a, "checkpoint %lld is missing", (long long)expected);
        if (why.n > 0 && s->valid) {
            s->valid = false;
            s->why = why;
        }
        note_key(s, c->public_key);
        *at = *c;
    }
    s->n += (int64_t)n;
    return ERR_OK;
}

enum err
checkpoint_row_verify_all(struct store_tx *tx, struct id org, struct arena *a,
    struct checkpoint_summary *ret, struct error *e)
{
    enum { PAGE = 500 };
    struct checkpoint_summary s = {.valid = true, .why = STR("")};
    struct checkpoint_row at = {0};
    size_t n = PAGE;

    while (n == PAGE) {
        AUTO_ARENA struct arena page = {0};
        struct checkpoint_row *rows = NULL;

        if (checkpoint_row_list(tx, org, at.node, at.number, PAGE, &page, &rows, &n, e) != ERR_OK ||
            verify_page(tx, id_is_zero(org), rows, n, &at, a, &s, e) != ERR_OK)
            return e->code;
    }
    *ret = s;
    return ERR_OK;
}
