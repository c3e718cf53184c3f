#include "registry/scenario.h"

#include "registry/explain.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Where the gateway would be: the plan shows the path, whatever the server is called. */
#define GATEWAY "<gateway>/api/v1/internal/llm"

void
scenario_init(struct scenario *s, struct str runtime, struct str model, int64_t now_ms)
{
    memset(s, 0, sizeof(*s));
    s->runtime = runtime;
    s->model = model;
    s->gateway = true;
    s->now_ms = now_ms;
}

enum err
scenario_add_secret(
    struct scenario *s, struct arena *a, struct str name, enum env_scope scope, struct error *e)
{
    name = arena_name(a, name);
    for (size_t i = 0; i < s->secrets_n; i++) {
        if (!str_equal(s->secrets[i].name, name))
            continue;
        if (scope == ENV_SCOPE_WORKSPACE)
            s->secrets[i].scope = scope;
        return ERR_OK;
    }
    if (s->secrets_n == COUNT(s->secrets))
        return fail(e, ERR_USAGE, "more than %zu secrets", COUNT(s->secrets));
    s->secrets[s->secrets_n++] = (struct env_secret){.name = name, .scope = scope};
    return ERR_OK;
}

enum err
scenario_add_auth(struct scenario *s, struct str name, struct error *e)
{
    if (s->auth_n == COUNT(s->auth))
        return fail(e, ERR_USAGE, "more than %zu auth names", COUNT(s->auth));
    s->auth[s->auth_n++] = name;
    s->auth_given = true;
    return ERR_OK;
}

void
scenario_decide(const struct scenario *s, struct registry_set *set, struct scenario_result *ret)
{
    const struct registry *r = registry_block(set);
    size_t implied = 0;

    for (size_t i = 0; i < s->secrets_n; i++) {
        if (!s->secrets[i].value_blank && registry_is_auth_name(r, s->secrets[i].name))
            ret->implied_auth[implied++] = s->secrets[i].name;
    }
    ret->facts = (struct billing_facts){.override_present = s->override_present,
        .override_raw = s->override_raw,
        .derive = {.registry = r,
            .match = registry_match,
            .match_ctx = set,
            .runtime = s->runtime,
            .model = s->model,
            .auth_names = s->auth_given ? s->auth : ret->implied_auth,
            .auth_names_n = s->auth_given ? s->auth_n : implied}};
    ret->decision = billing_decide(&ret->facts, &ret->trace);
    ret->plan_facts = (struct env_plan_facts){.registry = r,
        .decision = &ret->decision,
        .runtime = str_trim(s->runtime),
        .effective_model = str_trim(s->model),
        .secrets = s->secrets,
        .secrets_n = s->secrets_n,
        .gateway_present = s->gateway,
        .platform_key_present = s->gateway,
        .refuse_shadowed = s->refuse_shadowed,
        .now_ms = s->now_ms,
        .openai_base_url = STR(GATEWAY "/openai/v1"),
        .anthropic_base_url = STR(GATEWAY "/anthropic"),
        .usage_url = STR(GATEWAY "/usage")};
    ret->plan = (struct env_plan){.rows = ret->rows, .rows_max = COUNT(ret->rows)};
    env_plan_make(&ret->plan_facts, &ret->plan);
}

/* --- lines of JSON --------------------------------------------------------------------------- */

static enum err
read_text(struct arena *a, const json_t *value, const char *field, struct str *ret, struct error *e)
{
    if (json_is_null(value))
        return ERR_OK;
    if (!json_is_string(value))
        return fail(e, ERR_USAGE, "\"%s\" must be a text", field);
    *ret = arena_dup(a, (struct str){json_string_value(value), json_string_length(value)});
    return ERR_OK;
}

