#include "store/ledger_row.h"

#include "store/chain.h"
#include "store/query.h"

#define ENTRY_COLUMNS                                                                              \
    "call_id, org_id, workspace_id, token_id, decision_id, platform_key_id, attempt, kind, state," \
    " certainty, dialect, vendor_status, opened_ms, first_byte_ms, closed_ms, input_tokens,"       \
    " output_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,"             \
    " reasoning_tokens, price_from_ms, price_above_tokens, price_input, price_output,"             \
    " price_cache_read, price_cache_write_5m, price_cache_write_1h, bound_nano_usd,"               \
    " cost_nano_usd, registry_fingerprint, provider, model_asked, model_vendor, model_answered,"   \
    " web_searches, price_web_search, estimated_by"

/* The numbers of an entry, in the order of the columns, for binding and decoding alike. */
static const size_t numbers[] = {
    offsetof(struct ledger_entry, opened_ms),
    offsetof(struct ledger_entry, first_byte_ms),
    offsetof(struct ledger_entry, closed_ms),
    offsetof(struct ledger_entry, usage.input),
    offsetof(struct ledger_entry, usage.output),
    offsetof(struct ledger_entry, usage.cache_read),
    offsetof(struct ledger_entry, usage.cache_write_5m),
    offsetof(struct ledger_entry, usage.cache_write_1h),
    offsetof(struct ledger_entry, usage.reasoning),
    offsetof(struct ledger_entry, price.from_ms),
    offsetof(struct ledger_entry, price.above_tokens),
    offsetof(struct ledger_entry, price.input),
    offsetof(struct ledger_entry, price.output),
    offsetof(struct ledger_entry, price.cache_read),
    offsetof(struct ledger_entry, price.cache_write_5m),
    offsetof(struct ledger_entry, price.cache_write_1h),
    offsetof(struct ledger_entry, bound_nano_usd),
    offsetof(struct ledger_entry, cost_nano_usd),
};
enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static struct id
id_of(const uint8_t bytes[static 16])
{
    struct id id;

    memcpy(id.b, bytes, sizeof(id.b));
    return id;
}

static void
bind_chars(struct query *q, const char *text, size_t room)
{
    query_text(q, (struct str){text, strnlen(text, room)});
}

static void
bind_entry(struct query *q, const struct ledger_entry *en)
{
    query_id(q, id_of(en->call_id));
    query_id(q, id_of(en->org_id));
    query_id(q, id_of(en->workspace_id));
    query_id(q, id_of(en->token_id));
    query_id(q, id_of(en->decision_id));
    query_id(q, id_of(en->key_id));
    query_int(q, en->attempt);
    query_text(q, ledger_kind_name(en->kind));
    query_text(q, ledger_state_name(en->state));
    query_text(q, ledger_certainty_name(en->certainty));
    query_text(q, dialect_name(en->dialect));
    query_int(q, en->vendor_status);
    for (int i = 0; i < NUMBERS; i++)
        query_int(q, *(const int64_t *)((const char *)en + numbers[i]));
    query_blob(q, en->registry_fingerprint, sizeof(en->registry_fingerprint));
    bind_chars(q, en->provider, sizeof(en->provider));
    bind_chars(q, en->model_asked, sizeof(en->model_asked));
    bind_chars(q, en->model_vendor, sizeof(en->model_vendor));
    bind_chars(q, en->model_answered, sizeof(en->model_answered));
    query_int(q, en->usage.web_searches);
    query_int(q, en->price.web_search);
    query_text(q, ledger_estimate_name(en->estimate));
}

static void
decode_id(struct query *q, uint8_t ret[static 16])
{
    struct id id = query_get_id(q);

    memcpy(ret, id.b, sizeof(id.b));
}

static void
decode_chars(struct query *q, char *ret, size_t room)
{
    AUTO_ARENA struct arena a = {0};
    struct str s = query_get_text(q, &a);

    if (s.n >= room)
        query_garbled(q, "too long");
    else if (s.n > 0)
        memcpy(ret, s.p, s.n);
}

