/* What calls were made and what they cost, as the ledger has it. */
#include "api/usage.h"

#include "api/params.h"
#include "api/workspace.h"
#include "core/num.h"
#include "store/org_row.h"

enum { ENTRIES_DEFAULT = 100, ENTRIES_MAX = 1000 };

struct usage_read {
    struct call *c;
    struct id org;
    struct id workspace; /* zero: all of the org's */
    int64_t from_ms, to_ms;
    size_t max;
    int64_t pruned_until_ms;
    struct ledger_totals totals;
    struct ledger_row *rows;
    size_t n;
    struct org_row *orgs;
    struct ledger_totals *org_totals;
    size_t orgs_n;
    enum usage_group by[2];
    struct usage_row *groups;
    struct str (*labels)[2];
    size_t groups_n;
};

static void
usage_fields(json_t *j, const struct usage *u)
{
    json_object_set_new(j, "input_tokens", json_integer(u->input));
    json_object_set_new(j, "output_tokens", json_integer(u->output));
    json_object_set_new(j, "cache_read_tokens", json_integer(u->cache_read));
    json_object_set_new(j, "cache_write_5m_tokens", json_integer(u->cache_write_5m));
    json_object_set_new(j, "cache_write_1h_tokens", json_integer(u->cache_write_1h));
    json_object_set_new(j, "reasoning_tokens", json_integer(u->reasoning));
    json_object_set_new(j, "web_searches", json_integer(u->web_searches));
}

void
usage_totals_fields(json_t *j, const struct ledger_totals *t)
{
    json_object_set_new(j, "calls", json_integer(t->calls));
    json_object_set_new(j, "failed", json_integer(t->failed));
    json_object_set_new(j, "inexact", json_integer(t->inexact));
    usage_fields(j, &t->usage);
    json_object_set_new(j, "cost_nano_usd", json_integer(t->cost_nano_usd));
}

void
usage_pruned_field(json_t *j, int64_t until_ms, int64_t from_ms)
{
    json_object_set_new(
        j, "pruned_before_ms", until_ms > from_ms ? json_integer(until_ms) : json_null());
}

static json_t *
price_json(const struct price *p)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "from_ms", (json_int_t)p->from_ms,
        "above_tokens", (json_int_t)p->above_tokens, "input", (json_int_t)p->input, "output",
        (json_int_t)p->output, "cache_read", (json_int_t)p->cache_read, "cache_write_5m",
        (json_int_t)p->cache_write_5m, "cache_write_1h", (json_int_t)p->cache_write_1h,
        "web_search", (json_int_t)p->web_search);
}

static json_t *
entry_json(const struct ledger_row *row)
{
    const struct ledger_entry *x = &row->entry;
    json_t *j;

    j = json_pack("{s:o, s:o, s:I, s:o, s:o, s:o}", "call_id", json_id_bytes(x->call_id),
        "workspace_id", json_id_bytes(x->workspace_id), "attempt", (json_int_t)x->attempt, "kind",
        json_str(ledger_kind_name(x->kind)), "state", json_str(ledger_state_name(x->state)),
        "certainty", json_str(ledger_certainty_name(x->certainty)));
    json_object_set_new(j, "estimated_by", json_str_or_null(ledger_estimate_name(x->estimate)));
    json_object_set_new(j, "token_id", json_id_bytes(x->token_id));
    json_object_set_new(j, "decision_id", json_id_bytes(x->decision_id));
    json_object_set_new(j, "platform_key_id", json_id_bytes(x->key_id));
    json_object_set_new(j, "provider", json_str(str_from_cstr(x->provider)));
    json_object_set_new(j, "model_asked", json_str(str_from_cstr(x->model_asked)));
    json_object_set_new(j, "model_vendor", json_str(str_from_cstr(x->model_vendor)));
    json_object_set_new(j, "model_answered", json_str_or_null(str_from_cstr(x->model_answered)));
    json_object_set_new(j, "dialect", json_str(dialect_name(x->dialect)));
    json_object_set_new(
        j, "vendor_status", x->vendor_status == 0 ? json_null() : json_integer(x->vendor_status));
    json_object_set_new(j, "opened_ms", json_integer(x->opened_ms));
    json_object_set_new(j, "first_byte_ms", json_ms(x->first_byte_ms));
    json_object_set_new(j, "closed_ms", json_ms(x->closed_ms));
    usage_fields(j, &x->usage);
    json_object_set_new(j, "cost_nano_usd", json_integer(x->cost_nano_usd));
    json_object_set_new(j, "bound_nano_usd", json_integer(x->bound_nano_usd));
    json_object_set_new(j, "price_micro_usd_per_million", price_json(&x->price));
    json_object_set_new(j, "registry_fingerprint",
        json_hex(x->registry_fingerprint, sizeof(x->registry_fingerprint)));
    return j;
}

