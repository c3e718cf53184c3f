#include "api/agent.h"

#include "api/decision.h"
#include "api/handout.h"
#include "api/launch_hints.h"
#include "api/verify.h"
#include "api/wish.h"
#include "api/family.h"
#include "api/move.h"
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
    struct handout_source source; /* of the handout: gathered and plan above */
    struct handout handout;
    struct verify_outcome verified;
    int64_t uid;
    struct error failure; /* what the row, the event and the caller are told */
};

static void
start_done(struct start *s)
{
    gathered_done(&s->gathered);
    handout_done(&s->handout);
}

static struct str
failure_json(struct arena *arena, const struct start *s)
{
    return move_details(arena,
        json_pack("{s:o, s:s, s:o}", "error", json_str(str_from_cstr(s->failure.text)), "code",
            err_name(s->failure.code), "billing_mode",
            json_str(billing_mode_name(s->gathered.decision.mode))));
}

/* Nothing was started: the row says why, the event tells it, the record keeps it. */
static enum err
failed_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct start *s = ctx;
    const struct agent_request *q = s->request;
    struct move m = {.org = q->org,
        .workspace = q->workspace,
        .event = LIFECYCLE_REFUSE,
        .code = str_from_cstr(err_name(s->failure.code)),
        .text = str_from_cstr(s->failure.text),
        .details = failure_json(s->arena, s)};
    enum err code = move_tx(tx, s->arena, &m, NULL, e);

    if (code == ERR_OK)
        code = agent_tokens_revoke_tx(s->api, tx, s->arena, q->org, q->workspace, s->id, e);
    if (code == ERR_OK && s->record.kind == DECISION_REFUSAL)
        code = decision_row_append(tx, &s->record, e);
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

/* A credential that its vendor refused: started with all the same, but somebody should see it. */
static enum err
append_warning(struct store_tx *tx, const struct start *s, struct error *e)
{
    struct event_row event = {.org = s->request->org,
        .workspace = s->request->workspace,
        .type = STR("WORKSPACE_WARNING"),
        .created_ms = clock_ms()};
    json_t *warning = verify_warning(s->api, &s->verified);

    if (warning == NULL)
        return ERR_OK;
    event.json = move_details(s->arena, warning);
    return event_row_append(tx, &event, NULL, e);
}

enum err
agent_may_start_tx(
    struct store_tx *tx, struct arena *arena, const struct agent_request *q, struct error *e)
{
    struct workspace_row w, paused;
    enum err code = workspace_row_get(tx, q->org, q->workspace, arena, &w, e);

    if (code == ERR_OK)
        code = family_paused_above(tx, arena, &w, &paused, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (w.desired == WORKSPACE_DESIRED_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (q->automatic &&
        (w.desired != WORKSPACE_DESIRED_RUNNING ||
            (q->changed_ms == 0 && w.start_due_ms == 0 && w.status != WORKSPACE_PROVISIONING)))
        return fail(e, ERR_CONFLICT, "the workspace is not meant to be started any more");
    if (!q->resumes && w.desired == WORKSPACE_DESIRED_PAUSED) {
        return fail(e, ERR_CONFLICT,
            "the workspace is paused: resume it (purser workspace resume; POST "
            "/workspaces/:id/resume)");
    }
    if (!id_is_zero(paused.id)) {
        return fail(e, ERR_CONFLICT, "parent workspace \"%.*s\" is paused — resume it first",
            STR_ARG(paused.name));
    }
    return ERR_OK;
}

struct permission {
    struct arena *arena;
    const struct agent_request *request;
};

static enum err
permission_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct permission *p = ctx;

    return agent_may_start_tx(tx, p->arena, p->request, e);
}

enum err
agent_may_start(struct api *a, struct arena *arena, const struct agent_request *q, struct error *e)
{
    struct permission p = {.arena = arena, .request = q};

    return store_read(a->o.store, permission_tx, &p, e);
}

/* This node may have been given up meanwhile, and its workspaces with it. */
static enum err
still_ours_tx(struct store_tx *tx, struct start *s, struct error *e)
{
    struct workspace_row w;
    enum err code = workspace_row_get(tx, s->request->org, s->request->workspace, s->arena, &w, e);

    return code == ERR_OK && wish_is_elsewhere(s->api, &w) ? wish_ask_there(&w, "a start", e)
                                                           : code;
}

/*
 * The intent, durable before any effect: decision record, tokens, row on its way. Whether it may be
 * started is asked once more: another node, or a pause of one above it, may have come since.
 */
static enum err
intent_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct start *s = ctx;
    const struct agent_request *q = s->request;
    int64_t first = s->api->o.uid_first == 0 ? UID_FIRST : s->api->o.uid_first;
    struct move m = {.org = q->org,
        .workspace = q->workspace,
        .event = LIFECYCLE_START,
        .counts_on = q->automatic && q->changed_ms == 0,
        .details = move_details(s->arena,
            json_pack("{s:o, s:o, s:o}", "name", json_str(s->gathered.workspace.name), "runtime",
                json_str(s->gathered.workspace.runtime), "start", json_id(s->id)))};
    enum err code = org_row_check_active(tx, q->org, e);

