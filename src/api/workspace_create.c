/* POST /workspaces: every check that can be made is made before any row exists (SPEC 8). */
#include "api/agent.h"
#include "api/budget.h"
#include "api/comingling.h"
#include "api/family.h"
#include "api/isolation.h"
#include "api/plan.h"
#include "api/secret.h"
#include "api/token.h"
#include "api/verify.h"
#include "api/workspace.h"
#include "api/workspace_fields.h"
#include "store/event_row.h"

enum { SECRETS_MAX = 256, MODEL_MAX_BYTES = 100, START_AGAIN_MS = 1000 };

struct create {
    struct call *c;
    struct workspace_row row;
    struct str model;
    bool external;
    bool start;
    bool unregistered; /* accepted all the same, by setting */
    struct verify_outcome verified;
    struct secret_write *secrets; /* MODEL is among them */
    size_t secrets_n;
    struct env_secret *draft; /* beside secrets */
    struct str *draft_values;
};

static void
create_add(struct create *k, const struct secret_write *s)
{
    k->secrets[k->secrets_n] = *s;
    k->draft[k->secrets_n] = (struct env_secret){.name = s->name,
        .scope = ENV_SCOPE_WORKSPACE,
        .value_blank = str_is_blank(s->value),
        .value_bytes = (uint32_t)s->value.n};
    k->draft_values[k->secrets_n++] = s->value;
}

static enum err
read_secrets(struct create *k, struct error *e)
{
    struct call *c = k->c;
    struct arena *a = &c->http->arena;
    json_t *map = json_object_get(c->body, "secrets");
    struct secret_write s;
    const char *key;
    json_t *v;
    enum err code;

    if (map != NULL && !json_is_null(map) && !json_is_object(map))
        return fail(e, ERR_INVALID_REQUEST, "\"secrets\" must be an object of names and values");
    if (json_object_size(map) > SECRETS_MAX)
        return fail(e, ERR_INVALID_REQUEST, "at most %d secrets at once", SECRETS_MAX);
    k->secrets = arena_array(a, json_object_size(map) + 2, sizeof(*k->secrets));
    k->draft = arena_array(a, json_object_size(map) + 2, sizeof(*k->draft));
    k->draft_values = arena_array(a, json_object_size(map) + 2, sizeof(*k->draft_values));
    json_object_foreach(map, key, v)
    {
        if (!json_is_string(v))
            return fail(e, ERR_INVALID_REQUEST, "every value in \"secrets\" must be a string");
        code = secret_check(a, str_from_cstr(key),
            (struct str){json_string_value(v), json_string_length(v)}, &s, e);
        if (code != ERR_OK)
            return code;
        for (size_t i = 0; i < k->secrets_n; i++) {
            if (str_equal(k->secrets[i].name, s.name))
                return fail(e, ERR_INVALID_REQUEST, "%.*s stands twice", STR_ARG(s.name));
        }
        /* The field "model" is the same secret and goes before. */
        if (k->model.n == 0 || !str_equal(s.name, STR("MODEL")))
            create_add(k, &s);
    }
    return ERR_OK;
}

static enum err
read_request(struct create *k, struct error *e)
{
    struct call *c = k->c;
    struct str model = STR_NONE;
    enum err code = call_body(c, false, e);

    k->start = true;
    if (code == ERR_OK)
        code = workspace_fields_read(c, &k->row, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "model", &model, e);
    if (code == ERR_OK)
        code = json_get_bool(c->body, "external", &k->external, e);
    if (code == ERR_OK)
        code = json_get_bool(c->body, "start", &k->start, e);
    if (code != ERR_OK)
        return code;
    k->model = arena_dup(&c->http->arena, str_trim(model));
    if (k->model.n > MODEL_MAX_BYTES || memchr(k->model.p, '\n', k->model.n) != NULL ||
        memchr(k->model.p, '\r', k->model.n) != NULL)
        return fail(
            e, ERR_INVALID_REQUEST, "\"model\" is one line of at most %d bytes", MODEL_MAX_BYTES);
    if (k->row.runtime.n == 0)
        k->row.runtime = k->external ? STR("external") : STR("claude-code");
    if (k->external && !plan_runtime_is_external(k->row.runtime)) {
        call_error_field(c, "runtime", json_str(k->row.runtime));
        return fail(e, ERR_RUNTIME_UNSUPPORTED,
            "external workspaces must use runtime \"external\", \"kimi\", or \"kimi-cli\"");
    }
    k->external = plan_runtime_is_external(k->row.runtime);
    return read_secrets(k, e);
}