static struct ledger_entry
decode_entry(struct query *q)
{
    struct ledger_entry en = {0};

    decode_id(q, en.call_id);
    decode_id(q, en.org_id);
    decode_id(q, en.workspace_id);
    decode_id(q, en.token_id);
    decode_id(q, en.decision_id);
    decode_id(q, en.key_id);
    en.attempt = (uint32_t)query_get_int(q);
    QUERY_GET_ENUM(q, ledger_kind_name, LEDGER_KIND_COUNT, &en.kind);
    QUERY_GET_ENUM(q, ledger_state_name, LEDGER_STATE_COUNT, &en.state);
    QUERY_GET_ENUM(q, ledger_certainty_name, LEDGER_CERTAINTY_COUNT, &en.certainty);
    QUERY_GET_ENUM(q, dialect_name, DIALECT_COUNT, &en.dialect);
    en.vendor_status = (int)query_get_int(q);
    for (int i = 0; i < NUMBERS; i++)
        *(int64_t *)((char *)&en + numbers[i]) = query_get_int(q);
    query_get_bytes(q, en.registry_fingerprint, sizeof(en.registry_fingerprint));
    decode_chars(q, en.provider, sizeof(en.provider));
    decode_chars(q, en.model_asked, sizeof(en.model_asked));
    decode_chars(q, en.model_vendor, sizeof(en.model_vendor));
    decode_chars(q, en.model_answered, sizeof(en.model_answered));
    en.usage.web_searches = query_get_int(q);
    en.price.web_search = query_get_int(q);
    QUERY_GET_ENUM(q, ledger_estimate_name, LEDGER_ESTIMATE_COUNT, &en.estimate);
    return en;
}

/* What came from outside must be text in every engine, and a refusal of it would lose the row. */
static void
make_printable(char *text, size_t room)
{
    text[room - 1] = '\0';
    for (char *c = text; *c != '\0'; c++) {
        if (*c < 0x20 || *c > 0x7e)
            *c = '?';
    }
}

static struct ledger_entry
printable(const struct ledger_entry *entry)
{
    struct ledger_entry en = *entry;

    ENSURE(en.kind < LEDGER_KIND_COUNT && en.state < LEDGER_STATE_COUNT &&
        en.certainty < LEDGER_CERTAINTY_COUNT && en.estimate < LEDGER_ESTIMATE_COUNT &&
        en.dialect < DIALECT_COUNT);
    make_printable(en.provider, sizeof(en.provider));
    make_printable(en.model_asked, sizeof(en.model_asked));
    make_printable(en.model_vendor, sizeof(en.model_vendor));
    make_printable(en.model_answered, sizeof(en.model_answered));
    return en;
}

static enum err
is_booked(struct store_tx *tx, const struct ledger_entry *en, bool *ret, struct error *e)
{
    struct query q =
        query_start(tx, "SELECT 1 FROM ledger WHERE call_id = $1 AND attempt = $2 AND kind = $3");
    bool found;

    query_id(&q, id_of(en->call_id));
    query_int(&q, en->attempt);
    query_text(&q, ledger_kind_name(en->kind));
    found = query_row(&q);
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = found;
    return ERR_OK;
}

/* Inserts the entry behind the link before it, and makes *last its own. */
static enum err
insert(struct store_tx *tx, const struct chain *c, struct chain_link *last,
    const struct ledger_entry *en, struct error *e)
{
    uint8_t bytes[LEDGER_CANONICAL_MAX];
    struct str canonical = {(const char *)bytes, ledger_entry_canonical(en, bytes)};
    struct chain_link link = chain_next(c, last, canonical);
    struct query q = query_start(tx,
        "INSERT INTO ledger (node_id, seq, prev_hash, hash, canonical, booked_ms, " ENTRY_COLUMNS
        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17,"
        " $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34,"
        " $35, $36, $37, $38, $39, $40, $41, $42, $43, $44)");

    query_id(&q, c->node);
    query_int(&q, link.seq);
    query_blob(&q, last->hash, sizeof(last->hash));
    query_blob(&q, link.hash, sizeof(link.hash));
    query_blob(&q, canonical.p, canonical.n);
    query_int(&q, clock_ms());
    bind_entry(&q, en);
    *last = link;
    return query_send(&q, e);
}

