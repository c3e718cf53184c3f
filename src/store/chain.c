#include "store/chain.h"

#include <sodium.h>

#include "store/query.h"

static enum err
read_link(struct store_tx *tx, const char *sql, const struct chain *c, struct chain_link *ret,
    bool *ret_garbled, struct error *e)
{
    struct query q = query_start(tx, sql);
    struct chain_link link = {0};

    query_id(&q, c->org);
    query_id(&q, c->node);
    query_text(&q, str_from_cstr(c->name));
    if (query_row(&q)) {
        link.seq = query_get_int(&q);
        query_get_bytes(&q, link.hash, sizeof(link.hash));
    }
    *ret_garbled = q.garbled;
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = link;
    return ERR_OK;
}

enum err
chain_head(struct store_tx *tx, const struct chain *c, struct chain_link *ret, struct error *e)
{
    struct chain_link link = {0};
    bool garbled;
    enum err err = read_link(tx,
        "SELECT seq, hash FROM heads WHERE org_id = $1 AND node_id = $2 AND chain = $3", c, &link,
        &garbled, e);

    if (err != ERR_OK && !garbled)
        return err;
    *ret = link;
    return ERR_OK;
}

enum err
chain_anchor(struct store_tx *tx, const struct chain *c, struct chain_link *ret, struct error *e)
{
    bool garbled;

    return read_link(tx,
        "SELECT seq, hash FROM anchors WHERE org_id = $1 AND node_id = $2 AND chain = $3", c, ret,
        &garbled, e);
}

enum err
chain_link_at(struct store_tx *tx, const struct chain *c, int64_t seq, struct chain_link *ret,
    struct error *e)
{
    struct query q = query_start(tx,
        strcmp(c->name, "ledger") == 0
            ? "SELECT hash FROM ledger WHERE org_id = $1 AND node_id = $2 AND seq = $3"
            : "SELECT hash FROM decisions WHERE org_id = $1 AND node_id = $2 AND seq = $3");
    struct chain_link link = {0};

    query_id(&q, c->org);
    query_id(&q, c->node);
    query_int(&q, seq);
    if (query_row(&q)) {
        link.seq = seq;
        query_get_bytes(&q, link.hash, sizeof(link.hash));
    }
    if (query_end(&q, e) != ERR_OK && !q.garbled)
        return e->code;
    if (link.seq == 0 && chain_anchor(tx, c, &link, e) != ERR_OK)
        return e->code;
    *ret = q.garbled || link.seq != seq ? (struct chain_link){0} : link;
    return ERR_OK;
}

static void
big_endian(int64_t v, uint8_t ret[static 8])
{
    for (int i = 0; i < 8; i++)
        ret[i] = (uint8_t)((uint64_t)v >> (8 * (7 - i)));
}

struct chain_link
chain_next(const struct chain *c, const struct chain_link *prev, struct str bytes)
{
    struct chain_link link = {.seq = prev->seq + 1};
    crypto_hash_sha256_state state;
    uint8_t seq[8];

    big_endian(link.seq, seq);
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, (const uint8_t *)c->name, strlen(c->name) + 1);
    crypto_hash_sha256_update(&state, c->org.b, sizeof(c->org.b));
    crypto_hash_sha256_update(&state, c->node.b, sizeof(c->node.b));
    crypto_hash_sha256_update(&state, seq, sizeof(seq));
    crypto_hash_sha256_update(&state, prev->hash, sizeof(prev->hash));
    crypto_hash_sha256_update(&state, (const uint8_t *)bytes.p, bytes.n);
    crypto_hash_sha256_final(&state, link.hash);
    return link;
}

enum err
chain_set_head(
    struct store_tx *tx, const struct chain *c, const struct chain_link *link, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO heads (org_id, node_id, chain, seq, hash) VALUES ($1, $2, $3, $4, $5)"
        " ON CONFLICT (org_id, node_id, chain) DO UPDATE SET seq = excluded.seq, hash = "
        "excluded.hash");

    query_id(&q, c->org);
    query_id(&q, c->node);
    query_text(&q, str_from_cstr(c->name));
    query_int(&q, link->seq);
    query_blob(&q, link->hash, sizeof(link->hash));
    return query_send(&q, e);
}

static void
wrong(struct chain_walk *w, int64_t at, const char *why)
{
    if (w->why == NULL) {
        w->why = why;
        w->at = at;
    }
}

enum err
chain_walk_begin(struct store_tx *tx, struct chain_walk *w, int64_t only, struct error *e)
{
    if (only == 0)
        return chain_anchor(tx, w->chain, &w->last, e);
    if (only == 1)
        return ERR_OK;
    if (chain_link_at(tx, w->chain, only - 1, &w->last, e) != ERR_OK)
        return e->code;
    if (w->last.seq == 0)
        wrong(w, only - 1, "is missing or out of order");
    w->last.seq = only - 1;
    return ERR_OK;
}

void
chain_walk_step(struct chain_walk *w, int64_t seq, const uint8_t prev[static CHAIN_HASH_BYTES],
    const uint8_t hash[static CHAIN_HASH_BYTES], struct str stored, struct str rebuilt)
{
    struct chain_link next = chain_next(w->chain, &w->last, stored);

    if (seq != next.seq)
        wrong(w, next.seq, "is missing or out of order");
    else if (!str_equal(stored, rebuilt))
        wrong(w, seq, "was altered: its columns are not what was booked");
    else if (memcmp(prev, w->last.hash, CHAIN_HASH_BYTES) != 0)
        wrong(w, seq, "does not follow the one before it");
    else if (memcmp(hash, next.hash, CHAIN_HASH_BYTES) != 0)
        wrong(w, seq, "was altered: its hash does not fit");
    w->last = next;
}

void
chain_walk_garbled(struct chain_walk *w)
{
    wrong(w, w->last.seq + 1, "was altered: it can not be decoded");
}

enum err
chain_walk_told(struct store_tx *tx, struct chain_walk *w, int64_t only, const char *noun,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e)
{
    struct chain_link head = {0};

    if (chain_head(tx, w->chain, &head, e) != ERR_OK)
        return e->code;
    if (only != 0 ? w->last.seq != only : head.seq != w->last.seq)
        wrong(w, w->last.seq + 1, "is missing: the chain ends before its head");
    else if (head.seq < only)
        wrong(w, only, "stands behind the head of its chain, or that is missing");
    else if (w->last.seq == head.seq && memcmp(head.hash, w->last.hash, CHAIN_HASH_BYTES) != 0)
        wrong(w, head.seq, "is not the one the head names");
    *ret_valid = w->why == NULL;
    *ret_why =
        w->why == NULL ? STR("") : arena_printf(a, "%s %lld %s", noun, (long long)w->at, w->why);
    return ERR_OK;
}

void
canonical_int(struct buf *b, int64_t v)
{
    uint8_t bytes[8];

    big_endian(v, bytes);
    buf_add(b, (struct str){(const char *)bytes, sizeof(bytes)});
}

void
canonical_text(struct buf *b, struct str s)
{
    canonical_int(b, (int64_t)s.n);
    buf_add(b, s);
}
