#include "store/usage_row.h"

#include "store/query.h"

static const struct str names[USAGE_GROUP_COUNT] = {
    [USAGE_BY_NOTHING] = STR_INIT(""),
    [USAGE_BY_ORG] = STR_INIT("org"),
    [USAGE_BY_WORKSPACE] = STR_INIT("workspace"),
    [USAGE_BY_MODEL] = STR_INIT("model"),
    [USAGE_BY_PROVIDER] = STR_INIT("provider"),
    [USAGE_BY_CERTAINTY] = STR_INIT("certainty"),
    [USAGE_BY_DAY] = STR_INIT("day"),
};

struct str
usage_group_name(enum usage_group g)
{
    return names[g];
}

bool
usage_group_from_name(struct str name, enum usage_group *ret)
{
    for (int g = USAGE_BY_ORG; g < USAGE_GROUP_COUNT; g++) {
        if (str_equal(names[g], name)) {
            *ret = (enum usage_group)g;
            return true;
        }
    }
    return false;
}

#define KEY(parameter)                                                                             \
    "CASE " parameter " WHEN 'org' THEN org_id WHEN 'workspace' THEN workspace_id WHEN 'model'"    \
    " THEN model_asked WHEN 'provider' THEN provider WHEN 'certainty' THEN certainty WHEN 'day'"   \
    " THEN CAST(opened_ms / 86400000 * 86400000 AS TEXT) ELSE '' END"
#define SUM(column) "CAST(COALESCE(SUM(" column "), 0) AS BIGINT), "
#define COUNT_IF(condition) SUM("CASE WHEN " condition " THEN 1 ELSE 0 END")
/* What was corrected is exact now: its correction takes it off the inexact ones again. */
#define SELECT_SUMS                                                                                \
    "SELECT " KEY("$1") ", " KEY("$2") ", " COUNT_IF("kind = 'call' AND state <> 'failed'")        \
        COUNT_IF("kind = 'call' AND state = 'failed'") SUM(                                        \
            "CASE WHEN kind = 'correction' THEN -1"                                                \
            " WHEN state <> 'failed' AND certainty <> 'exact' THEN 1 ELSE 0 END")                  \
            SUM("input_tokens") SUM("output_tokens") SUM("cache_read_tokens")                      \
                SUM("cache_write_5m_tokens") SUM("cache_write_1h_tokens") SUM("reasoning_tokens")  \
                    SUM("web_searches") "CAST(COALESCE(SUM(cost_nano_usd), 0) AS BIGINT)"          \
                                        " FROM ledger WHERE opened_ms >= $3"                       \
                                        " AND opened_ms < $4"
#define GROUPED " GROUP BY 1, 2 ORDER BY 1, 2 LIMIT $5"

static const char *
sql_for(const struct usage_filter *f)
{
    if (!id_is_zero(f->workspace))
        return SELECT_SUMS " AND org_id = $6 AND workspace_id = $7" GROUPED;
    return id_is_zero(f->org) ? SELECT_SUMS GROUPED : SELECT_SUMS " AND org_id = $6" GROUPED;
}

static struct ledger_totals
decode_totals(struct query *q)
{
    struct ledger_totals t = {.calls = query_get_int(q)};

    t.failed = query_get_int(q);
    t.inexact = query_get_int(q);
    t.usage.input = query_get_int(q);
    t.usage.output = query_get_int(q);
    t.usage.cache_read = query_get_int(q);
    t.usage.cache_write_5m = query_get_int(q);
    t.usage.cache_write_1h = query_get_int(q);
    t.usage.reasoning = query_get_int(q);
    t.usage.web_searches = query_get_int(q);
    t.cost_nano_usd = query_get_int(q);
    return t;
}

enum err
usage_row_list(struct store_tx *tx, const struct usage_filter *f,
    const enum usage_group by[static 2], struct arena *a, struct usage_row **ret, size_t *ret_n,
    struct error *e)
{
    struct query q = query_start(tx, sql_for(f));
    struct usage_row *rows = NULL;
    size_t n = 0;

    query_text(&q, usage_group_name(by[0]));
    query_text(&q, usage_group_name(by[1]));
    query_int(&q, f->from_ms);
    query_int(&q, f->to_ms == 0 ? INT64_MAX : f->to_ms);
    query_int(&q, USAGE_ROWS_MAX);
    if (!id_is_zero(f->org))
        query_id(&q, f->org);
    if (!id_is_zero(f->workspace))
        query_id(&q, f->workspace);
    while (query_row(&q)) {
        struct usage_row r;

        r.key[0] = query_get_text(&q, a);
        r.key[1] = query_get_text(&q, a);
        r.totals = decode_totals(&q);
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
usage_row_label(struct store_tx *tx, enum usage_group by, struct str key, struct arena *a,
    struct str *ret, struct error *e)
{
    struct str label = key;
    struct query q;

    if (by == USAGE_BY_ORG || by == USAGE_BY_WORKSPACE) {
        q = query_start(tx,
            by == USAGE_BY_ORG ? "SELECT slug FROM orgs WHERE id = $1"
                               : "SELECT name FROM workspaces WHERE id = $1");
        query_text(&q, key);
        if (query_row(&q))
            label = query_get_text(&q, a);
        if (query_end(&q, e) != ERR_OK)
            return e->code;
    }
    *ret = label;
    return ERR_OK;
}

enum err
ledger_row_totals(struct store_tx *tx, struct id org, struct id workspace, int64_t from_ms,
    int64_t to_ms, struct ledger_totals *ret, struct error *e)
{
    const struct usage_filter f = {org, workspace, from_ms, to_ms};
    const enum usage_group by[2] = {USAGE_BY_NOTHING, USAGE_BY_NOTHING};
    AUTO_ARENA struct arena a = {0};
    struct usage_row *rows;
    size_t n;

    if (usage_row_list(tx, &f, by, &a, &rows, &n, e) != ERR_OK)
        return e->code;
    *ret = n == 0 ? (struct ledger_totals){0} : rows[0].totals;
    return ERR_OK;
}
