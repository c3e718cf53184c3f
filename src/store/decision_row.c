#include "store/decision_row.h"

#include "store/chain.h"
#include "store/query.h"

#define COLUMNS                                                                                    \
    "org_id, node_id, seq, hash, id, workspace_id, kind, code, mode, source, provider, model,"     \
    " runtime, registry_fingerprint, record, created_ms"

enum { DECISION_CANONICAL_VERSION = 1, DECISION_CANONICAL_MAX = 4 << 20 };

struct str
decision_kind_name(enum decision_kind k)
{
    static const struct str names[DECISION_KIND_COUNT] = {
        [DECISION_START] = STR_INIT("start"),
        [DECISION_RUN] = STR_INIT("run"),
        [DECISION_REFUSAL] = STR_INIT("refusal"),
    };

    return names[k];
}

/* Every column that means something, in the chain's own unambiguous form. */
static void
add_canonical(struct buf *b, const struct decision_row *d)
{
    canonical_int(b, DECISION_CANONICAL_VERSION);
    buf_add(b, (struct str){(const char *)d->id.b, sizeof(d->id.b)});
    buf_add(b, (struct str){(const char *)d->workspace.b, sizeof(d->workspace.b)});
    canonical_text(b, decision_kind_name(d->kind));
    canonical_text(b, d->code);
    canonical_text(b, d->mode);
    canonical_text(b, d->source);
    canonical_text(b, d->provider);
    canonical_text(b, d->model);
    canonical_text(b, d->runtime);
    buf_add(
        b, (struct str){(const char *)d->registry_fingerprint, sizeof(d->registry_fingerprint)});
    canonical_text(b, d->json);
    canonical_int(b, d->created_ms);
}

static struct decision_row
decode(struct query *q, struct arena *a)
{
    struct decision_row d = {.org = query_get_id(q)};

    d.node = query_get_id(q);
    d.seq = query_get_int(q);
    query_get_bytes(q, d.hash, sizeof(d.hash));
    d.id = query_get_id(q);
    d.workspace = query_get_id(q);
    QUERY_GET_ENUM(q, decision_kind_name, DECISION_KIND_COUNT, &d.kind);
    d.code = query_get_text(q, a);
    d.mode = query_get_text(q, a);
    d.source = query_get_text(q, a);
    d.provider = query_get_text(q, a);
    d.model = query_get_text(q, a);
    d.runtime = query_get_text(q, a);
    query_get_bytes(q, d.registry_fingerprint, sizeof(d.registry_fingerprint));
    d.json = query_get_text(q, a);
    d.created_ms = query_get_int(q);
    return d;
}

static enum err
insert(struct store_tx *tx, const struct decision_row *d, const struct chain *c,
    const struct chain_link *prev, const struct chain_link *link, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO decisions (prev_hash, " COLUMNS
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10,"
        " $11, $12, $13, $14, $15, $16, $17)");

    query_blob(&q, prev->hash, sizeof(prev->hash));
    query_id(&q, c->org);
    query_id(&q, c->node);
    query_int(&q, link->seq);
    query_blob(&q, link->hash, sizeof(link->hash));
    query_id(&q, d->id);
    query_id(&q, d->workspace);
    query_text(&q, decision_kind_name(d->kind));
    query_text(&q, d->code);
    query_text(&q, d->mode);
    query_text(&q, d->source);
    query_text(&q, d->provider);
    query_text(&q, d->model);
    query_text(&q, d->runtime);
    query_blob(&q, d->registry_fingerprint, sizeof(d->registry_fingerprint));
    query_text(&q, d->json);
    query_int(&q, d->created_ms);
    return query_run(&q, e);
}

enum err
decision_row_append(struct store_tx *tx, const struct decision_row *d, struct error *e)
{
    struct chain c = {"decision", d->org, store_tx_node(tx)};
    struct chain_link prev = {0}, link;
    AUTO_BUF struct buf canonical;

    buf_init(&canonical, DECISION_CANONICAL_MAX);
    add_canonical(&canonical, d);
    if (!buf_ok(&canonical))
        return fail(e, ERR_PAYLOAD_TOO_LARGE, "the decision record is too large");
    if (chain_head(tx, &c, &prev, e) != ERR_OK)
        return e->code;
    link = chain_next(&c, &prev, buf_str(&canonical));
    /* The head first: its lock orders those who would append at once. */
    if (chain_set_head(tx, &c, &link, e) != ERR_OK)
        return e->code;
    return insert(tx, d, &c, &prev, &link, e);
}

