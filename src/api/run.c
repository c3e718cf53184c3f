/*
 * Runs: the environment of a workspace for a process that purser does not start: an external agent,
 * a laptop, CI. The same gathering, decision and plan as a start, with a decision record of its own;
 * its usage token lives as long as somebody renews it.
 */
#include "api/run.h"

#include "api/decision.h"
#include "api/handout.h"
#include "api/verify.h"
#include "store/org_row.h"
#include "store/run_row.h"

enum { RUNS_LIVE_MAX = 50, TTL_MAX_S = 24 * 3600, TTL_MIN_S = 2 };

struct run {
    struct call *c;
    struct str model; /* of this run alone; empty: none */
    int64_t ttl_s;
    struct gathered gathered;
    struct plan plan;
    struct verify_outcome verified;
    struct decision_row record;
    struct run_row row;
    struct handout_source source;
    struct handout handout;
    struct error refusal;
};

static void
run_done(struct run *r)
{
    handout_done(&r->handout);
    gathered_done(&r->gathered);
}

static enum err
read_request(struct run *r, struct error *e)
{
    struct call *c = r->c;
    struct str model = STR_NONE;
    json_t *ttl;
    enum err code = call_body(c, true, e);

    r->ttl_s = TTL_MAX_S;
    if (code == ERR_OK)
        code = json_get_str(c->body, "model", &model, e);
    if (code != ERR_OK)
        return code;
    r->model = arena_dup(&c->http->arena, str_trim(model));
    ttl = json_object_get(c->body, "ttl_seconds");
    if (ttl == NULL || json_is_null(ttl))
        return ERR_OK;
    r->ttl_s = json_integer_value(ttl);
    if (!json_is_integer(ttl) || r->ttl_s < TTL_MIN_S || r->ttl_s > TTL_MAX_S)
        return fail(e, ERR_INVALID_REQUEST, "\"ttl_seconds\" is a number from %d to %d", TTL_MIN_S,
            TTL_MAX_S);
    return ERR_OK;
}

/* Gathers, decides, plans, checks. What refuses it is in r->refusal. */
static enum err
decide(struct run *r, struct error *e)
{
    struct call *c = r->c;
    struct gather_request q = {
        .caller = GATHER_RUN, .org = c->org, .workspace = c->id, .start_model = r->model};
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &r->gathered, e);

    if (code != ERR_OK)
        return code;
    if (r->gathered.failure.code != ERR_OK) {
        r->gathered.workspace.org = c->org;
        r->gathered.workspace.id = c->id;
        r->refusal = r->gathered.failure;
        return ERR_OK;
    }
    if (r->gathered.workspace.desired == WORKSPACE_DESIRED_PAUSED)
        return fail(e, ERR_CONFLICT, "the workspace is paused; resume it first");
    plan_make(c->api, &c->registry->set, &c->http->arena, &r->gathered, &r->plan);
    if (plan_refusal(&r->plan, &r->refusal) != ERR_OK)
        return ERR_OK;
    r->verified = verify_plan(c->api, call_registry(c), &r->gathered, &r->plan);
    r->plan.verified = verify_result_name(r->verified.result);
    if (verify_refusal(c->api, &r->verified, &r->refusal) != ERR_OK)
        return ERR_OK;
    return ERR_OK;
}

static void
record(struct run *r, enum decision_kind kind)
{
    decision_record(&r->c->http->arena, call_registry(r->c), &r->gathered,
        r->gathered.failure.code == ERR_OK ? &r->plan : NULL, kind, r->refusal.code, r->row.id,
        &r->record);
}

static enum err
refused_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct run *r = ctx;
    enum err code = decision_row_append(tx, &r->record, e);

    if (code != ERR_OK)
        return code;
    return run_event(tx, r->c, STR("RUN_REFUSED"),
        arena_printf(&r->c->http->arena, "{\"code\":\"%s\"}", err_name(r->refusal.code)), e);
}

/* The workspace itself may run on all the same: only this run is refused. */
static enum err
refuse(struct run *r, struct error *e)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    struct error booking;

    id_text(r->c->id, ws + 3);
    log_warn(ws, "run refused code=%s: %s", err_name(r->refusal.code), r->refusal.text);
    record(r, DECISION_REFUSAL);
    if (r->refusal.code != ERR_STORE_UNAVAILABLE &&
        store_tx_durable(r->c->api->o.store, refused_tx, r, &booking) != ERR_OK)
        log_error(ws, "the refused run could not be booked: %s", booking.text);
    *e = r->refusal;
    return e->code;
}