static enum err
read_auth(struct scenario *s, struct arena *a, const json_t *value, struct error *e)
{
    if (json_is_null(value))
        return ERR_OK;
    if (!json_is_array(value))
        return fail(e, ERR_USAGE, "\"auth\" must be a list of names");
    s->auth_given = true;
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct str name = STR("");
        enum err err = read_text(a, json_array_get(value, i), "auth", &name, e);

        if (err == ERR_OK)
            err = scenario_add_auth(s, name, e);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err
read_secrets(struct scenario *s, struct arena *a, json_t *value, struct error *e)
{
    const char *name;
    json_t *scope_json;

    if (json_is_null(value))
        return ERR_OK;
    if (!json_is_object(value))
        return fail(e, ERR_USAGE, "\"secrets\" must be an object of name and scope");
    json_object_foreach(value, name, scope_json)
    {
        struct str scope = STR("");
        enum env_scope found = ENV_SCOPE_ORG;
        enum err err = read_text(a, scope_json, "secrets", &scope, e);

        if (err != ERR_OK)
            return err;
        if (str_equal(scope, env_scope_name(ENV_SCOPE_WORKSPACE)))
            found = ENV_SCOPE_WORKSPACE;
        else if (!str_equal(scope, env_scope_name(ENV_SCOPE_ORG)))
            return fail(e, ERR_USAGE, "the scope of a secret must be \"org\" or \"workspace\"");
        err = scenario_add_secret(s, a, str_from_cstr(name), found, e);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err
read_field(struct scenario *s, struct arena *a, const char *name, json_t *value, struct error *e)
{
    if (strcmp(name, "runtime") == 0)
        return read_text(a, value, name, &s->runtime, e);
    if (strcmp(name, "model") == 0)
        return read_text(a, value, name, &s->model, e);
    if (strcmp(name, "override") == 0) {
        s->override_present = !json_is_null(value);
        return read_text(a, value, name, &s->override_raw, e);
    }
    if (strcmp(name, "auth") == 0)
        return read_auth(s, a, value, e);
    if (strcmp(name, "secrets") == 0)
        return read_secrets(s, a, value, e);
    if (strcmp(name, "gateway") == 0) {
        if (!json_is_boolean(value) && !json_is_null(value))
            return fail(e, ERR_USAGE, "\"gateway\" must be true or false");
        s->gateway = !json_is_false(value);
        return ERR_OK;
    }
    return fail(e, ERR_USAGE, "unknown field \"%.60s\"", name);
}

static enum err
read_object(struct scenario *s, struct arena *a, json_t *object, struct error *e)
{
    const char *name;
    json_t *value;

    if (!json_is_object(object))
        return fail(e, ERR_USAGE, "a line must hold one JSON object");
    if (json_object_get(object, "runtime") == NULL || json_object_get(object, "model") == NULL)
        return fail(e, ERR_USAGE, "\"runtime\" and \"model\" are needed");
    json_object_foreach(object, name, value)
    {
        enum err err = read_field(s, a, name, value, e);

        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

enum err
scenario_from_json(
    struct scenario *s, struct arena *a, struct str line, int64_t now_ms, struct error *e)
{
    json_error_t problem;
    json_t *object = json_loadb(line.p, line.n, JSON_REJECT_DUPLICATES, &problem);
    enum err err;

    scenario_init(s, STR(""), STR(""), now_ms);
    if (object == NULL)
        return fail(e, ERR_USAGE, "not JSON: %s", problem.text);
    err = read_object(s, a, object, e);
    json_decref(object);
    return err;
}

static json_t *
json_of(struct str s)
{
    return s.n == 0 ? json_null() : json_stringn(s.p, s.n);
}

static json_t *
warning_codes(const struct scenario_result *result)
{
    json_t *codes = json_array();

    for (unsigned bit = 1; bit < 1u << BILLING_WARN_COUNT_BITS; bit <<= 1) {
        if ((result->decision.warnings & bit) != 0)
            json_array_append_new(codes, json_of(billing_warning_code(bit)));
    }
    if ((result->plan.warnings & ENV_WARN_SHADOWED_CREDENTIAL) != 0)
        json_array_append_new(codes, json_of(env_refusal_name(ENV_REFUSAL_SHADOWED_CREDENTIAL)));
    return codes;
}

/* One action per name: what a later row does to it is what the agent sees. */
static json_t *
env_actions(const struct scenario_result *result)
{
    json_t *env = json_object();

    for (size_t i = 0; i < result->plan.n; i++) {
        const struct env_row *row = &result->plan.rows[i];

        json_object_setn_new_nocheck(
            env, row->name.p, row->name.n, json_of(env_action_name(row->action)));
    }
    return env;
}

json_t *
scenario_answer(const struct scenario_result *result)
{
    const struct billing_decision *d = &result->decision;
    const struct registry *r = result->facts.derive.registry;

    return json_pack("{so so so so so so so}", "provider",
        json_of(d->provider == NULL ? STR("") : registry_str(r, d->provider->name)),
        "resolved_mode", json_of(billing_mode_name(d->mode)), "source",
        json_of(billing_source_name(d->source)), "error",
        json_of(derive_error_name(d->derived.error)), "refusal",
        json_of(env_refusal_name(result->plan.refusal)), "warnings", warning_codes(result), "env",
        env_actions(result));
}