/*
 * What the next entry stands behind. By the second look, that is behind all there are: a head that
 * somebody moved or removed must not hold up what comes, of this org and, in the drain, of all. The
 * hashes show the break.
 */
static enum err
find_end(struct store_tx *tx, const struct chain *c, bool second_look, struct chain_link *ret,
    struct error *e)
{
    struct chain_link end = {0};
    struct query q;
    int64_t last;

    if (chain_head(tx, c, &end, e) != ERR_OK)
        return e->code;
    if (second_look) {
        q = query_start(
            tx, "SELECT COALESCE(MAX(seq), 0) FROM ledger WHERE org_id = $1 AND node_id = $2");
        query_id(&q, c->org);
        query_id(&q, c->node);
        last = query_row(&q) ? query_get_int(&q) : 0;
        if (query_end(&q, e) != ERR_OK)
            return e->code;
        end.seq = last > end.seq ? last : end.seq;
    }
    *ret = end;
    return ERR_OK;
}

enum err
ledger_row_append_all(struct store_tx *tx, const struct ledger_entry *entries, size_t n,
    bool may_be_booked, struct error *e)
{
    struct chain c = {"ledger", {{0}}, store_tx_node(tx)};
    struct chain_link head = {0}, last = {0};

    for (size_t i = 0; i < n; i++) {
        struct ledger_entry en = printable(&entries[i]);
        bool booked = false;

        if (i == 0 || memcmp(c.org.b, en.org_id, sizeof(c.org.b)) != 0) {
            if (last.seq != head.seq && chain_set_head(tx, &c, &last, e) != ERR_OK)
                return e->code;
            c.org = id_of(en.org_id);
            if (find_end(tx, &c, may_be_booked, &head, e) != ERR_OK)
                return e->code;
            last = head;
        }
        if (may_be_booked && is_booked(tx, &en, &booked, e) != ERR_OK)
            return e->code;
        if (!booked && insert(tx, &c, &last, &en, e) != ERR_OK)
            return e->code;
    }
    return last.seq == head.seq ? ERR_OK : chain_set_head(tx, &c, &last, e);
}

enum err
ledger_row_append(
    struct store_tx *tx, const struct ledger_entry *entry, bool *ret_new, struct error *e)
{
    struct ledger_entry en = printable(entry);
    bool booked = false;

    if (is_booked(tx, &en, &booked, e) != ERR_OK)
        return e->code;
    if (!booked && ledger_row_append_all(tx, entry, 1, false, e) != ERR_OK)
        return e->code;
    if (ret_new != NULL)
        *ret_new = !booked;
    return ERR_OK;
}

static struct ledger_row
decode_row(struct query *q)
{
    struct ledger_row r = {.node = query_get_id(q)};

    r.seq = query_get_int(q);
    r.booked_ms = query_get_int(q);
    query_get_bytes(q, r.hash, sizeof(r.hash));
    r.entry = decode_entry(q);
    return r;
}

#define SELECT_ROWS                                                                                \
    "SELECT node_id, seq, booked_ms, hash, " ENTRY_COLUMNS " FROM ledger WHERE org_id = $1"

enum err
ledger_row_list(struct store_tx *tx, struct id org, struct id workspace, size_t max,
    struct arena *a, struct ledger_row **ret, size_t *ret_n, struct error *e)
{
    return ledger_row_list_between(tx, org, workspace, 0, 0, max, a, ret, ret_n, e);
}

enum err
ledger_row_list_between(struct store_tx *tx, struct id org, struct id workspace, int64_t from_ms,
    int64_t to_ms, size_t max, struct arena *a, struct ledger_row **ret, size_t *ret_n,
    struct error *e)
{
#define NEWEST                                                                                     \
    " AND opened_ms >= $3 AND opened_ms < $4"                                                      \
    " ORDER BY opened_ms DESC, call_id DESC, attempt DESC, kind LIMIT $2"
    bool whole_org = id_is_zero(workspace);
    struct query q = query_start(
        tx, whole_org ? SELECT_ROWS NEWEST : SELECT_ROWS " AND workspace_id = $5" NEWEST);
    struct ledger_row *rows = NULL;
    size_t n = 0;

