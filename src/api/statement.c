/* The monthly statement of an org: what its calls cost, by workspace and model, and how surely. */
#include "api/params.h"
#include "api/usage.h"
#include "store/org_row.h"

enum { SETTLING_MS = 60 * 60 * 1000 };

struct statement {
    struct call *c;
    struct usage_filter filter;
    struct org_row org;
    struct ledger_totals totals;
    int64_t pruned_until_ms;
    struct usage_row *lines, *certainties;
    struct str *names;
    size_t lines_n, certainties_n;
};

static enum err
statement_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    static const enum usage_group lines[2] = {USAGE_BY_WORKSPACE, USAGE_BY_MODEL};
    static const enum usage_group certainties[2] = {USAGE_BY_CERTAINTY, USAGE_BY_NOTHING};
    struct statement *s = ctx;
    struct arena *a = &s->c->http->arena;
    const struct usage_filter *f = &s->filter;
    enum err code = org_row_get(tx, f->org, a, &s->org, e);

    if (code == ERR_OK)
        code = ledger_row_totals(tx, f->org, f->workspace, f->from_ms, f->to_ms, &s->totals, e);
    if (code == ERR_OK)
        code = anchor_row_ledger_until(tx, f->org, &s->pruned_until_ms, e);
    if (code == ERR_OK)
        code = usage_row_list(tx, f, lines, a, &s->lines, &s->lines_n, e);
    if (code == ERR_OK)
        code = usage_row_list(tx, f, certainties, a, &s->certainties, &s->certainties_n, e);
    if (code != ERR_OK)
        return code;
    s->names = arena_array(a, s->lines_n + 1, sizeof(*s->names));
    for (size_t i = 0; code == ERR_OK && i < s->lines_n; i++)
        code = usage_row_label(tx, USAGE_BY_WORKSPACE, s->lines[i].key[0], a, &s->names[i], e);
    return code;
}

static json_t *
lines_json(const struct statement *s)
{
    json_t *list = json_array();

    for (size_t i = 0; i < s->lines_n; i++) {
        json_t *j = json_object();

        usage_group_fields(j, USAGE_BY_WORKSPACE, s->lines[i].key[0], s->names[i]);
        usage_group_fields(j, USAGE_BY_MODEL, s->lines[i].key[1], STR_NONE);
        usage_totals_fields(j, &s->lines[i].totals);
        json_array_append_new(list, j);
    }
    return list;
}

static json_t *
certainties_json(const struct statement *s)
{
    json_t *o = json_object();

    for (size_t i = 0; i < s->certainties_n; i++)
        json_object_set_new(o, arena_cstr(&s->c->http->arena, s->certainties[i].key[0]),
            json_integer(s->certainties[i].totals.cost_nano_usd));
    return o;
}

enum err
usage_statement(struct call *c, struct error *e)
{
    struct statement s = {.c = c, .filter = {.org = c->org}};
    struct str month;
    json_t *j;
    enum err code;

    if (!http_query_get(c->http, STR("month"), &month))
        return fail(e, ERR_INVALID_REQUEST, "?month= is needed, as in 2026-11");
    code = param_month(month, &s.filter.from_ms, &s.filter.to_ms, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, statement_tx, &s, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o, s:o, s:o, s:o, s:I, s:I}", "org_id", json_id(c->org), "slug",
        json_str(s.org.slug), "name", json_str(s.org.name), "month", json_str(month), "from_ms",
        (json_int_t)s.filter.from_ms, "to_ms", (json_int_t)s.filter.to_ms);
    /* A call may run on into the next month and is booked when it ends. */
    json_object_set_new(j, "complete",
        json_boolean(
            clock_ms() > s.filter.to_ms + SETTLING_MS && s.pruned_until_ms <= s.filter.from_ms));
    usage_pruned_field(j, s.pruned_until_ms, s.filter.from_ms);
    usage_totals_fields(j, &s.totals);
    json_object_set_new(j, "cost_by_certainty_nano_usd", certainties_json(&s));
    json_object_set_new(j, "lines", lines_json(&s));
    if (s.lines_n == USAGE_ROWS_MAX)
        json_object_set_new(j, "truncated", json_true());
    return call_answer(c, 200, j);
}