    if (code == ERR_OK)
        code = still_ours_tx(tx, s, e);
    if (code == ERR_OK)
        code = agent_may_start_tx(tx, s->arena, q, e);
    if (code == ERR_OK)
        code = move_tx(tx, s->arena, &m, NULL, e);
    if (code == ERR_OK && geteuid() == 0)
        code = workspace_row_allot_uid(tx, q->org, q->workspace, first, UID_COUNT, &s->uid, e);
    if (code == ERR_OK)
        code = decision_row_append(tx, &s->record, e);
    if (code == ERR_OK)
        code = handout_store_tx(tx, &s->handout, e);
    if (code == ERR_OK)
        code = append_warning(tx, s, e);
    return code;
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

    buf_init(&known, sizeof(e->text));
    if (s->gathered.decision.derived.runtime != NULL) {
        return fail(e, ERR_LAUNCH_FAILED,
            "there is no command to run: give the workspace a command (PATCH /workspaces/:id)");
    }
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

/* Loopback in a container with a network of its own is the container: the first call would fail. */
static bool
gateway_out_of_reach(const struct api *a, const struct launch_container *container, struct error *e)
{
    struct str url = edge_public_url(a->o.edge);
    struct str host = str_slice(url, str_find_char(url, ':') + 3, url.n);

    if (str_equal(container->network, STR("host")) ||
        (!str_starts_with(host, STR("127.")) && !str_starts_with(host, STR("localhost")) &&
            !str_starts_with(host, STR("[::1]"))))
        return false;
    fail(e, ERR_MISSING_PLATFORM_PROXY,
        "the agent's container has a network of its own and cannot reach the gateway at %.*s: set "
        "public_url (and listen) to an address that containers reach",
        STR_ARG(url));
    return true;
}

static enum err
start_launch(struct start *s, struct error *e)
{
    struct launch_container container;
    struct launch_spec spec = {.workspace = s->request->workspace,
        .start = s->id,
        .home = plan_home(s->api, s->arena, s->request->workspace),
        .work_dir = s->gathered.workspace.workspace_dir,
        .uid = (uint32_t)s->uid,
        .gid = (uint32_t)s->uid};

    spec.argv = start_argv(s, &spec.argv_n);
    if (spec.argv_n == 0)
        return no_command(s, e);
    if (handout_join(&s->source, &s->handout, e) != ERR_OK)
        return e->code;
    spec.env = s->handout.env;
    spec.env_n = s->handout.env_n;
    spec.files = s->handout.files;
    spec.files_n = s->handout.files_n;
    spec.sandbox = s->api->o.isolation == API_ISOLATION_SANDBOX;
    if (launch_hints_apply(s->arena, s->gathered.workspace.launch, &spec, &container, e) != ERR_OK)
        return e->code;
    if (spec.container != NULL) {
        spec.sandbox = false;
        if (s->plan.env.needs_usage_token && gateway_out_of_reach(s->api, spec.container, e))
            return e->code;
        if (launch_hints_fetch(s->api, s->request->org, s->request->workspace, spec.container, e) !=
            ERR_OK)
            return e->code;
    }
    return launch_start(s->api->launcher, &spec, e);
}

/* After the intent stands: whatever fails from here on takes the tokens back. */
static enum err
start_effect(struct start *s, struct error *e)
{
    enum err code = handout_publish(&s->source, &s->handout, e);

    if (code == ERR_OK)
        code = start_launch(s, e);
    if (code == ERR_OK)
        return ERR_OK;
    s->failure = *e;
    if (s->plan.env.needs_usage_token)
        edge_token_revoke(s->api->o.edge, s->handout.usage.text.digest);
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

/* It may be right all the same, so the agent starts; but somebody should see it. */
static void
warn_of_credential(const struct start *s)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";

    id_text(s->request->workspace, ws + 3);
    if (s->verified.result == VERIFY_BAD)
        log_warn(
            ws, "start code=%s: %s", err_name(s->verified.problem.code), s->verified.problem.text);
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
    if (plan_refusal(&s->plan, &s->failure) != ERR_OK)
        return ERR_OK;
    s->verified = verify_plan(s->api, s->registry->registry, &s->gathered, &s->plan);
    s->plan.verified = verify_result_name(s->verified.result);
    if (verify_refusal(s->api, &s->verified, &s->failure) == ERR_OK)
        warn_of_credential(s);
    return ERR_OK;
}

enum err
agent_start_locked(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    AUTO(start_done)
    struct start s = {.api = a, .registry = registry, .arena = arena, .request = q, .id = id_new()};
    enum err code = agent_may_start(a, arena, q, e);

    if (code != ERR_OK)
        return code;
    if (agent_runs(a, q->workspace))
        return fail(e, ERR_CONFLICT, "the workspace runs already; restart it instead");
    code = start_decide(&s, e);
    if (code != ERR_OK)
        return code;
    if (s.failure.code == ERR_MISSING_PLATFORM_PROXY && agent_is_patient(a, q)) {
        *e = s.failure;
        return e->code;
    }
    if (s.failure.code != ERR_OK)
        return start_failed(&s, DECISION_REFUSAL, e);
    decision_record(
        arena, registry->registry, &s.gathered, &s.plan, DECISION_START, ERR_OK, s.id, &s.record);
    s.source = (struct handout_source){
        .api = a, .arena = arena, .gathered = &s.gathered, .plan = &s.plan, .decision = s.id};
    code = handout_tokens(&s.source, &s.handout, e);
    if (code != ERR_OK)
        return code;
    code = store_tx_durable(a->o.store, intent_tx, &s, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    agent_run_set(a, q->workspace, s.id);
    code = start_effect(&s, e);
    if (code != ERR_OK)
        return code;
    agent_tend(a, &s.gathered.workspace, s.id, 0);
    return ERR_OK;
}
