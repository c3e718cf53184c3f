#include "api/replay.h"

#include "api/decision.h"
#include "registry/explain.h"

#define TEXT_BYTES_MAX (64 * 1024)

/* One replay: what the record says went in, and what comes out. */
struct replay {
    struct arena arena;
    const struct api_registry *registry;
    json_t *record;
    struct gathered gathered; /* only what a decision and a plan need */
    struct plan plan;
    bool has_plan;
    json_t *differences;
};

static void
replay_done(struct replay *p)
{
    arena_done(&p->arena);
    json_decref(p->differences);
}

/* --- what went in ---------------------------------------------------------------------------- */

static enum err
garbled(struct error *e, const char *field)
{
    return fail(e, ERR_INVALID_REQUEST, "the record's \"%s\" is missing or garbled", field);
}

static enum err
read_text(struct replay *p, json_t *o, const char *field, struct str *ret, struct error *e)
{
    json_t *v = json_object_get(o, field);

    if (!json_is_string(v))
        return garbled(e, field);
    *ret = arena_dup(&p->arena, (struct str){json_string_value(v), json_string_length(v)});
    return ERR_OK;
}

static enum err
read_bool(json_t *o, const char *field, bool *ret, struct error *e)
{
    json_t *v = json_object_get(o, field);

    if (!json_is_boolean(v))
        return garbled(e, field);
    *ret = json_is_true(v);
    return ERR_OK;
}

static enum err
read_list(json_t *o, const char *field, json_t **ret, struct error *e)
{
    json_t *v = json_object_get(o, field);

    if (!json_is_array(v))
        return garbled(e, field);
    *ret = v;
    return ERR_OK;
}

static enum err
read_names(struct replay *p, json_t *o, const char *field, struct str **ret, size_t *ret_n,
    struct error *e)
{
    *ret_n = 0;
    if (!json_is_array(json_object_get(o, field)))
        return garbled(e, field);
    return json_get_strs(o, field, &p->arena, ret, ret_n, e);
}

static enum err
read_secret(struct replay *p, json_t *o, struct env_secret *ret, struct error *e)
{
    struct str scope;
    json_t *bytes = json_object_get(o, "bytes");
    enum err code = read_text(p, o, "name", &ret->name, e);

    if (code == ERR_OK)
        code = read_text(p, o, "scope", &scope, e);
    if (code == ERR_OK)
        code = read_bool(o, "blank", &ret->value_blank, e);
    if (code != ERR_OK)
        return code;
    if (!json_is_integer(bytes) || json_integer_value(bytes) < 0 ||
        json_integer_value(bytes) > UINT32_MAX)
        return garbled(e, "bytes");
    ret->value_bytes = (uint32_t)json_integer_value(bytes);
    ret->scope =
        str_equal(scope, env_scope_name(ENV_SCOPE_ORG)) ? ENV_SCOPE_ORG : ENV_SCOPE_WORKSPACE;
    return str_equal(scope, env_scope_name(ret->scope)) ? ERR_OK : garbled(e, "scope");
}

static enum err
read_secrets(struct replay *p, json_t *inputs, struct error *e)
{
    struct gathered *g = &p->gathered;
    json_t *list = NULL;
    enum err code = read_list(inputs, "secrets", &list, e);

    if (code != ERR_OK)
        return code;
    g->secrets_n = json_array_size(list);
    g->secrets = arena_array(&p->arena, g->secrets_n + 1, sizeof(*g->secrets));
    for (size_t i = 0; code == ERR_OK && i < g->secrets_n; i++)
        code = read_secret(p, json_array_get(list, i), &g->secrets[i], e);
    return code;
}

static enum err
read_inputs(struct replay *p, json_t *inputs, struct error *e)
{
    struct gathered *g = &p->gathered;
    bool store_failed = false;
    enum err code = read_text(p, inputs, "runtime", &g->workspace.runtime, e);

    if (code == ERR_OK)
        code = read_text(p, inputs, "model", &g->effective_model, e);
    if (code == ERR_OK)
        code = read_bool(inputs, "store_failed", &store_failed, e);
    if (code == ERR_OK)
        code = read_secrets(p, inputs, e);
    g->workspace.override_present = !json_is_null(json_object_get(inputs, "override"));
    if (code == ERR_OK && g->workspace.override_present)
        code = read_text(p, inputs, "override", &g->workspace.override_raw, e);
    if (store_failed)
        g->failure.code = ERR_STORE_UNAVAILABLE; /* or a secret that could not be read */
    return code;
}

