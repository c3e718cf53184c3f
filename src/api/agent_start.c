#include "api/agent.h"

#include "api/decision.h"
#include "api/plan.h"
#include "store/event_row.h"
#include "store/org_row.h"
#include "store/token_row.h"

enum { UID_FIRST = LAUNCH_UID_FIRST, UID_COUNT = LAUNCH_UID_LAST - LAUNCH_UID_FIRST + 1 };

/* One start under way. */
struct start {
    struct api *api;
    const struct api_registry *registry;
    struct arena *arena;
    const struct agent_request *request;
    struct id id; /* of the start, and of its decision record */
    struct gathered gathered;
    struct plan plan;
    struct decision_row record;
    struct auth_token_text token;
    struct token_row token_row;
    struct secret *token_secret;
    int64_t uid;
    struct error failure; /* what the row, the event and the caller are told */
};

static void
start_done(struct start *s)
{
    gathered_done(&s->gathered);
    auth_token_wipe(&s->token);
    secret_free(s->token_secret);
}

static enum err
append_event(
    struct store_tx *tx, const struct start *s, struct str type, struct str json, struct error *e)
{
    struct event_row event = {.org = s->request->org,
        .workspace = s->request->workspace,
        .type = type,
        .json = json,
        .created_ms = clock_ms()};

    return event_row_append(tx, &event, NULL, e);
}

static struct str
failure_json(struct arena *arena, const struct start *s)
{
    AUTO_JSON json_t *j = json_pack("{s:o, s:s, s:o}", "error",
        json_str(str_from_cstr(s->failure.text)), "code", err_name(s->failure.code), "billing_mode",
        json_str(billing_mode_name(s->gathered.decision.mode)));
    char *text = json_dumps(j, JSON_COMPACT);
    struct str copy = arena_dup(arena, str_from_cstr(text));

    json_wiping_free(text);
    return copy;
}

/* Nothing was started: the row says why, the event tells it, the record keeps it. */
static enum err
failed_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct start *s = ctx;
    const struct agent_request *q = s->request;
    struct agent_revoked revoked;
    enum err code =
        workspace_row_set_desired(tx, q->org, q->workspace, WORKSPACE_DESIRED_RUNNING, e);

    if (code == ERR_OK) {
        code = workspace_row_set_status(tx, q->org, q->workspace, WORKSPACE_FAILED,
            str_from_cstr(err_name(s->failure.code)), str_from_cstr(s->failure.text), e);
    }
    if (code == ERR_OK)
        code = agent_tokens_revoke_tx(tx, s->arena, q->org, q->workspace, s->id, &revoked, e);
    if (code == ERR_OK && s->record.kind == DECISION_REFUSAL)
        code = decision_row_append(tx, &s->record, e);
    if (code == ERR_OK)
        code = append_event(tx, s, STR("workspace.failed"), failure_json(s->arena, s), e);
    return code;
}

/* Books the failure and hands it to the caller; a store that is gone is only logged. */
static enum err
start_failed(struct start *s, enum decision_kind kind, struct error *e)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    struct error booking;

    id_text(s->request->workspace, ws + 3);
    if (kind == DECISION_REFUSAL) {
        decision_record(s->arena, s->registry->registry, &s->gathered,
            s->gathered.failure.code == ERR_OK ? &s->plan : NULL, DECISION_REFUSAL, s->failure.code,
            s->id, &s->record);
    }
    log_warn(ws, "start refused code=%s: %s", err_name(s->failure.code), s->failure.text);
    if (s->failure.code != ERR_STORE_UNAVAILABLE &&
        store_tx_durable(s->api->o.store, failed_tx, s, &booking) != ERR_OK)
        log_error(ws, "the failed start could not be booked: %s", booking.text);
    *e = s->failure;
    return e->code;
}

/* What the token may call: the effective model and extra_models; all of the menu without a registry
 * entry. */
static struct str
grant_json(const struct start *s)
{
    const struct gathered *g = &s->gathered;
    AUTO_JSON json_t *list = NULL;
    char *text;
    struct str copy;

    if (g->decision.derived.runtime == NULL) {
        list = json_pack("[s]", "*");
    } else {
        list = json_loadb(g->workspace.extra_models.p, g->workspace.extra_models.n, 0, NULL);
        if (!json_is_array(list)) {
            json_decref(list);
            list = json_array();
        }
        json_array_insert_new(list, 0, json_str(g->effective_model));
    }
    text = json_dumps(list, JSON_COMPACT);
    copy = arena_dup(s->arena, str_from_cstr(text));
    json_wiping_free(text);
    return copy;
}

