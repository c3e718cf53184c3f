#include "store/audit_row.h"

#include "store/anchor_row.h"
#include "store/chain.h"
#include "store/org_row.h"
#include "store/query.h"

struct str
audit_type_name(enum audit_type t)
{
    return t == AUDIT_DECISION ? STR("decision") : STR("ledger");
}

/* Where a row of the trail is kept. */
struct place {
    enum audit_type type;
    struct id node;
    int64_t seq;
};

#define TRAIL                                                                                      \
    "(SELECT 'decision' AS type, node_id, seq, created_ms AS at_ms FROM decisions"                 \
    " WHERE org_id = $1 AND workspace_id = $2 UNION ALL"                                           \
    " SELECT 'ledger' AS type, node_id, seq, opened_ms AS at_ms FROM ledger"                       \
    " WHERE org_id = $1 AND workspace_id = $2) AS trail WHERE at_ms >= $3 AND at_ms < $4"

static void
bind_filter(struct query *q, const struct audit_filter *f)
{
    query_id(q, f->org);
    query_id(q, f->workspace);
    query_int(q, f->from_ms);
    query_int(q, f->to_ms == 0 ? INT64_MAX : f->to_ms);
}

static enum err
count(struct store_tx *tx, const struct audit_filter *f, int64_t *ret, struct error *e)
{
    struct query q = query_start(tx, "SELECT COUNT(*) FROM " TRAIL);
    int64_t n = 0;

    bind_filter(&q, f);
    if (query_row(&q))
        n = query_get_int(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = n;
    return ERR_OK;
}

static enum err
places(struct store_tx *tx, const struct audit_filter *f, size_t skip, size_t max, struct arena *a,
    struct place **ret, size_t *ret_n, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT type, node_id, seq FROM " TRAIL " ORDER BY at_ms DESC, type, node_id, seq DESC"
        " LIMIT $5 OFFSET $6");
    struct place *rows = NULL;
    size_t n = 0;

    bind_filter(&q, f);
    query_int(&q, (int64_t)max);
    query_int(&q, (int64_t)skip);
    while (query_row(&q)) {
        struct place p = {0};

        QUERY_GET_ENUM(&q, audit_type_name, AUDIT_TYPE_COUNT, &p.type);
        p.node = query_get_id(&q);
        p.seq = query_get_int(&q);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = p;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
audit_row_list(struct store_tx *tx, const struct audit_filter *f, size_t skip, size_t max,
    struct arena *a, struct audit_row **ret, size_t *ret_n, int64_t *ret_total, struct error *e)
{
    struct place *at = NULL;
    struct audit_row *rows;
    size_t n = 0;
    enum err code = count(tx, f, ret_total, e);

    if (code == ERR_OK)
        code = places(tx, f, skip, max, a, &at, &n, e);
    if (code != ERR_OK)
        return code;
    rows = arena_array(a, n + 1, sizeof(*rows));
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        rows[i].type = at[i].type;
        if (at[i].type == AUDIT_DECISION)
            code = decision_row_at(tx, f->org, at[i].node, at[i].seq, a, &rows[i].decision, e);
        else
            code = ledger_row_at(tx, f->org, at[i].node, at[i].seq, &rows[i].entry, e);
    }
    if (code != ERR_OK)
        return code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

/* A chain is there when it has a head or an entry: one without the other is wrong, not absent. */
#define CHAINS(org)                                                                                \
    "SELECT org_id, node_id, chain FROM heads WHERE chain IN ('decision', 'ledger')" org           \
    " UNION SELECT org_id, node_id, chain FROM anchors WHERE 1 = 1" org                            \
    " UNION SELECT org_id, node_id, 'decision' FROM decisions WHERE 1 = 1" org                     \
    " UNION SELECT org_id, node_id, 'ledger' FROM ledger WHERE 1 = 1" org " ORDER BY 1, 2, 3"

static enum err
chains(struct store_tx *tx, struct id org, struct arena *a, struct audit_chain **ret, size_t *ret_n,
    struct error *e)
{
    bool all = id_is_zero(org);
    struct query q = query_start(tx, all ? CHAINS("") : CHAINS(" AND org_id = $1"));
    struct audit_chain *rows = NULL;
    size_t n = 0;

    if (!all)
        query_id(&q, org);
    while (query_row(&q)) {
        struct audit_chain c = {.org = query_get_id(&q)};

        c.node = query_get_id(&q);
        QUERY_GET_ENUM(&q, audit_type_name, AUDIT_TYPE_COUNT, &c.type);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = c;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

static enum err
name_org(struct store_tx *tx, struct audit_chain *c, struct arena *a, struct error *e)
{
    struct org_row org = {0};
    enum err code = org_row_get(tx, c->org, a, &org, e);

    if (code != ERR_OK && code != ERR_NOT_FOUND)
        return code;
    c->slug = org.slug;
    return ERR_OK;
}

static enum err
verify(struct store_tx *tx, struct audit_chain *c, struct arena *a, struct error *e)
{
    struct chain chain = {audit_type_name(c->type).p, c->org, c->node};
    struct anchor_row anchor;
    struct chain_link head = {0};
    enum err code = chain_head(tx, &chain, &head, e);

    if (code != ERR_OK)
        return code;
    c->entries = head.seq;
    memcpy(c->head, head.hash, sizeof(c->head));
    if (anchor_row_get(tx, c->org, c->node, c->type, &anchor, e) != ERR_OK ||
        anchor_row_verify(tx, &anchor, a, &c->why, e) != ERR_OK)
        return e->code;
    c->pruned = anchor.seq;
    c->pruned_until_ms = anchor.until_ms;
    c->pruned_ms = anchor.pruned_ms;
    c->pruned_checkpoint = anchor.checkpoint;
    c->valid = c->why.n == 0;
    if (!c->valid)
        return ERR_OK;
    return c->type == AUDIT_DECISION
        ? decision_chain_verify(tx, c->org, c->node, 0, a, &c->valid, &c->why, e)
        : ledger_chain_verify(tx, c->org, c->node, 0, a, &c->valid, &c->why, e);
}

enum err
audit_chain_list(struct store_tx *tx, struct id org, struct arena *a, struct audit_chain **ret,
    size_t *ret_n, struct error *e)
{
    struct audit_chain *list = NULL;
    size_t n = 0;
    enum err code = chains(tx, org, a, &list, &n, e);

    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        code = name_org(tx, &list[i], a, e);
        if (code == ERR_OK)
            code = verify(tx, &list[i], a, e);
    }
    if (code != ERR_OK)
        return code;
    *ret = list;
    *ret_n = n;
    return ERR_OK;
}

enum err
audit_row_verify(struct store_tx *tx, struct id org, const struct audit_row *row, struct arena *a,
    bool *ret_valid, struct str *ret_why, struct error *e)
{
    const struct decision_row *d = &row->decision;
    const struct ledger_row *l = &row->entry;

    return row->type == AUDIT_DECISION
        ? decision_chain_verify(tx, org, d->node, d->seq, a, ret_valid, ret_why, e)
        : ledger_chain_verify(tx, org, l->node, l->seq, a, ret_valid, ret_why, e);
}

enum err
audit_heads_verify(
    struct store_tx *tx, struct id org, struct arena *a, struct str *ret_why, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT node_id, chain FROM heads WHERE org_id = $1 AND chain IN ('decision', 'ledger')");
    struct audit_chain *rows = NULL;
    struct str why = STR("");
    size_t n = 0;

    query_id(&q, org);
    while (query_row(&q)) {
        struct audit_chain c = {.org = org, .node = query_get_id(&q)};

        QUERY_GET_ENUM(&q, audit_type_name, AUDIT_TYPE_COUNT, &c.type);
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = c;
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n && why.n == 0; i++) {
        struct chain c = {audit_type_name(rows[i].type).p, org, rows[i].node};
        struct chain_link head = {0}, entry = {0};

        if (chain_head(tx, &c, &head, e) != ERR_OK ||
            chain_link_at(tx, &c, head.seq, &entry, e) != ERR_OK)
            return e->code;
        if (entry.seq == 0 || memcmp(entry.hash, head.hash, sizeof(head.hash)) != 0)
            why = arena_printf(a, "%s %lld is %s",
                rows[i].type == AUDIT_LEDGER ? "ledger entry" : "decision record",
                (long long)head.seq,
                entry.seq == 0 ? "missing: the chain ends before its head"
                               : "not the one the head names");
    }
    *ret_why = why;
    return ERR_OK;
}
