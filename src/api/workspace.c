/* Workspaces as rows: list, get, patch, state, and the actions start, stop, restart. */
#include "api/workspace.h"

#include "api/agent.h"
#include "api/budget.h"
#include "api/care.h"
#include "api/family.h"
#include "api/heartbeat.h"
#include "api/isolation.h"
#include "api/plan.h"
#include "api/wish.h"
#include "api/workspace_fields.h"
#include "base/buf.h"
#include "registry/explain.h"

enum { LOG_DEFAULT_BYTES = 64 * 1024, LOG_MAX_BYTES = 1024 * 1024 };

static json_t *
list_value(struct str json)
{
    json_t *j = json_loadb(json.p, json.n, 0, NULL);

    return j == NULL ? json_array() : j;
}

/* An object's text, as the store keeps it. */
static json_t *
object_value(struct str json)
{
    json_t *j = json_loadb(json.p, json.n, 0, NULL);

    return j == NULL ? json_object() : j;
}

json_t *
workspace_json(const struct call *c, const struct workspace_row *w)
{
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
        json_id(w->id), "org_id", json_id(w->org), "name", json_str(w->name), "role",
        json_str(w->role), "runtime", json_str(w->runtime), "status",
        json_str(workspace_status_name(w->status)), "desired",
        json_str(workspace_desired_name(w->desired)), "parent_id", json_id(w->parent), "url",
        json_str_or_null(w->url), "workspace_dir", json_str_or_null(w->workspace_dir));

    json_object_set_new(j, "command", list_value(w->command));
    json_object_set_new(j, "extra_models", list_value(w->extra_models));
    json_object_set_new(j, "required_env", list_value(w->required_env));
    json_object_set_new(
        j, "budget_limit", w->has_budget_limit ? json_integer(w->budget_limit_cents) : json_null());
    json_object_set_new(j, "last_error",
        w->last_error_code.n == 0 ? json_null()
                                  : json_pack("{s:o, s:o}", "code", json_str(w->last_error_code),
                                        "error", json_str(w->last_error)));
    care_json(c->api, call_registry(c), w, j);
    json_object_set_new(j, "launch", object_value(w->launch));
    json_object_set_new(j, "restarts", json_integer(w->restarts));
    json_object_set_new(
        j, "start_due_at", w->start_due_ms == 0 ? json_null() : json_integer(w->start_due_ms));
    json_object_set_new(j, "created_at", json_integer(w->created_ms));
    json_object_set_new(j, "updated_at", json_integer(w->updated_ms));
    return j;
}

struct load {
    struct call *c;
    struct workspace_row w;
};

static enum err
load_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct load *l = ctx;

    return workspace_row_get(tx, l->c->org, l->c->id, &l->c->http->arena, &l->w, e);
}

enum err
workspace_load(struct call *c, struct workspace_row *ret, struct error *e)
{
    struct load l = {.c = c};
    enum err code = store_read(c->api->o.store, load_tx, &l, e);

    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (l.w.status == WORKSPACE_REMOVED) {
        call_error_field(c, "id", json_id(c->id));
        return fail(e, ERR_GONE, "workspace removed");
    }
    *ret = l.w;
    return ERR_OK;
}

struct list {
    struct call *c;
    struct workspace_row *rows;
    size_t n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct list *l = ctx;

    return workspace_row_list(tx, l->c->org, &l->c->http->arena, &l->rows, &l->n, e);
}

enum err
workspace_list(struct call *c, struct error *e)
{
    struct list l = {.c = c};
    enum err code = store_read(c->api->o.store, list_tx, &l, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < l.n; i++)
        json_array_append_new(list, workspace_json(c, &l.rows[i]));
    return call_answer(c, 200, list);
}

enum err
workspace_get(struct call *c, struct error *e)
{
    static const char *const copied[] = {"model", "resolved_mode", "source", "warnings"};
    struct gather_request q = {.caller = GATHER_READ, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    const struct billing_decision *d = &g.decision;
    struct workspace_row w;
    json_t *j, *decision, *heard = NULL;
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = heartbeat_json(c, w.id, &heard, e);
    if (code != ERR_OK)
        return code;
    code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);
    if (code != ERR_OK) {
        json_decref(heard);
        return code;
    }
    j = workspace_json(c, &w);
    json_object_set_new(j, "agent", heard);
    json_object_set_new(j, "provider",
        d->provider == NULL ? json_null()
                            : json_str(registry_str(call_registry(c), d->provider->name)));
    decision = explain_json(&g.facts, d, NULL);
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
        json_object_set(j, copied[i], json_object_get(decision, copied[i]));
    json_decref(decision);
    return call_answer(c, 200, j);
}

struct patch {
    struct call *c;
    struct workspace_row w;
    bool renamed;
    bool budget;
};

static enum err
patch_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct patch *p = ctx;
    enum err code = family_check(tx, &p->c->http->arena, &p->w, e);

    if (code == ERR_OK && p->renamed)
        code = workspace_name_check(tx, &p->c->http->arena, &p->w, e);
    if (code == ERR_OK)
        code = workspace_row_update(tx, &p->w, e);
    return code == ERR_OK && p->budget ? budget_put_monthly(tx, &p->w, e) : code;
}