    query_id(&q, org);
    query_int(&q, (int64_t)max);
    query_int(&q, from_ms);
    query_int(&q, to_ms == 0 ? INT64_MAX : to_ms);
    if (!whole_org)
        query_id(&q, workspace);
    while (query_row(&q)) {
        rows = query_array(a, rows, n, sizeof(*rows));
        rows[n++] = decode_row(&q);
    }
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *ret = rows;
    *ret_n = n;
    return ERR_OK;
}

enum err
ledger_row_at(struct store_tx *tx, struct id org, struct id node, int64_t seq,
    struct ledger_row *ret, struct error *e)
{
    struct query q = query_start(tx, SELECT_ROWS " AND node_id = $2 AND seq = $3");
    struct ledger_row r = {0};
    bool found;

    query_id(&q, org);
    query_id(&q, node);
    query_int(&q, seq);
    found = query_row(&q);
    if (found)
        r = decode_row(&q);
    if (query_end_found(&q, found, "ledger entry", e) != ERR_OK)
        return e->code;
    *ret = r;
    return ERR_OK;
}

enum err
ledger_row_find(
    struct store_tx *tx, struct id call, int64_t attempt, struct ledger_entry *ret, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT " ENTRY_COLUMNS
        " FROM ledger WHERE call_id = $1 AND attempt = $2 AND kind = 'call'");
    struct ledger_entry en = {0};
    bool found;

    query_id(&q, call);
    query_int(&q, attempt);
    found = query_row(&q);
    if (found)
        en = decode_entry(&q);
    if (query_end_found(&q, found, "ledger entry", e) != ERR_OK)
        return e->code;
    *ret = en;
    return ERR_OK;
}

enum err
ledger_chain_walk(
    struct store_tx *tx, struct chain_walk *w, int64_t from, int64_t to, struct error *e)
{
    struct query q = query_start(tx,
        "SELECT seq, prev_hash, hash, canonical, " ENTRY_COLUMNS
        " FROM ledger WHERE org_id = $1 AND node_id = $2 AND seq >= $3 AND seq <= $4 ORDER BY seq");

    query_id(&q, w->chain->org);
    query_id(&q, w->chain->node);
    query_int(&q, from);
    query_int(&q, to);
    while (query_row(&q)) {
        AUTO_ARENA struct arena row = {0};
        uint8_t prev[CHAIN_HASH_BYTES] = {0}, hash[CHAIN_HASH_BYTES] = {0},
                bytes[LEDGER_CANONICAL_MAX];
        int64_t seq = query_get_int(&q);
        struct ledger_entry en;
        struct str stored;

        query_get_bytes(&q, prev, sizeof(prev));
        query_get_bytes(&q, hash, sizeof(hash));
        stored = query_get_blob(&q, &row);
        en = decode_entry(&q);
        if (q.garbled)
            chain_walk_garbled(w);
        else
            chain_walk_step(w, seq, prev, hash, stored,
                (struct str){(const char *)bytes, ledger_entry_canonical(&en, bytes)});
    }
    return query_end(&q, e) != ERR_OK && !q.garbled ? e->code : ERR_OK;
}

enum err
ledger_chain_verify(struct store_tx *tx, struct id org, struct id node, int64_t only,
    struct arena *a, bool *ret_valid, struct str *ret_why, struct error *e)
{
    struct chain c = {"ledger", org, node};
    struct chain_walk walk = {.chain = &c};

    if (chain_walk_begin(tx, &walk, only, e) != ERR_OK ||
        ledger_chain_walk(tx, &walk, only, only == 0 ? INT64_MAX : only, e) != ERR_OK)
        return e->code;
    return chain_walk_told(tx, &walk, only, "ledger entry", a, ret_valid, ret_why, e);
}