static enum err
read_identity(struct replay *p, json_t *platform, struct error *e)
{
    struct env_plan_facts *f = &p->plan.facts;
    struct env_row *rows;
    json_t *list = NULL;
    enum err code = read_list(platform, "identity", &list, e);

    if (code != ERR_OK)
        return code;
    f->identity_n = json_array_size(list);
    rows = arena_array(&p->arena, f->identity_n + 1, sizeof(*rows));
    for (size_t i = 0; code == ERR_OK && i < f->identity_n; i++) {
        rows[i] = (struct env_row){
            .action = ENV_SET, .source = ENV_FROM_IDENTITY, .reason = "as recorded"};
        code = read_text(p, json_array_get(list, i), "name", &rows[i].name, e);
        if (code == ERR_OK)
            code = read_text(p, json_array_get(list, i), "value", &rows[i].literal, e);
    }
    f->identity = rows;
    return code;
}

static enum err
read_platform(struct replay *p, json_t *platform, struct error *e)
{
    struct env_plan_facts *f = &p->plan.facts;
    struct str *required = NULL;
    json_t *at = json_object_get(platform, "at_ms");
    enum err code = read_bool(platform, "gateway", &f->gateway_present, e);

    if (code == ERR_OK)
        code = read_bool(platform, "refuse_shadowed", &f->refuse_shadowed, e);
    if (code == ERR_OK)
        code = read_text(p, platform, "openai_base_url", &f->openai_base_url, e);
    if (code == ERR_OK)
        code = read_text(p, platform, "anthropic_base_url", &f->anthropic_base_url, e);
    if (code == ERR_OK)
        code = read_text(p, platform, "usage_url", &f->usage_url, e);
    if (code == ERR_OK)
        code = read_names(p, platform, "keys", &p->plan.platform_keys, &p->plan.platform_keys_n, e);
    if (code == ERR_OK)
        code = read_names(p, platform, "required_env", &required, &f->required_env_n, e);
    if (code == ERR_OK && !json_is_integer(at))
        code = garbled(e, "at_ms");
    if (code == ERR_OK)
        code = read_identity(p, platform, e);
    f->required_env = required;
    /* Older records know of none. */
    f->has_workspace_token = json_is_true(json_object_get(platform, "workspace_token"));
    f->now_ms = json_integer_value(at);
    return code;
}

static enum err
read_record(struct replay *p, struct error *e)
{
    json_t *version = json_object_get(p->record, "version");
    json_t *inputs = json_object_get(p->record, "inputs");
    json_t *platform = json_object_get(inputs, "platform");
    enum err code;

    if (!json_is_integer(version))
        return fail(e, ERR_INVALID_REQUEST, "this is no decision record");
    if (json_integer_value(version) != DECISION_RECORD_VERSION)
        return fail(e, ERR_INVALID_REQUEST, "a record of version %lld is not known here",
            (long long)json_integer_value(version));
    code = read_inputs(p, inputs, e);
    p->has_plan = code == ERR_OK && json_is_object(platform);
    return p->has_plan ? read_platform(p, platform, e) : code;
}

/* --- what comes out -------------------------------------------------------------------------- */

static void
decide_again(struct replay *p)
{
    struct env_plan_facts *f = &p->plan.facts;
    const struct gathered *g = &p->gathered;
    const struct registry *r = p->registry->registry;

    gather_decide(p->registry, &p->arena, &p->gathered);
    if (!p->has_plan)
        return;
    f->registry = r;
    f->decision = &g->decision;
    f->runtime = g->workspace.runtime;
    f->effective_model = g->effective_model;
    f->secrets = g->secrets;
    f->secrets_n = g->secrets_n;
    f->platform_key_present = plan_platform_key_present(
        r, g->effective_model, p->plan.platform_keys, p->plan.platform_keys_n);
    p->plan.env =
        (struct env_plan){.rows = arena_array(&p->arena, ENV_PLAN_ROWS_MAX, sizeof(struct env_row)),
            .rows_max = ENV_PLAN_ROWS_MAX};
    env_plan_make(f, &p->plan.env);
}

/* --- what is different ----------------------------------------------------------------------- */

static void
differ(struct replay *p, const char *what, const char *was, const char *is)
{
    if (strcmp(was, is) == 0)
        return;
    json_array_append_new(p->differences,
        json_sprintf("%s was %s and would be %s", what, was[0] == '\0' ? "none" : was,
            is[0] == '\0' ? "none" : is));
}

/* A field's value; "" for null and for none. */
static const char *
text_of(json_t *o, const char *field)
{
    const char *text = json_string_value(json_object_get(o, field));

    return text == NULL ? "" : text;
}

/* The codes of [{code, text}], in words. */
static struct str
codes_of(struct replay *p, json_t *o)
{
    AUTO_BUF struct buf b;
    json_t *item;
    size_t i;

    buf_init(&b, TEXT_BYTES_MAX);
    json_array_foreach(json_object_get(o, "warnings"), i, item)
        buf_addf(&b, "%s%s", i == 0 ? "" : ", ", text_of(item, "code"));
    return arena_dup(&p->arena, buf_str(&b));
}