/* "workspace" or "workspace,day". */
static enum err
groups_read(struct usage_read *u, struct error *e)
{
    struct str text;
    size_t comma;

    if (!http_query_get(u->c->http, STR("group_by"), &text))
        return ERR_OK;
    comma = str_find_char(text, ',');
    if (usage_group_from_name(str_slice(text, 0, comma), &u->by[0]) &&
        (comma == text.n || usage_group_from_name(str_slice(text, comma + 1, text.n), &u->by[1])))
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST,
        "?group_by= is one or two (a comma between) of org, workspace, model, provider, certainty, "
        "day");
}

static enum err
window_read(struct usage_read *u, struct error *e)
{
    int64_t limit = ENTRIES_DEFAULT;
    enum err code = param_number(u->c, STR("from_ms"), 0, INT64_MAX, &u->from_ms, e);

    if (code == ERR_OK)
        code = param_number(u->c, STR("to_ms"), 0, INT64_MAX, &u->to_ms, e);
    if (code == ERR_OK)
        code = param_time(u->c, STR("from"), &u->from_ms, e);
    if (code == ERR_OK)
        code = param_time(u->c, STR("to"), &u->to_ms, e);
    if (code == ERR_OK)
        code = param_number(u->c, STR("limit"), 0, ENTRIES_MAX, &limit, e);
    if (code == ERR_OK)
        code = groups_read(u, e);
    u->max = (size_t)limit;
    return code;
}

static enum err
org_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct usage_read *u = ctx;
    enum err code =
        ledger_row_totals(tx, u->org, u->workspace, u->from_ms, u->to_ms, &u->totals, e);

    if (code == ERR_OK)
        code = anchor_row_ledger_until(tx, u->org, &u->pruned_until_ms, e);
    if (code != ERR_OK)
        return code;
    return ledger_row_list_between(tx, u->org, u->workspace, u->from_ms, u->to_ms, u->max,
        &u->c->http->arena, &u->rows, &u->n, e);
}

static enum err
all_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct usage_read *u = ctx;
    struct arena *a = &u->c->http->arena;
    enum err code = org_row_list(tx, a, &u->orgs, &u->orgs_n, e);

    if (code == ERR_OK)
        code = anchor_row_ledger_until(tx, u->org, &u->pruned_until_ms, e);
    if (code != ERR_OK)
        return code;
    u->org_totals = arena_array(a, u->orgs_n + 1, sizeof(*u->org_totals));
    for (size_t i = 0; code == ERR_OK && i < u->orgs_n; i++) {
        code = ledger_row_totals(
            tx, u->orgs[i].id, (struct id){0}, u->from_ms, u->to_ms, &u->org_totals[i], e);
    }
    return code;
}

static json_t *
entries_json(const struct usage_read *u)
{
    json_t *list = json_array();

    for (size_t i = 0; i < u->n; i++)
        json_array_append_new(list, entry_json(&u->rows[i]));
    return list;
}

/* --- grouped ---------------------------------------------------------------------------------- */

static enum err
groups_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct usage_read *u = ctx;
    struct arena *a = &u->c->http->arena;
    const struct usage_filter f = {u->org, u->workspace, u->from_ms, u->to_ms};
    enum err code = usage_row_list(tx, &f, u->by, a, &u->groups, &u->groups_n, e);

    if (code == ERR_OK)
        code = anchor_row_ledger_until(tx, u->org, &u->pruned_until_ms, e);
    if (code != ERR_OK)
        return code;
    u->labels = arena_array(a, u->groups_n + 1, sizeof(*u->labels));
    for (size_t i = 0; code == ERR_OK && i < u->groups_n; i++) {
        for (int k = 0; code == ERR_OK && k < 2; k++)
            code = usage_row_label(tx, u->by[k], u->groups[i].key[k], a, &u->labels[i][k], e);
    }
    return code;
}