/* Accepts what is on the menu or derives; runtimes without a registry entry pass. */
static enum err
check_model(struct create *k, const struct gathered *g, struct error *e)
{
    struct call *c = k->c;
    struct str runtime = k->row.runtime;
    struct str model = g->effective_model;
    enum derive_error why = g->decision.derived.error;

    if (k->external)
        return ERR_OK;
    if (model.n == 0) {
        call_error_field(c, "runtime", json_str(runtime));
        return fail(e, ERR_MODEL_REQUIRED,
            "model is required and has no platform-side default; name a model with --model "
            "(purser registry offered %.*s)",
            STR_ARG(runtime));
    }
    if (why == DERIVE_OK || why == DERIVE_UNKNOWN_RUNTIME)
        return ERR_OK;
    if (c->api->o.unregistered_model_warn) {
        k->unregistered = true;
        http_header_set(c->http, "X-Molecule-Model-Unregistered", STR("true"));
        return ERR_OK;
    }
    call_error_field(c, "runtime", json_str(runtime));
    call_error_field(c, "model", json_str(model));
    return fail(e, ERR_UNREGISTERED_MODEL_FOR_RUNTIME,
        "model \"%.*s\" is not a registered model for runtime \"%.*s\"; pick one of the runtime's "
        "registered models (purser registry offered %.*s lists them)",
        STR_ARG(model), STR_ARG(runtime), STR_ARG(runtime));
}

/* Not the plan's own sentence: here the way out is to send the key with this very request. */
static enum err
missing_credential(const struct create *k, const struct gathered *g, struct error *e)
{
    const struct registry *r = call_registry(k->c);
    const struct registry_provider *p = g->decision.provider;
    AUTO_BUF struct buf who;

    buf_init(&who, sizeof(e->text));
    if (p == NULL)
        buf_add(&who, STR("of any vendor"));
    else
        buf_addf(&who, "that provider %.*s accepts (", STR_ARG(registry_str(r, p->name)));
    for (uint32_t i = 0; p != NULL && i < p->auth_env.n; i++) {
        buf_addf(&who, "%s%.*s", i == 0 ? "" : " or ",
            STR_ARG(registry_str(r, registry_strs(r, p->auth_env)[i])));
    }
    if (p != NULL)
        buf_add_char(&who, ')');
    return fail(e, ERR_MISSING_BYOK_CREDENTIAL,
        "there is no credential %s; give the key with the workspace (purser workspace create "
        "--secret NAME < key-file; API: \"secrets\"), or choose a model the platform pays (purser "
        "registry offered %.*s)",
        buf_cstr(&who), STR_ARG(k->row.runtime));
}

static enum err
check_decision(struct create *k, struct error *e)
{
    struct call *c = k->c;
    struct gather_draft draft = {.runtime = k->row.runtime,
        .model = k->model,
        .secrets = k->draft,
        .secret_values = k->draft_values,
        .secrets_n = k->secrets_n};
    struct gather_request q = {.caller = GATHER_CREATE, .org = c->org, .draft = &draft};
    AUTO_GATHERED struct gathered g = {0};
    struct plan plan;
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);

    if (code == ERR_OK && g.failure.code != ERR_OK) {
        *e = g.failure;
        code = e->code;
    }
    if (code == ERR_OK)
        code = check_model(k, &g, e);
    for (size_t i = 0; code == ERR_OK && i < k->secrets_n; i++)
        code = secret_gate(c, &g, k->secrets[i].name, (struct id){0}, e);
    if (code != ERR_OK || k->external)
        return code;
    plan_make(c->api, &c->registry->set, &c->http->arena, &g, &plan);
    if (plan.env.refusal == ENV_REFUSAL_MISSING_BYOK_CREDENTIAL)
        return missing_credential(k, &g, e);
    k->verified = verify_plan(c->api, call_registry(c), &g, &plan);
    return verify_refusal(c->api, &k->verified, e);
}

/* It could not be started below one that is paused. */
static enum err
paused_check(struct store_tx *tx, const struct create *k, struct error *e)
{
    struct workspace_row above;
    enum err code = family_paused_above(tx, &k->c->http->arena, &k->row, &above, e);

    if (code != ERR_OK || id_is_zero(above.id))
        return code;
    return fail(e, ERR_CONFLICT,
        "parent workspace \"%.*s\" is paused — resume it first, or create this one without "
        "starting it",
        STR_ARG(above.name));
}