static void
compare_decisions(struct replay *p, json_t *was, json_t *is)
{
    static const struct {
        const char *field, *what;
    } fields[] = {
        {"resolved_mode", "the mode"},
        {"source", "its source"},
        {"provider_selection", "the provider"},
        {"error", "the derivation's error"},
    };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
        differ(p, fields[i].what, text_of(was, fields[i].field), text_of(is, fields[i].field));
    differ(p, "the decision's warning", codes_of(p, was).p, codes_of(p, is).p);
}

/* Which steps were taken and whom each kept; the sentences may be worded anew. */
static void
compare_traces(struct replay *p, json_t *was, json_t *is)
{
    json_t *a = json_object_get(was, "trace"), *b = json_object_get(is, "trace");
    bool same = json_array_size(a) == json_array_size(b);

    if (strcmp(text_of(was, "registry_fingerprint"), text_of(is, "registry_fingerprint")) != 0)
        return;
    for (size_t i = 0; same && i < json_array_size(a); i++) {
        json_t *x = json_array_get(a, i), *y = json_array_get(b, i);

        same = strcmp(text_of(x, "step"), text_of(y, "step")) == 0 &&
            json_equal(json_object_get(x, "considered"), json_object_get(y, "considered")) &&
            json_equal(json_object_get(x, "kept"), json_object_get(y, "kept"));
    }
    if (!same)
        json_array_append_new(p->differences,
            json_string("the steps that lead to the provider are not the recorded ones"));
}

/* What a plan does to one name: "strip (org), set from usage_token". */
static struct str
actions_of(struct replay *p, json_t *env, const char *name)
{
    AUTO_BUF struct buf b;
    json_t *row;
    size_t i;

    buf_init(&b, TEXT_BYTES_MAX);
    json_array_foreach(env, i, row)
    {
        const char *value = text_of(row, "value");

        if (strcmp(text_of(row, "name"), name) != 0)
            continue;
        buf_addf(&b, "%s%s", b.n == 0 ? "" : ", ", text_of(row, "action"));
        if (text_of(row, "scope")[0] != '\0')
            buf_addf(&b, " (%s)", text_of(row, "scope"));
        else
            buf_addf(
                &b, " from %s%s%s", text_of(row, "source"), value[0] == '\0' ? "" : " to ", value);
    }
    return arena_dup(&p->arena, buf_str(&b));
}

static void
compare_env(struct replay *p, json_t *was, json_t *is)
{
    AUTO_JSON json_t *seen = json_object();
    json_t *lists[] = {was, is}, *row;
    size_t i;

    for (size_t n = 0; n < 2; n++) {
        json_array_foreach(lists[n], i, row)
        {
            const char *name = text_of(row, "name");

            if (json_object_get(seen, name) != NULL)
                continue;
            json_object_set_new(seen, name, json_true());
            differ(p, name, actions_of(p, was, name).p, actions_of(p, is, name).p);
        }
    }
}

/* Older records know of no files. */
static void
compare_files(struct replay *p, json_t *was, json_t *is)
{
    if (was != NULL && !json_equal(was, is))
        json_array_append_new(p->differences, json_string("the files in HOME would be others"));
}

static void
compare_plans(struct replay *p, json_t *was, json_t *is)
{
    differ(p, "the refusal", text_of(json_object_get(was, "refusal"), "code"),
        text_of(json_object_get(is, "refusal"), "code"));
    differ(p, "the plan's warning", codes_of(p, was).p, codes_of(p, is).p);
    differ(p, "the need of a usage token",
        json_is_true(json_object_get(was, "needs_usage_token")) ? "there" : "",
        json_is_true(json_object_get(is, "needs_usage_token")) ? "there" : "");
    compare_env(p, json_object_get(was, "env"), json_object_get(is, "env"));
    compare_files(p, json_object_get(was, "files"), json_object_get(is, "files"));
}

enum err
replay_record(const struct api_registry *registry, json_t *record, json_t **ret, struct error *e)
{
    AUTO(replay_done) struct replay p = {.registry = registry, .record = record};
    AUTO_JSON json_t *decision = NULL;
    AUTO_JSON json_t *plan = NULL;
    enum err code;

    p.differences = json_array();
    code = read_record(&p, e);
    if (code != ERR_OK)
        return code;
    decide_again(&p);
    decision = explain_json(&p.gathered.facts, &p.gathered.decision, &p.gathered.trace);
    compare_decisions(&p, json_object_get(record, "decision"), decision);
    compare_traces(&p, json_object_get(record, "decision"), decision);
    if (p.has_plan) {
        plan = explain_plan_json(&p.plan.facts, &p.plan.env);
        compare_plans(&p, json_object_get(record, "plan"), plan);
    }
    *ret = TAKE(p.differences);
    return ERR_OK;
}