enum err
workspace_patch(struct call *c, struct error *e)
{
    struct patch p = {.c = c};
    struct str name, runtime, dir, command;
    bool restart;
    json_t *j;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = workspace_load(c, &p.w, e);
    if (code != ERR_OK)
        return code;
    name = p.w.name;
    runtime = p.w.runtime;
    dir = p.w.workspace_dir;
    command = p.w.command;
    p.budget = json_object_get(c->body, "budget_limit") != NULL;
    if (p.budget && (c->principal.who & WHO_SELF) != 0)
        return fail(e, ERR_WRONG_CREDENTIAL_KIND,
            "a workspace may not change its own budget: that is for the org or the admin");
    code = workspace_fields_read(c, &p.w, e);
    p.renamed = !str_equal(name, p.w.name);
    if (code == ERR_OK && p.w.runtime.n == 0)
        return fail(e, ERR_INVALID_REQUEST, "a workspace needs a runtime");
    if (code == ERR_OK)
        code = store_tx(c->api->o.store, patch_tx, &p, e);
    if (code == ERR_OK && p.budget)
        code = budgets_changed(c->api, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    restart = !str_equal(runtime, p.w.runtime) || !str_equal(dir, p.w.workspace_dir) ||
        !str_equal(command, p.w.command);
    j = json_pack("{s:s}", "status", "updated");
    if (restart)
        json_object_set_new(j, "needs_restart", json_true());
    return call_answer(c, 200, j);
}

enum err
workspace_state(struct call *c, struct error *e)
{
    struct load l = {.c = c};
    enum err code = store_read(c->api->o.store, load_tx, &l, e);
    bool removed = code == ERR_OK && l.w.status == WORKSPACE_REMOVED;

    if (code == ERR_NOT_FOUND || removed) {
        call_error_field(c, "workspace_id", json_id(c->id));
        call_error_field(c, "deleted", json_true());
        if (removed)
            call_error_field(c, "status", json_string("removed"));
        return fail(e, ERR_NOT_FOUND, "workspace not found");
    }
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:o, s:o, s:o, s:b, s:b}", "workspace_id", json_id(c->id), "status",
            json_str(workspace_status_name(l.w.status)), "desired",
            json_str(workspace_desired_name(l.w.desired)), "paused", l.w.status == WORKSPACE_PAUSED,
            "deleted", 0));
}

/* The row after an action. */
static enum err
action_answer(struct call *c, struct error *e)
{
    AUTO_JSON json_t *warnings = json_array();
    struct workspace_row w;
    enum err code = workspace_load(c, &w, e);
    json_t *j;

    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o, s:o, s:o}", "id", json_id(w.id), "status",
        json_str(workspace_status_name(w.status)), "desired",
        json_str(workspace_desired_name(w.desired)));
    if (w.desired == WORKSPACE_DESIRED_RUNNING)
        isolation_warn_of(c->api, &w, warnings);
    if (json_array_size(warnings) > 0)
        json_object_set(j, "warnings", warnings);
    json_object_set_new(j, "node_id", json_id(w.node));
    /* Another node's agent: that one acts on it as soon as it runs. */
    return call_answer(c, wish_is_elsewhere(c->api, &w) ? 202 : 200, j);
}

/* Neither started nor stopped by us. */
static enum err
external_answer(struct call *c, const struct workspace_row *w)
{
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:s}", "status", "noop", "runtime", json_str(w->runtime), "message",
            "this runtime's agent runs on a computer of its own; there is nothing to start or stop "
            "here"));
}

typedef enum err start_fn(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e);

static enum err
start_like(struct call *c, enum gather_caller caller, start_fn *start, struct error *e)
{
    struct agent_request q = {.caller = caller, .org = c->org, .workspace = c->id};
    struct workspace_row w;
    enum err code = call_body(c, true, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "model", &q.model, e);
    if (code == ERR_OK)
        code = workspace_load(c, &w, e);
    if (code != ERR_OK)
        return code;
    q.model = arena_dup(&c->http->arena, str_trim(q.model));
    if (plan_runtime_is_external(w.runtime))
        return external_answer(c, &w);
    code = start(c->api, &c->registry->set, &c->http->arena, &q, e);
    return code == ERR_OK ? action_answer(c, e) : code;
}

enum err
workspace_start(struct call *c, struct error *e)
{
    return start_like(c, GATHER_START, agent_start, e);
}

enum err
workspace_restart(struct call *c, struct error *e)
{
    return start_like(c, GATHER_RESTART, agent_restart, e);
}

enum err
workspace_stop(struct call *c, struct error *e)
{
    struct workspace_row w;
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK && plan_runtime_is_external(w.runtime))
        return external_answer(c, &w);
    if (code == ERR_OK)
        code = agent_stop(c->api, c->org, c->id, e);
    return code == ERR_OK ? action_answer(c, e) : code;
}

enum err
workspace_logs(struct call *c, struct error *e)
{
    AUTO_BUF struct buf log;
    struct str text;
    uint64_t max = LOG_DEFAULT_BYTES;
    struct workspace_row w;
    enum err code;

    if (http_query_get(c->http, STR("bytes"), &text)) {
        max = 0;
        for (size_t i = 0; i < text.n && text.p[i] >= '0' && text.p[i] <= '9' && i < 9; i++)
            max = max * 10 + (uint64_t)(text.p[i] - '0');
    }
    if (max == 0 || max > LOG_MAX_BYTES)
        max = LOG_MAX_BYTES;
    buf_init(&log, LOG_MAX_BYTES + 1);
    code = workspace_load(c, &w, e);
    if (code != ERR_OK)
        return code;
    if (wish_is_elsewhere(c->api, &w))
        return wish_ask_there(&w, "its log", e);
    code = launch_log(c->api->launcher, c->id, (size_t)max, &log, e);
    if (code != ERR_OK && code != ERR_NOT_FOUND) /* NOT_FOUND: it never ran, its log is empty */
        return code;
    return call_answer(c, 200,
        json_pack("{s:o, s:o}", "workspace_id", json_id(c->id), "output", json_str(buf_str(&log))));
}