static enum err
create_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct create *k = ctx;
    struct call *c = k->c;
    struct arena *a = &c->http->arena;
    struct event_row event = {.org = c->org,
        .workspace = k->row.id,
        .type = STR("WORKSPACE_CREATED"),
        .json = STR("{}"),
        .created_ms = k->row.created_ms};
    enum err code = workspace_name_check(tx, a, &k->row, e);

    if (code == ERR_OK && k->start)
        code = paused_check(tx, k, e);
    if (code == ERR_OK)
        code = workspace_row_insert(tx, &k->row, e);
    if (code == ERR_NOT_FOUND && !id_is_zero(k->row.parent))
        return fail(e, ERR_INVALID_REQUEST, "parent_id names no workspace of this org");
    for (size_t i = 0; code == ERR_OK && i < k->secrets_n; i++)
        code = secret_put_tx(tx, c->api, a, c->org, k->row.id, &k->secrets[i], e);
    if (code == ERR_OK && k->row.has_budget_limit)
        code = budget_put_monthly(tx, &k->row, e);
    if (code == ERR_OK)
        code = event_row_append(tx, &event, NULL, e);
    return code;
}

/* An external workspace that has no URL yet: what its agent needs to come to us. */
static enum err
add_connection(struct create *k, json_t *answer, struct error *e)
{
    struct call *c = k->c;
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    struct id token_id;
    enum err code = token_mint_workspace(c, k->row.id, &token, &token_id, e);

    if (code != ERR_OK)
        return code;
    c->answer_is_secret = true;
    json_object_set_new(answer, "connection",
        json_pack("{s:o, s:o, s:s}", "workspace_id", json_id(k->row.id), "platform_url",
            json_str(edge_public_url(c->api->o.edge)), "auth_token", token.text));
    return ERR_OK;
}

static json_t *
create_warnings(const struct create *k)
{
    json_t *list = json_array();
    json_t *bad = verify_warning(k->c->api, &k->verified);

    if (k->unregistered) {
        json_array_append_new(list,
            json_pack("{s:s, s:s}", "code", "UNREGISTERED_MODEL_FOR_RUNTIME", "text",
                "the model is not on the runtime's menu; it was accepted by setting"));
    }
    if (bad != NULL)
        json_array_append_new(list, bad);
    for (size_t i = 0; i < k->secrets_n; i++)
        comingling_warn(call_registry(k->c), k->row.id, &k->secrets[i], list);
    isolation_warn_of(k->c->api, &k->row, list);
    return list;
}

static enum err
create_answer(struct create *k, struct error *e)
{
    AUTO_JSON json_t *warnings = NULL;
    struct call *c = k->c;
    struct workspace_row w;
    json_t *j;
    enum err code;

    c->id = k->row.id;
    code = workspace_load(c, &w, e);
    if (code != ERR_OK)
        return code;
    j = workspace_json(c, &w);
    json_object_set_new(j, "model", json_str_or_null(k->model));
    warnings = create_warnings(k);
    if (json_array_size(warnings) > 0)
        json_object_set(j, "warnings", warnings);
    if (k->external)
        json_object_set_new(j, "external", json_true());
    if (k->external && k->row.url.n == 0)
        code = add_connection(k, j, e);
    if (code != ERR_OK) {
        json_decref(j);
        return code;
    }
    return call_answer(c, 201, j);
}

enum err
workspace_create(struct call *c, struct error *e)
{
    struct create k = {.c = c};
    struct agent_request q = {.caller = GATHER_START, .org = c->org};
    struct secret_write model = {.name = STR("MODEL")};
    struct error refused;
    enum err code;

    k.row.id = id_new();
    k.row.org = c->org;
    code = read_request(&k, e);
    if (code == ERR_OK)
        code = check_decision(&k, e);
    if (code != ERR_OK)
        return code;
    k.row.created_ms = clock_ms();
    /* Should we die before it is started: it is meant to run from the moment it exists. */
    k.row.desired = k.start ? WORKSPACE_DESIRED_RUNNING : WORKSPACE_DESIRED_STOPPED;
    k.row.status = k.start ? WORKSPACE_PROVISIONING : WORKSPACE_STOPPED;
    if (k.external) {
        k.row.desired = WORKSPACE_DESIRED_RUNNING;
        k.row.status = k.row.url.n > 0 ? WORKSPACE_ONLINE : WORKSPACE_AWAITING_AGENT;
    }
    model.value = k.model;
    if (k.model.n > 0)
        create_add(&k, &model);
    code = store_tx_durable(c->api->o.store, create_tx, &k, e);
    if (code == ERR_OK && k.row.has_budget_limit)
        code = budgets_changed(c->api, e);
    if (code != ERR_OK)
        return code;
    /* The workspace is there now; a refused start is told by its status and last_error. */
    q.workspace = k.row.id;
    if (k.start && !k.external) {
        code = agent_start(c->api, &c->registry->set, &c->http->arena, &q, &refused);
        /* Nothing comes of it when the refusal is booked: the row says failed. */
        if (code != ERR_OK)
            later_put(c->api, LATER_START, c->org, k.row.id, (struct id){0}, START_AGAIN_MS);
        if (code == ERR_STORE_UNAVAILABLE) {
            *e = refused;
            return code;
        }
    }
    return create_answer(&k, e);
}
