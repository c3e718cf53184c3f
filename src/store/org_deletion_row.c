#include "store/org_deletion_row.h"

#include "store/chain.h"
#include "store/query.h"

enum { CANONICAL_MAX = 64 * 1024 };

/* Of no org and no node: the zero ids. */
static const struct chain chain = {.name = "deletion"};

static void
add_canonical(struct buf *b, const struct org_deletion_row *d)
{
    buf_init(b, CANONICAL_MAX);
    buf_add(b, (struct str){(const char *)d->org.b, sizeof(d->org.b)});
    canonical_text(b, d->slug);
    canonical_text(b, d->name);
    canonical_int(b, d->ledger_kept);
    canonical_text(b, d->counts);
    buf_add(b, (struct str){(const char *)d->export_digest, sizeof(d->export_digest)});
    canonical_int(b, d->deleted_ms);
}

enum err
org_deletion_row_append(struct store_tx *tx, struct org_deletion_row *d, struct error *e)
{
    AUTO_BUF struct buf canonical;
    struct chain_link last, next;
    struct query q;

    add_canonical(&canonical, d);
    if (chain_head(tx, &chain, &last, e) != ERR_OK)
        return e->code;
    next = chain_next(&chain, &last, buf_str(&canonical));
    q = query_start(tx,
        "INSERT INTO org_deletions (seq, prev_hash, hash, org_id, slug, name, ledger_kept, counts,"
        " export_digest, deleted_ms) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    query_int(&q, next.seq);
    query_blob(&q, last.hash, sizeof(last.hash));
    query_blob(&q, next.hash, sizeof(next.hash));
    query_id(&q, d->org);
    query_text(&q, d->slug);
    query_text(&q, d->name);
    query_int(&q, d->ledger_kept);
    query_text(&q, d->counts);
    query_blob(&q, d->export_digest, sizeof(d->export_digest));
    query_int(&q, d->deleted_ms);
    if (query_run(&q, e) != ERR_OK || chain_set_head(tx, &chain, &next, e) != ERR_OK)
        return e->code;
    d->seq = next.seq;
    memcpy(d->hash, next.hash, sizeof(d->hash));
    return ERR_OK;
}

static struct org_deletion_row
decode(struct query *q, struct arena *a)
{
    struct org_deletion_row d = {.org = query_get_id(q)};

    d.slug = query_get_text(q, a);
    d.name = query_get_text(q, a);
    d.ledger_kept = query_get_bool(q);
    d.counts = query_get_text(q, a);
    query_get_bytes(q, d.export_digest, sizeof(d.export_digest));
    d.deleted_ms = query_get_int(q);
    d.seq = query_get_int(q);
    query_get_bytes(q, d.hash, sizeof(d.hash));
    return d;
}

static void
walk_step(struct chain_walk *walk, const struct query *q, const struct org_deletion_row *d,
    const uint8_t prev[static CHAIN_HASH_BYTES])
{
    AUTO_BUF struct buf canonical;

    add_canonical(&canonical, d);
    if (q->garbled)
        chain_walk_garbled(walk);
    else
        chain_walk_step(walk, d->seq, prev, d->hash, buf_str(&canonical), buf_str(&canonical));
}

enum err
org_deletion_row_list(struct store_tx *tx, struct arena *a, struct org_deletion_row **ret,
    size_t *ret_n, bool *ret_valid, struct str *ret_why, struct error *e)
{
    struct query q;
    struct chain_walk walk = {.chain = &chain};
    struct org_deletion_row *rows = NULL;
    size_t n = 0;

    if (chain_walk_begin(tx, &walk, 0, e) != ERR_OK)
        return e->code;
    q = query_start(tx,
        "SELECT prev_hash, org_id, slug, name, ledger_kept, counts, export_digest, deleted_ms, seq,"
        " hash FROM org_deletions ORDER BY seq");
    while (query_row(&q)) {
        uint8_t prev[CHAIN_HASH_BYTES] = {0};

        query_get_bytes(&q, prev, sizeof(prev));
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n] = decode(&q, a);
        walk_step(&walk, &q, &rows[n++], prev);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return chain_walk_told(tx, &walk, 0, "deletion record", a, ret_valid, ret_why, e);
}

enum err
org_deletion_row_took(struct store_tx *tx, struct id org, bool ledger, bool *ret, struct error *e)
{
    struct query q = query_start(
        tx, "SELECT 1 FROM org_deletions WHERE org_id = $1 AND (ledger_kept = 0 OR $2 = 0)");
    bool found;

    query_id(&q, org);
    query_int(&q, ledger);
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}
