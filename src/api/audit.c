/* The trail: decision records, ledger entries, and whether the chains they stand in hold. */
#include "api/audit.h"

#include "api/workspace.h"
#include "core/num.h"

#include <time.h>

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
bytes_id(const uint8_t bytes[static 16])
{
    struct id id;

    memcpy(id.b, bytes, sizeof(id.b));
    return json_id(id);
}

static json_t *
entry_json(const struct ledger_row *row)
{
    const struct ledger_entry *x = &row->entry;
    json_t *j = json_pack("{s:s, s:o, s:o, s:I, s:o, s:o, s:o}", "type", "ledger", "id",
        bytes_id(x->call_id), "decision_id", bytes_id(x->decision_id), "attempt",
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

json_t *
audit_chains_json(const struct audit_chain *chains, size_t n)
{
    json_t *list = json_array();
    bool valid = true;

    for (size_t i = 0; i < n; i++) {
        const struct audit_chain *c = &chains[i];

        valid = valid && c->valid;
        json_array_append_new(list,
            json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:b, s:o}", "chain",
                json_str(audit_type_name(c->type)), "org_id", json_id(c->org), "org_slug",
                json_str_or_null(c->slug), "node_id", json_id(c->node), "entries",
                (json_int_t)c->entries, "head", json_hex(c->head, sizeof(c->head)), "valid",
                (int)c->valid, "why", json_str_or_null(c->why)));
    }
    return json_pack("{s:b, s:o, s:s}", "valid", (int)valid, "chains", list, "cannot_show",
        "A chain shows every change to what stands between its first entry and its head. It cannot "
        "show that the newest entries were cut off together with the head, or that a whole chain "
        "was dropped, put back from an older copy or computed anew: for that, compare entries and "
        "head with those of an earlier look that was kept elsewhere.");
}

/* --- GET /workspaces/:id/audit --------------------------------------------------------------- */

struct trail {
    struct call *c;
    struct audit_filter filter;
    size_t skip, max;
    struct audit_row *rows;
    size_t n;
    int64_t total;
    struct audit_chain *chains;
    size_t chains_n;
};

static enum err
trail_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct trail *t = ctx;
    struct arena *a = &t->c->http->arena;
    enum err code =
        audit_row_list(tx, &t->filter, t->skip, t->max, a, &t->rows, &t->n, &t->total, e);

    /* Walking the chains costs as much as they are long: once, for the first page. */
    if (code == ERR_OK && t->skip == 0)
        code = audit_chain_list(tx, t->c->org, a, &t->chains, &t->chains_n, e);
    return code;
}

static enum err
number_query(
    struct call *c, struct str name, uint64_t min, uint64_t max, size_t *ret, struct error *e)
{
    struct str text;
    uint64_t n;

    if (!http_query_get(c->http, name, &text))
        return ERR_OK;
    if (!num_parse_u64(text, &n) || n < min || n > max)
        return fail(e, ERR_INVALID_REQUEST, "?%.*s= is a number from %llu to %llu", STR_ARG(name),
            (unsigned long long)min, (unsigned long long)max);
    *ret = (size_t)n;
    return ERR_OK;
}

/* RFC 3339: date, time, perhaps a fraction (it is cut), Z or an offset. */
static bool
rfc3339_parse(struct arena *a, struct str text, int64_t *ret)
{
    struct tm tm = {0};
    char *rest = strptime(arena_cstr(a, text), "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t seconds;

    if (rest == NULL)
        return false;
    seconds = timegm(&tm);
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest == '+' || *rest == '-') {
        int64_t sign = *rest == '+' ? 1 : -1;

        memset(&tm, 0, sizeof(tm));
        rest = strptime(rest + 1, "%H:%M", &tm);
        if (rest == NULL || *rest != '\0')
            return false;
        seconds -= sign * (tm.tm_hour * 3600 + tm.tm_min * 60);
    } else if (strcmp(rest, "Z") != 0) {
        return false;
    }
    *ret = seconds * 1000;
    return seconds >= 0;
}