void
usage_group_fields(json_t *j, enum usage_group by, struct str key, struct str label)
{
    int64_t ms = 0;

    switch (by) {
    case USAGE_BY_NOTHING:
    case USAGE_GROUP_COUNT:
        return;
    case USAGE_BY_ORG:
        json_object_set_new(j, "org_id", json_str(key));
        json_object_set_new(j, "slug", json_str(label));
        return;
    case USAGE_BY_WORKSPACE:
        json_object_set_new(j, "workspace_id", json_str(key));
        json_object_set_new(j, "workspace_name", json_str(label));
        return;
    case USAGE_BY_DAY:
        (void)num_parse_i64(key, &ms);
        json_object_set_new(j, "day_ms", json_integer(ms));
        return;
    case USAGE_BY_MODEL:
    case USAGE_BY_PROVIDER:
    case USAGE_BY_CERTAINTY:
        json_object_set_new(j, usage_group_name(by).p, json_str(key));
        return;
    }
}

static enum err
usage_grouped(struct usage_read *u, struct error *e)
{
    json_t *list, *j;
    enum err code = store_read(u->c->api->o.store, groups_tx, u, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < u->groups_n; i++) {
        json_t *row = json_object();

        for (int k = 0; k < 2; k++)
            usage_group_fields(row, u->by[k], u->groups[i].key[k], u->labels[i][k]);
        usage_totals_fields(row, &u->groups[i].totals);
        json_array_append_new(list, row);
    }
    j = json_pack("{s:I, s:o, s:o}", "from_ms", (json_int_t)u->from_ms, "to_ms", json_ms(u->to_ms),
        "groups", list);
    usage_pruned_field(j, u->pruned_until_ms, u->from_ms);
    if (u->groups_n == USAGE_ROWS_MAX)
        json_object_set_new(j, "truncated", json_true());
    return call_answer(u->c, 200, j);
}

enum err
usage_of_workspace(struct call *c, struct error *e)
{
    struct usage_read u = {.c = c, .org = c->org, .workspace = c->id};
    struct workspace_row w;
    json_t *j;
    enum err code = window_read(&u, e);

    if (code == ERR_OK)
        code = workspace_load(c, &w, e);
    if (code == ERR_OK && u.by[0] != USAGE_BY_NOTHING)
        return usage_grouped(&u, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, org_tx, &u, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o}", "workspace_id", json_id(c->id));
    usage_totals_fields(j, &u.totals);
    usage_pruned_field(j, u.pruned_until_ms, u.from_ms);
    json_object_set_new(j, "entries", entries_json(&u));
    return call_answer(c, 200, j);
}

static enum err
usage_of_all(struct usage_read *u, struct error *e)
{
    struct call *c = u->c;
    json_t *list, *answer;
    enum err code = store_read(c->api->o.store, all_tx, u, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < u->orgs_n; i++) {
        json_t *j = json_pack(
            "{s:o, s:o}", "org_id", json_id(u->orgs[i].id), "slug", json_str(u->orgs[i].slug));

        usage_totals_fields(j, &u->org_totals[i]);
        json_array_append_new(list, j);
    }
    answer = json_pack("{s:o}", "orgs", list);
    usage_pruned_field(answer, u->pruned_until_ms, u->from_ms);
    return call_answer(c, 200, answer);
}

enum err
usage_of_org(struct call *c, struct error *e)
{
    struct usage_read u = {.c = c, .org = c->org};
    json_t *j;
    enum err code = window_read(&u, e);

    if (code == ERR_OK && u.by[0] != USAGE_BY_NOTHING)
        return usage_grouped(&u, e);
    if (code == ERR_OK && id_is_zero(c->org))
        return usage_of_all(&u, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, org_tx, &u, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o}", "org_id", json_id(c->org));
    usage_totals_fields(j, &u.totals);
    usage_pruned_field(j, u.pruned_until_ms, u.from_ms);
    json_object_set_new(j, "entries", entries_json(&u));
    return call_answer(c, 200, j);
}