static enum err
decode_one(struct query *q, struct arena *a, struct decision_row *ret, struct error *e)
{
    bool found = query_row(q);
    struct decision_row d = found ? decode(q, a) : (struct decision_row){0};

    if (query_end_found(q, found, "decision", e) != ERR_OK)
        return e->code;
    *ret = d;
    return ERR_OK;
}

enum err
decision_row_get(struct store_tx *tx, struct id org, struct id decision, struct arena *a,
    struct decision_row *ret, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT " COLUMNS " FROM decisions WHERE org_id = $1 AND id = $2");

    query_id(&q, org);
    query_id(&q, decision);
    return decode_one(&q, a, ret, e);
}

enum err
decision_row_at(struct store_tx *tx, struct id org, struct id node, int64_t seq, struct arena *a,
    struct decision_row *ret, struct error *e)
{
    struct query q = query_start(
        tx, "SELECT " COLUMNS " FROM decisions WHERE org_id = $1 AND node_id = $2 AND seq = $3");

    query_id(&q, org);
    query_id(&q, node);
    query_int(&q, seq);
    return decode_one(&q, a, ret, e);
}

enum err
decision_row_list(struct store_tx *tx, const struct decision_filter *f, size_t max, struct arena *a,
    struct decision_row **ret, size_t *ret_n, struct error *e)
{
#define OF_ALL "SELECT " COLUMNS " FROM decisions WHERE id < $1"
#define OF_ORG OF_ALL " AND org_id = $3"
#define OF_WORKSPACE OF_ORG " AND workspace_id = $4"
#define NEWEST " ORDER BY id DESC LIMIT $2"
    bool all = id_is_zero(f->org), whole_org = id_is_zero(f->workspace);
    struct query q = query_start(tx,
        all             ? OF_ALL NEWEST
            : whole_org ? OF_ORG NEWEST
                        : OF_WORKSPACE NEWEST);
    struct decision_row *rows = NULL;
    size_t n = 0;

    /* Ids are lower-case hexadecimal: 'g' is behind all of them. */
    if (id_is_zero(f->before))
        query_text(&q, STR("g"));
    else
        query_id(&q, f->before);
    query_int(&q, (int64_t)max);
    if (!all)
        query_id(&q, f->org);
    if (!all && !whole_org)
        query_id(&q, f->workspace);
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
decision_chain_walk(
    struct store_tx *tx, struct chain_walk *w, int64_t from, int64_t to, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT prev_hash, " COLUMNS
        " FROM decisions WHERE org_id = $1 AND node_id = $2 AND seq >= $3 AND seq <= $4"
        " ORDER BY seq");

    query_id(&q, w->chain->org);
    query_id(&q, w->chain->node);
    query_int(&q, from);
    query_int(&q, to);
    while (query_row(&q)) {
        AUTO_ARENA struct arena row = {0};
        AUTO_BUF struct buf canonical;
        uint8_t prev[CHAIN_HASH_BYTES] = {0};
        struct decision_row d;

        query_get_bytes(&q, prev, sizeof(prev));
        d = decode(&q, &row);
        buf_init(&canonical, DECISION_CANONICAL_MAX);
        add_canonical(&canonical, &d);
        if (q.garbled)
            chain_walk_garbled(w);
        else
            chain_walk_step(w, d.seq, prev, d.hash, buf_str(&canonical), buf_str(&canonical));
    }
    return query_end(&q, e) != ERR_OK && !q.garbled ? e->code : ERR_OK;
}

enum err
decision_chain_verify(struct store_tx *tx, struct id org, struct id node, int64_t only,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e)
{
    struct chain c = {"decision", org, node};
    struct chain_walk walk = {.chain = &c};

    if (chain_walk_begin(tx, &walk, only, e) != ERR_OK ||
        decision_chain_walk(tx, &walk, only, only == 0 ? INT64_MAX : only, e) != ERR_OK)
        return e->code;
    return chain_walk_told(tx, &walk, only, "decision record", a, ret_valid, ret_why, e);
}