/* Unix milliseconds, or RFC 3339 as "2026-11-22T04:28:00Z". */
static enum err
time_query(struct call *c, struct str name, int64_t *ret, struct error *e)
{
    struct str text;

    if (!http_query_get(c->http, name, &text))
        return ERR_OK;
    if (num_parse_i64(text, ret) ? *ret >= 0 : rfc3339_parse(&c->http->arena, text, ret))
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST,
        "?%.*s= is a time: Unix milliseconds, or RFC 3339 (2026-11-22T04:28:00Z)", STR_ARG(name));
}

static enum err
trail_read(struct trail *t, struct error *e)
{
    struct workspace_row w;
    enum err code = number_query(t->c, STR("limit"), 1, LIMIT_MAX, &t->max, e);

    if (code == ERR_OK)
        code = number_query(t->c, STR("offset"), 0, OFFSET_MAX, &t->skip, e);
    if (code == ERR_OK)
        code = time_query(t->c, STR("from"), &t->filter.from_ms, e);
    if (code == ERR_OK)
        code = time_query(t->c, STR("to"), &t->filter.to_ms, e);
    if (code == ERR_OK)
        code = workspace_load(t->c, &w, e);
    return code == ERR_OK ? store_read(t->c->api->o.store, trail_tx, t, e) : code;
}

enum err
audit_of_workspace(struct call *c, struct error *e)
{
    struct trail t = {.c = c, .filter = {.org = c->org, .workspace = c->id}, .max = LIMIT_DEFAULT};
    const struct audit_chain *bad = NULL;
    json_t *list, *j;
    enum err code = trail_read(&t, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < t.n; i++)
        json_array_append_new(list,
            t.rows[i].type == AUDIT_DECISION ? audit_decision_json(&t.rows[i].decision)
                                             : entry_json(&t.rows[i].entry));
    for (size_t i = 0; i < t.chains_n && bad == NULL; i++)
        bad = t.chains[i].valid ? NULL : &t.chains[i];
    j = json_pack("{s:o, s:I, s:I, s:I, s:o}", "events", list, "total", (json_int_t)t.total,
        "limit", (json_int_t)t.max, "offset", (json_int_t)t.skip, "chain_valid",
        t.skip > 0 ? json_null() : json_boolean(bad == NULL));
    if (bad != NULL)
        json_object_set_new(j, "why", json_str(bad->why));
    return call_answer(c, 200, j);
}

/* --- GET /admin/audit/decisions, GET /admin/audit/verify ------------------------------------- */

struct records {
    struct call *c;
    struct decision_filter filter;
    size_t max;
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
    return decision_row_list(tx, &r->filter, r->max, &r->c->http->arena, &r->rows, &r->n, e);
}

static enum err
id_query(struct call *c, struct str name, struct id *ret, struct error *e)
{
    struct str text;

    if (http_query_get(c->http, name, &text) && !id_parse(text, ret))
        return fail(e, ERR_INVALID_REQUEST, "?%.*s= is an id", STR_ARG(name));
    return ERR_OK;
}

enum err
audit_decisions(struct call *c, struct error *e)
{
    struct records r = {.c = c, .filter = {.org = c->org}, .max = LIMIT_DEFAULT};
    enum err code = number_query(c, STR("limit"), 1, LIMIT_MAX, &r.max, e);

    if (code == ERR_OK)
        code = id_query(c, STR("workspace"), &r.filter.workspace, e);
    if (code == ERR_OK)
        code = id_query(c, STR("before"), &r.filter.before, e);
    if (code == ERR_OK)
        code = store_read(c->api->o.store, records_tx, &r, e);
    return code == ERR_OK ? call_answer(c, 200, audit_page_json(r.rows, r.n, r.max)) : code;
}

struct chains {
    struct call *c;
    struct audit_chain *rows;
    size_t n;
};

static enum err
chains_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *x = ctx;

    return audit_chain_list(tx, x->c->org, &x->c->http->arena, &x->rows, &x->n, e);
}

enum err
audit_verify(struct call *c, struct error *e)
{
    struct chains x = {.c = c};
    enum err code = store_read(c->api->o.store, chains_tx, &x, e);

    return code == ERR_OK ? call_answer(c, 200, audit_chains_json(x.rows, x.n)) : code;
}