static enum err
start_mint(struct start *s, struct error *e)
{
    auth_token_make(TOKEN_USAGE, &s->token);
    s->token_row = (struct token_row){.id = id_new(),
        .org = s->request->org,
        .workspace = s->request->workspace,
        .kind = TOKEN_USAGE,
        .prefix = token_prefix(TOKEN_USAGE),
        .created_ms = clock_ms(),
        .decision = s->id,
        .models = grant_json(s)};
    memcpy(s->token_row.digest, s->token.digest, sizeof(s->token_row.digest));
    return secret_new(str_from_cstr(s->token.text), &s->token_secret, e);
}

/* The intent, durable before any effect: decision record, usage token, row on its way. */
static enum err
intent_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct start *s = ctx;
    const struct agent_request *q = s->request;
    int64_t first = s->api->o.uid_first == 0 ? UID_FIRST : s->api->o.uid_first;
    enum err code = org_row_check_active(tx, q->org, e);

    if (code == ERR_OK)
        code = workspace_row_set_desired(tx, q->org, q->workspace, WORKSPACE_DESIRED_RUNNING, e);
    if (code == ERR_OK) {
        code = workspace_row_set_status(
            tx, q->org, q->workspace, WORKSPACE_PROVISIONING, STR_NONE, STR_NONE, e);
    }
    if (code == ERR_OK && geteuid() == 0)
        code = workspace_row_allot_uid(tx, q->org, q->workspace, first, UID_COUNT, &s->uid, e);
    if (code == ERR_OK)
        code = decision_row_append(tx, &s->record, e);
    if (code == ERR_OK && s->plan.env.needs_usage_token)
        code = token_row_insert(tx, &s->token_row, e);
    if (code == ERR_OK)
        code = append_event(tx, s, STR("workspace.provisioning"), STR("{}"), e);
    return code;
}

/* Only if its end was not reported before we got here. */
static enum err
online_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct start *s = ctx;
    const struct agent_request *q = s->request;
    struct workspace_row w;
    enum err code = workspace_row_get(tx, q->org, q->workspace, s->arena, &w, e);

    if (code != ERR_OK || w.status != WORKSPACE_PROVISIONING)
        return code;
    code =
        workspace_row_set_status(tx, q->org, q->workspace, WORKSPACE_ONLINE, STR_NONE, STR_NONE, e);
    if (code != ERR_OK)
        return code;
    return append_event(tx, s, STR("workspace.online"), STR("{}"), e);
}

static enum err
start_publish(struct start *s, struct error *e)
{
    const struct token_row *row = &s->token_row;
    struct edge_token t = {.token = row->id,
        .org = row->org,
        .workspace = row->workspace,
        .decision = row->decision,
        .expires_ms = row->expires_ms};

    t.models = plan_list(s->arena, row->models, &t.models_n);
    memcpy(t.digest, row->digest, sizeof(t.digest));
    return edge_token_publish(s->api->o.edge, &t, e);
}

/* Joins the values in: the only place where a plan's names meet secrets. */
static struct launch_env *
start_env(struct start *s, size_t *ret_n)
{
    struct launch_env *env = arena_array(s->arena, s->plan.env.n + 1, sizeof(*env));
    const struct gathered *g = &s->gathered;
    size_t n = 0;

    for (size_t i = 0; i < s->plan.env.n; i++) {
        const struct env_row *row = &s->plan.env.rows[i];

        if (row->action == ENV_STRIP)
            continue;
        env[n] = (struct launch_env){.name = row->name, .literal = row->literal};
        if (row->source == ENV_FROM_USAGE_TOKEN)
            env[n].secret = s->token_secret;
        for (size_t k = 0; row->source == ENV_FROM_SECRET && k < g->secrets_n; k++) {
            if (str_equal(g->secrets[k].name, row->name))
                env[n].secret = g->values[k];
        }
        ENSURE((row->source != ENV_FROM_SECRET && row->source != ENV_FROM_USAGE_TOKEN) ||
            env[n].secret != NULL);
        n++;
    }
    *ret_n = n;
    return env;
}

static struct str *
start_argv(const struct start *s, size_t *ret_n)
{
    const struct registry_runtime *rt = s->gathered.decision.derived.runtime;
    struct str *argv = plan_list(s->arena, s->gathered.workspace.command, ret_n);
    const struct registry *r = s->registry->registry;

    if (*ret_n > 0 || rt == NULL)
        return argv;
    argv = arena_array(s->arena, rt->command.n + 1, sizeof(*argv));
    for (uint32_t i = 0; i < rt->command.n; i++)
        argv[i] = registry_str(r, registry_strs(r, rt->command)[i]);
    *ret_n = rt->command.n;
    return argv;
}

