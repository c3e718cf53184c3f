/* The trail: decision records, ledger entries, and whether the chains they stand in hold. */
#include "api/audit.h"

#include "api/params.h"
#include "api/workspace.h"

enum { LIMIT_DEFAULT = 100, LIMIT_MAX = 500, OFFSET_MAX = 1000000 };

json_t *
audit_decision_json(const struct decision_row *d)
{
    json_t *record = json_loadb(d->json.p, d->json.n, 0, NULL);
    json_t *j = json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "type", "decision", "id",
        json_id(d->id), "org_id", json_id(d->org), "workspace_id", json_id(d->workspace), "kind",
        json_str(decision_kind_name(d->kind)), "code", json_str_or_null(d->code), "mode",
        json_str(d->mode));

    json_object_set_new(j, "source", json_str(d->source));
    json_object_set_new(j, "provider", json_str_or_null(d->provider));
    json_object_set_new(j, "model", json_str_or_null(d->model));
    json_object_set_new(j, "runtime", json_str(d->runtime));
    json_object_set_new(j, "created_ms", json_integer(d->created_ms));
    json_object_set_new(j, "node_id", json_id(d->node));
    json_object_set_new(j, "seq", json_integer(d->seq));
    json_object_set_new(j, "hash", json_hex(d->hash, sizeof(d->hash)));
    json_object_set_new(j, "registry_fingerprint",
        json_hex(d->registry_fingerprint, sizeof(d->registry_fingerprint)));
    json_object_set_new(j, "record", record == NULL ? json_null() : record);
    return j;
}

static json_t *
entry_json(const struct ledger_row *row)
{
    const struct ledger_entry *x = &row->entry;
    json_t *j = json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o}", "type", "ledger", "id",
        json_id_bytes(x->call_id), "decision_id", json_id_bytes(x->decision_id), "attempt",
        (json_int_t)x->attempt, "kind", json_str(ledger_kind_name(x->kind)), "state",
        json_str(ledger_state_name(x->state)), "certainty",
        json_str(ledger_certainty_name(x->certainty)));

    json_object_set_new(j, "provider", json_str(str_from_cstr(x->provider)));
    json_object_set_new(j, "model", json_str(str_from_cstr(x->model_asked)));
    json_object_set_new(j, "cost_nano_usd", json_integer(x->cost_nano_usd));
    json_object_set_new(j, "created_ms", json_integer(x->opened_ms));
    json_object_set_new(j, "node_id", json_id(row->node));
    json_object_set_new(j, "seq", json_integer(row->seq));
    json_object_set_new(j, "hash", json_hex(row->hash, sizeof(row->hash)));
    json_object_set_new(j, "registry_fingerprint",
        json_hex(x->registry_fingerprint, sizeof(x->registry_fingerprint)));
    return j;
}

json_t *
audit_page_json(const struct decision_row *rows, size_t n, size_t max)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, audit_decision_json(&rows[i]));
    return json_pack("{s:o, s:o}", "decisions", list, "next",
        n > 0 && n == max ? json_id(rows[n - 1].id) : json_null());
}

/* --- GET /workspaces/:id/audit --------------------------------------------------------------- */

struct trail {
    struct call *c;
    struct audit_filter filter;
    int64_t skip, max;
    struct audit_row *rows;
    size_t n;
    int64_t total;
    bool valid;
    struct str why;
};

static enum err
trail_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct trail *t = ctx;
    struct arena *a = &t->c->http->arena;
    enum err code;

    t->valid = true;
    code = audit_row_list(
        tx, &t->filter, (size_t)t->skip, (size_t)t->max, a, &t->rows, &t->n, &t->total, e);

    /* Not whole chains, which may be long: purser audit verify does. */
    for (size_t i = 0; code == ERR_OK && t->valid && i < t->n; i++)
        code = audit_row_verify(tx, t->c->org, &t->rows[i], a, &t->valid, &t->why, e);
    if (code == ERR_OK && t->valid && t->skip == 0) {
        code = audit_heads_verify(tx, t->c->org, a, &t->why, e);
        t->valid = t->why.n == 0;
    }
    return code;
}

static enum err
trail_read(struct trail *t, struct error *e)
{
    struct workspace_row w;
    enum err code = param_number(t->c, STR("limit"), 1, LIMIT_MAX, &t->max, e);

    if (code == ERR_OK)
        code = param_number(t->c, STR("offset"), 0, OFFSET_MAX, &t->skip, e);
    if (code == ERR_OK)
        code = param_time(t->c, STR("from"), &t->filter.from_ms, e);
    if (code == ERR_OK)
        code = param_time(t->c, STR("to"), &t->filter.to_ms, e);
    if (code == ERR_OK)
        code = workspace_load(t->c, &w, e);
    return code == ERR_OK ? store_read(t->c->api->o.store, trail_tx, t, e) : code;
}

enum err
audit_of_workspace(struct call *c, struct error *e)
{
    struct trail t = {.c = c, .filter = {.org = c->org, .workspace = c->id}, .max = LIMIT_DEFAULT};
    json_t *list, *j;
    enum err code = trail_read(&t, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < t.n; i++)
        json_array_append_new(list,
            t.rows[i].type == AUDIT_DECISION ? audit_decision_json(&t.rows[i].decision)
                                             : entry_json(&t.rows[i].entry));
    j = json_pack("{s:o, s:I, s:I, s:I, s:o}", "events", list, "total", (json_int_t)t.total,
        "limit", (json_int_t)t.max, "offset", (json_int_t)t.skip, "chain_valid",
        json_boolean(t.valid));
    if (!t.valid)
        json_object_set_new(j, "why", json_str(t.why));
    return call_answer(c, 200, j);
}

/* --- GET /admin/audit/decisions -------------------------------------------------------------- */

struct records {
    struct call *c;
    struct decision_filter filter;
    int64_t max;
    struct decision_row *rows;
    size_t n;
};

static enum err
records_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct records *r = ctx;

    /* Nobody chose an org: the workspace says which. */
    if (!id_is_zero(r->filter.workspace) && id_is_zero(r->filter.org) &&
        workspace_row_find_org(tx, r->filter.workspace, &r->filter.org, e) != ERR_OK)
        return call_not_found(e->code, "workspace not found", e);
    return decision_row_list(
        tx, &r->filter, (size_t)r->max, &r->c->http->arena, &r->rows, &r->n, e);
}

enum err
audit_decisions(struct call *c, struct error *e)
{
    struct records r = {.c = c, .filter = {.org = c->org}, .max = LIMIT_DEFAULT};
    enum err code = param_number(c, STR("limit"), 1, LIMIT_MAX, &r.max, e);

    if (code == ERR_OK)
        code = param_id(c, STR("workspace"), &r.filter.workspace, e);
    if (code == ERR_OK)
        code = param_id(c, STR("before"), &r.filter.before, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, records_tx, &r, e);
    return code == ERR_OK ? call_answer(c, 200, audit_page_json(r.rows, r.n, (size_t)r.max)) : code;
}
