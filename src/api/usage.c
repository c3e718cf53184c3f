/* What calls were made and what they cost, as the ledger has it. */
#include "api/workspace.h"
#include "core/num.h"
#include "store/ledger_row.h"
#include "store/org_row.h"

enum { ENTRIES_DEFAULT = 100, ENTRIES_MAX = 1000 };

struct usage_read {
    struct call *c;
    struct id org;
    struct id workspace; /* zero: all of the org's */
    int64_t from_ms, to_ms;
    size_t max;
    struct ledger_totals totals;
    struct ledger_row *rows;
    size_t n;
    struct org_row *orgs;
    struct ledger_totals *org_totals;
    size_t orgs_n;
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
}

static void
totals_fields(json_t *j, const struct ledger_totals *t)
{
    json_object_set_new(j, "calls", json_integer(t->calls));
    json_object_set_new(j, "failed", json_integer(t->failed));
    json_object_set_new(j, "inexact", json_integer(t->inexact));
    usage_fields(j, &t->usage);
    json_object_set_new(j, "cost_nano_usd", json_integer(t->cost_nano_usd));
}

static json_t *
entry_json(const struct ledger_row *row)
{
    const struct ledger_entry *x = &row->entry;
    struct id call, workspace;
    json_t *j;

    memcpy(call.b, x->call_id, sizeof(call.b));
    memcpy(workspace.b, x->workspace_id, sizeof(workspace.b));
    j = json_pack("{s:o, s:o, s:I, s:o, s:o, s:o}", "call_id", json_id(call), "workspace_id",
        json_id(workspace), "attempt", (json_int_t)x->attempt, "kind",
        json_str(ledger_kind_name(x->kind)), "state", json_str(ledger_state_name(x->state)),
        "certainty", json_str(ledger_certainty_name(x->certainty)));
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
    json_object_set_new(j, "registry_fingerprint",
        json_hex(x->registry_fingerprint, sizeof(x->registry_fingerprint)));
    return j;
}

static enum err
number_query(struct call *c, struct str name, int64_t max, int64_t *ret, struct error *e)
{
    struct str text;
    int64_t n = 0;

    if (!http_query_get(c->http, name, &text))
        return ERR_OK;
    if (!num_parse_i64(text, &n) || n < 0 || n > max)
        return fail(e, ERR_INVALID_REQUEST, "?%.*s= is a number from 0", STR_ARG(name));
    *ret = n;
    return ERR_OK;
}

static enum err
window_read(struct usage_read *u, struct error *e)
{
    int64_t limit = ENTRIES_DEFAULT;
    enum err code = number_query(u->c, STR("from_ms"), INT64_MAX, &u->from_ms, e);

    if (code == ERR_OK)
        code = number_query(u->c, STR("to_ms"), INT64_MAX, &u->to_ms, e);
    if (code == ERR_OK)
        code = number_query(u->c, STR("limit"), ENTRIES_MAX, &limit, e);
    u->max = (size_t)limit;
    return code;
}

static enum err
org_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct usage_read *u = ctx;
    enum err code =
        ledger_row_totals(tx, u->org, u->workspace, u->from_ms, u->to_ms, &u->totals, e);

    if (code != ERR_OK)
        return code;
    return ledger_row_list(
        tx, u->org, u->workspace, u->max, &u->c->http->arena, &u->rows, &u->n, e);
}

static enum err
all_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct usage_read *u = ctx;
    struct arena *a = &u->c->http->arena;
    enum err code = org_row_list(tx, a, &u->orgs, &u->orgs_n, e);

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

enum err
usage_of_workspace(struct call *c, struct error *e)
{
    struct usage_read u = {.c = c, .org = c->org, .workspace = c->id};
    struct workspace_row w;
    json_t *j;
    enum err code = window_read(&u, e);

    if (code == ERR_OK)
        code = workspace_load(c, &w, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, org_tx, &u, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o}", "workspace_id", json_id(c->id));
    totals_fields(j, &u.totals);
    json_object_set_new(j, "entries", entries_json(&u));
    return call_answer(c, 200, j);
}

static enum err
usage_of_all(struct usage_read *u, struct error *e)
{
    struct call *c = u->c;
    json_t *list;
    enum err code = store_read(c->api->o.store, all_tx, u, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < u->orgs_n; i++) {
        json_t *j = json_pack(
            "{s:o, s:o}", "org_id", json_id(u->orgs[i].id), "slug", json_str(u->orgs[i].slug));

        totals_fields(j, &u->org_totals[i]);
        json_array_append_new(list, j);
    }
    return call_answer(c, 200, json_pack("{s:o}", "orgs", list));
}

enum err
usage_of_org(struct call *c, struct error *e)
{
    struct usage_read u = {.c = c, .org = c->org};
    json_t *j;
    enum err code = window_read(&u, e);

    if (code == ERR_OK && id_is_zero(c->org))
        return usage_of_all(&u, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, org_tx, &u, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o}", "org_id", json_id(c->org));
    totals_fields(j, &u.totals);
    json_object_set_new(j, "entries", entries_json(&u));
    return call_answer(c, 200, j);
}