static enum err
intent_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct run *r = ctx;
    struct arena *arena = &r->c->http->arena;
    struct run_row *live;
    size_t n;
    enum err code = org_row_check_active(tx, r->c->org, e);

    if (code == ERR_OK)
        code = run_check_workspace(tx, r->c, e);
    if (code == ERR_OK)
        code = run_row_list(tx, r->c->org, r->c->id, r->row.created_ms, arena, &live, &n, e);
    if (code != ERR_OK)
        return code;
    if (n >= RUNS_LIVE_MAX)
        return fail(e, ERR_TOO_MANY_TOKENS,
            "the workspace has %d live runs, which is the most: end one (GET /workspaces/:id/runs "
            "lists them) or wait until one expires",
            RUNS_LIVE_MAX);
    code = run_row_insert(tx, &r->row, r->row.created_ms, e);
    if (code == ERR_OK)
        code = decision_row_append(tx, &r->record, e);
    if (code == ERR_OK)
        code = handout_store_tx(tx, &r->handout, e);
    if (code == ERR_OK)
        code = run_event(tx, r->c, STR("RUN_STARTED"), run_json(arena, r->row.id), e);
    return code;
}

static json_t *
env_json(const struct handout *h, struct arena *arena)
{
    json_t *env = json_object();

    for (size_t i = 0; i < h->env_n; i++) {
        const struct launch_env *v = &h->env[i];

        json_object_set_new(env, arena_cstr(arena, v->name),
            json_str(v->secret != NULL ? secret_expose(v->secret) : v->literal));
    }
    return env;
}

static json_t *
files_json(const struct handout *h)
{
    json_t *files = json_array();

    for (size_t i = 0; i < h->files_n; i++) {
        const struct launch_file *f = &h->files[i];

        json_array_append_new(files,
            json_pack("{s:o, s:o, s:b, s:o}", "path", json_str(f->path), "content",
                json_str(secret_expose(f->content)), "refreshed", (int)f->refreshed, "stamp",
                json_hex(f->stamp, sizeof(f->stamp))));
    }
    return files;
}

/* Names that a caller's own environment may replace, and those that it may not bring back. */
static void
add_names(json_t *answer, const struct env_plan *plan)
{
    json_t *base = json_array(), *stripped = json_array();

    for (size_t i = 0; i < plan->n; i++) {
        const struct env_row *row = &plan->rows[i];

        if (row->action == ENV_STRIP)
            json_array_append_new(stripped, json_str(row->name));
        else if (row->source == ENV_FROM_BASE)
            json_array_append_new(base, json_str(row->name));
    }
    json_object_set_new(answer, "base", base);
    json_object_set_new(answer, "stripped", stripped);
}

static enum err
answer(struct run *r, struct error *e)
{
    struct call *c = r->c;
    json_t *warnings = json_array();
    json_t *bad = verify_warning(c->api, &r->verified);
    json_t *j;

    plan_warnings(&r->gathered, &r->plan, warnings);
    if (bad != NULL)
        json_array_append_new(warnings, bad);
    j = json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:o, s:o}", "run_id", json_id(r->row.id),
        "workspace_id", json_id(c->id), "resolved_mode", json_str(r->row.mode), "model",
        json_str_or_null(r->row.model), "ttl_seconds", (json_int_t)r->ttl_s, "expires_at",
        (json_int_t)r->row.expires_ms, "env", env_json(&r->handout, &c->http->arena), "files",
        files_json(&r->handout), "warnings", warnings);
    add_names(j, &r->plan.env);
    c->answer_is_secret = true;
    return call_answer(c, 201, j);
}

static enum err
hand_out(struct run *r, struct error *e)
{
    struct call *c = r->c;
    enum err code;

    r->row.created_ms = clock_ms();
    r->row.ttl_ms = r->ttl_s * 1000;
    r->row.expires_ms = r->row.created_ms + r->row.ttl_ms;
    r->row.mode = billing_mode_name(r->gathered.decision.mode);
    r->row.model = r->gathered.effective_model;
    r->source = (struct handout_source){.api = c->api,
        .arena = &c->http->arena,
        .gathered = &r->gathered,
        .plan = &r->plan,
        .decision = r->row.id,
        .expires_ms = r->row.expires_ms};
    code = handout_tokens(&r->source, &r->handout, e);
    if (code == ERR_OK)
        code = handout_join(&r->source, &r->handout, e);
    if (code != ERR_OK)
        return code;
    r->row.token = r->handout.usage.row.id;
    record(r, DECISION_RUN);
    code = store_tx_durable(c->api->o.store, intent_tx, r, e);
    if (code == ERR_OK)
        code = handout_publish(&r->source, &r->handout, e);
    return code;
}

enum err
run_create(struct call *c, struct error *e)
{
    AUTO(run_done) struct run r = {.c = c};
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    enum err code;

    r.row = (struct run_row){.id = id_new(), .org = c->org, .workspace = c->id};
    code = read_request(&r, e);
    if (code == ERR_OK)
        code = decide(&r, e);
    if (code == ERR_OK && r.refusal.code != ERR_OK)
        return refuse(&r, e);
    if (code == ERR_OK)
        code = hand_out(&r, e);
    if (code != ERR_OK)
        return code;
    id_text(c->id, ws + 3);
    log_info(ws, "run resolved=%.*s source=%.*s model=%.*s", STR_ARG(r.row.mode),
        STR_ARG(billing_source_name(r.gathered.decision.source)), STR_ARG(r.row.model));
    return answer(&r, e);
}