/* Neither the workspace nor the registry says what to run. */
static enum err
no_command(const struct start *s, struct error *e)
{
    const struct registry *r = s->registry->registry;
    AUTO_BUF struct buf known;

    if (s->gathered.decision.derived.runtime != NULL) {
        return fail(e, ERR_LAUNCH_FAILED,
            "there is no command to run: give the workspace a command (PATCH /workspaces/:id)");
    }
    buf_init(&known, sizeof(e->text));
    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        buf_addf(&known, "%s%.*s", i == 0 ? "" : ", ",
            STR_ARG(registry_str(r, registry_runtime_at(r, i)->name)));
    }
    return fail(e, ERR_RUNTIME_UNSUPPORTED,
        "runtime \"%.*s\" is not in the registry (%s), so nothing says what to run: choose one of "
        "these, or give the workspace a command (purser workspace create NAME ... -- COMMAND; "
        "PATCH /workspaces/:id)",
        STR_ARG(s->gathered.workspace.runtime), buf_cstr(&known));
}

static enum err
start_launch(struct start *s, struct error *e)
{
    struct launch_spec spec = {.workspace = s->request->workspace,
        .start = s->id,
        .home = plan_home(s->api, s->arena, s->request->workspace),
        .work_dir = s->gathered.workspace.workspace_dir,
        .uid = (uint32_t)s->uid,
        .gid = (uint32_t)s->uid};

    spec.argv = start_argv(s, &spec.argv_n);
    if (spec.argv_n == 0)
        return no_command(s, e);
    spec.env = start_env(s, &spec.env_n);
    return launch_start(s->api->launcher, &spec, e);
}

/* After the intent stands: whatever fails from here on takes the token back. */
static enum err
start_effect(struct start *s, struct error *e)
{
    enum err code = ERR_OK;

    if (s->plan.env.needs_usage_token)
        code = start_publish(s, e);
    if (code == ERR_OK)
        code = start_launch(s, e);
    if (code == ERR_OK)
        return ERR_OK;
    s->failure = *e;
    if (s->plan.env.needs_usage_token)
        edge_token_revoke(s->api->o.edge, s->token.digest);
    return start_failed(s, DECISION_START, e);
}

static void
start_log(const struct start *s)
{
    const struct billing_decision *d = &s->gathered.decision;
    struct str provider = d->derived.provider == NULL
        ? STR("-")
        : registry_str(s->registry->registry, d->derived.provider->name);
    struct str model = s->gathered.effective_model;
    char ws[ID_TEXT_BYTES + 3] = "ws=";

    id_text(s->request->workspace, ws + 3);
    log_info(ws, "start resolved=%.*s source=%.*s derived_provider=%.*s model=%.*s",
        STR_ARG(billing_mode_name(d->mode)), STR_ARG(billing_source_name(d->source)),
        STR_ARG(provider), STR_ARG(model));
}

/* Gathers, decides and plans. A refusal is in s->failure. */
static enum err
start_decide(struct start *s, struct error *e)
{
    const struct agent_request *q = s->request;
    struct gather_request gq = {
        .caller = q->caller, .org = q->org, .workspace = q->workspace, .start_model = q->model};
    enum err code = gather(s->api, s->registry, s->arena, &gq, &s->gathered, e);

    if (code != ERR_OK)
        return code;
    start_log(s);
    if (s->gathered.failure.code != ERR_OK) {
        /* The row may be unread; the record needs to know whose it is. */
        s->gathered.workspace.org = q->org;
        s->gathered.workspace.id = q->workspace;
        s->failure = s->gathered.failure;
        return ERR_OK;
    }
    plan_make(s->api, s->registry, s->arena, &s->gathered, &s->plan);
    if (s->plan.env.refusal != ENV_REFUSAL_NONE)
        (void)!plan_refusal(&s->plan, &s->failure);
    return ERR_OK;
}

enum err
agent_start_locked(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    AUTO(start_done)
    struct start s = {.api = a, .registry = registry, .arena = arena, .request = q, .id = id_new()};
    struct launch_status now = launch_status(a->launcher, q->workspace);
    enum err code;

    if (now.state == LAUNCH_STARTING || now.state == LAUNCH_RUNNING)
        return fail(e, ERR_CONFLICT, "the workspace runs already; restart it instead");
    code = start_decide(&s, e);
    if (code != ERR_OK)
        return code;
    if (s.failure.code != ERR_OK)
        return start_failed(&s, DECISION_REFUSAL, e);
    decision_record(
        arena, registry->registry, &s.gathered, &s.plan, DECISION_START, ERR_OK, s.id, &s.record);
    if (s.plan.env.needs_usage_token) {
        code = start_mint(&s, e);
        if (code != ERR_OK)
            return code;
    }
    code = store_tx_durable(a->o.store, intent_tx, &s, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    agent_run_set(a, q->workspace, s.id);
    code = start_effect(&s, e);
    if (code != ERR_OK)
        return code;
    return store_tx(a->o.store, online_tx, &s, e);
}
