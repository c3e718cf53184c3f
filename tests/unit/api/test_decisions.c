/* What is decided, and that everybody who asks is told the same. */
#include "world.h"

#include "api/gather.h"
#include "api/secret.h"
#include "registry/explain.h"
#include "store/query.h"

#include "unit.h"

static enum err
spoil_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query q = query_start(tx, "UPDATE workspace_secrets SET sealed = fingerprint");

    return query_run(&q, e);
}

/* Makes every workspace secret one that does not open. */
static void
spoil_secrets(struct world *w)
{
    struct error e;

    assert_int_equal(store_tx(w->store, spoil_tx, NULL, &e), ERR_OK);
}

/* The mode that the route tells. */
static void
assert_mode(struct world *w, const char *id, const char *mode, const char *source)
{
    char path[128];
    AUTO_ANSWER struct answer a = {0};

    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    a = ask_with(w, w->admin, NULL, NULL, "GET", path, NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_text(&a, "resolved_mode"), mode);
    assert_string_equal(answer_text(&a, "source"), source);
}

static struct answer
put_mode(struct world *w, const char *id, const char *body)
{
    char path[128];

    snprintf(path, sizeof(path), "/cp/admin/workspaces/%s/llm-billing-mode", id);
    return ask(w, "PUT", path, body);
}

/* Workspaces in every state that a decision can depend on. */
static const struct asked {
    const char *name;
    const char *runtime;
    const char *model;
    const char *secrets[3][2];
    const char *org_secret[2]; /* name and value; or none */
    const char *override;      /* as stored, garbled or not; or none */
    const char *source;
} asked[] = {
    {"a platform model", "claude-code", "anthropic/claude-opus-4-7", {{NULL}}, {NULL}, NULL,
        "derived_provider"},
    {"a vendor's model", "claude-code", "opus", {{"CLAUDE_CODE_OAUTH_TOKEN", "t"}}, {NULL}, NULL,
        "derived_provider"},
    {"MOLECULE_MODEL before MODEL", "claude-code", "opus",
        {{"CLAUDE_CODE_OAUTH_TOKEN", "t"}, {"MOLECULE_MODEL", " kimi-for-coding "},
            {"KIMI_API_KEY", "k"}},
        {NULL}, NULL, "derived_provider"},
    {"a tie that a secret decides", "codex", "gpt-5.5", {{"OPENAI_API_KEY", "k"}}, {NULL}, NULL,
        "derived_provider"},
    {"a tie that the org's secret decides", "codex", "gpt-5.5", {{NULL}}, {"OPENAI_API_KEY", "k"},
        NULL, "derived_provider"},
    {"a tie with a blank secret", "codex", "gpt-5.5",
        {{"CODEX_AUTH_JSON", "  "}, {"OPENAI_API_KEY", "k"}}, {NULL}, NULL, "derived_provider"},
    {"no model", "claude-code", "", {{NULL}}, {NULL}, NULL, "derived_default"},
    {"an unknown runtime", "langgraph", "x", {{NULL}}, {NULL}, NULL, "derived_default"},
    {"an unregistered model", "claude-code", "nonsense-1", {{NULL}}, {NULL}, NULL,
        "derived_default"},
    {"disabled", "codex", "anthropic/claude-opus-4-7", {{NULL}}, {NULL}, "disabled",
        "workspace_override"},
    {"byok on a platform model", "claude-code", "anthropic/claude-opus-4-7", {{NULL}}, {NULL},
        "byok", "workspace_override"},
    {"a garbled override", "claude-code", "opus", {{"CLAUDE_CODE_OAUTH_TOKEN", "t"}}, {NULL},
        " byok", "constant_fallback"},
};
enum { ASKED = sizeof(asked) / sizeof(asked[0]), ASKED_SECRETS = 3 };

struct prepare {
    struct api *api;
    const struct asked *asked;
    struct workspace_row row;
};

static struct workspace_row
bare_workspace(const char *runtime)
{
    return (struct workspace_row){.id = id_new(),
        .name = STR("w"),
        .role = STR(""),
        .runtime = str_from_cstr(runtime),
        .url = STR(""),
        .command = STR("[]"),
        .workspace_dir = STR(""),
        .extra_models = STR("[]"),
        .required_env = STR("[]"),
        .created_ms = clock_ms(),
        .desired = WORKSPACE_DESIRED_STOPPED,
        .status = WORKSPACE_STOPPED};
}

static enum err
put_plain(struct store_tx *tx, const struct prepare *p, struct arena *a, struct id workspace,
    const char *name, const char *value, struct error *e)
{
    struct secret_write s = {.name = str_from_cstr(name), .value = str_from_cstr(value)};

    return secret_put_tx(tx, p->api, a, p->row.org, workspace, &s, e);
}

/* The rows themselves: create would refuse some of these. */
static enum err
prepare_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct prepare *p = ctx;
    const struct asked *q = p->asked;
    AUTO_ARENA struct arena a = {0};
    struct str raw = str_from_cstr(q->override);
    enum err code = workspace_row_insert(tx, &p->row, e);

    if (code == ERR_OK && q->override != NULL)
        code = workspace_row_set_override(tx, p->row.org, p->row.id, &raw, e);
    if (code == ERR_OK && q->model[0] != '\0')
        code = put_plain(tx, p, &a, p->row.id, "MODEL", q->model, e);
    for (int i = 0; code == ERR_OK && i < ASKED_SECRETS && q->secrets[i][0] != NULL; i++)
        code = put_plain(tx, p, &a, p->row.id, q->secrets[i][0], q->secrets[i][1], e);
    if (code == ERR_OK && q->org_secret[0] != NULL)
        code = put_plain(tx, p, &a, (struct id){0}, q->org_secret[0], q->org_secret[1], e);
    return code;
}

/* What create would ask about: the same workspace as a request that has no row yet. */
static void
draft_of(
    const struct asked *q, struct env_secret *secrets, struct str *values, struct gather_draft *ret)
{
    *ret = (struct gather_draft){.runtime = str_from_cstr(q->runtime),
        .model = str_from_cstr(q->model),
        .secrets = secrets,
        .secret_values = values};
    for (int i = 0; i < ASKED_SECRETS && q->secrets[i][0] != NULL; i++) {
        values[i] = str_from_cstr(q->secrets[i][1]);
        secrets[i] = (struct env_secret){.name = str_from_cstr(q->secrets[i][0]),
            .scope = ENV_SCOPE_WORKSPACE,
            .value_blank = str_is_blank(values[i]),
            .value_bytes = (uint32_t)values[i].n};
        ret->secrets_n++;
    }
}

/* Decision, trace, effective model and auth names as one text; the caller frees it. */
static char *
answer_of(struct world *w, const struct registry_ref *ref, const struct prepare *p, int caller)
{
    AUTO_ARENA struct arena arena = {0};
    AUTO_GATHERED struct gathered g = {0};
    AUTO_JSON json_t *j = NULL;
    json_t *names;
    struct env_secret secrets[ASKED_SECRETS];
    struct str values[ASKED_SECRETS];
    struct gather_draft draft;
    struct gather_request q = {.caller = caller, .org = p->row.org, .workspace = p->row.id};
    struct error e;
    char *text;

    if (gather_callers[caller].from_draft) {
        draft_of(p->asked, secrets, values, &draft);
        q.draft = &draft;
    }
    assert_int_equal(gather(w->api, &ref->set, &arena, &q, &g, &e), ERR_OK);
    assert_int_equal(g.failure.code, ERR_OK);
    assert_int_equal(g.values != NULL && g.secrets_n > 0 && g.values[0] != NULL,
        gather_callers[caller].needs_values && g.secrets_n > 0);
    j = explain_json(&g.facts, &g.decision, &g.trace);
    json_object_set_new(j, "effective_model", json_str(g.effective_model));
    names = json_array();
    for (size_t i = 0; i < g.auth_names_n; i++)
        json_array_append_new(names, json_str(g.auth_names[i]));
    json_object_set_new(j, "auth_names", names);
    text = json_dumps(j, JSON_SORT_KEYS);
    gathered_done(&g);
    g = (struct gathered){0};
    return text;
}

/*
 * Every row of the table of callers, for every state: all answers are the same, byte for byte. A
 * row
 * that is added is asked by this test without a change here.
 */
static void
every_caller_gets_the_same_answer(void **state)
{
    static const char *const callers[] = {
        "read", "start", "restart", "run", "write gate", "create", "pull"};
    struct world *w = *state;
    struct registry_ref *ref = api_registry_acquire(w->api);

    for (size_t i = 0; i < sizeof(callers) / sizeof(callers[0]); i++)
        assert_string_equal(gather_callers[i].name, callers[i]);
    for (size_t i = 0; i < ASKED; i++) {
        struct prepare p = {
            .api = w->api, .asked = &asked[i], .row = bare_workspace(asked[i].runtime)};
        char id[ID_TEXT_BYTES], mode[64], *first = NULL;
        AUTO_JSON json_t *decision = NULL;
        struct error e;

        /* An org's secret is everybody's: that case has an org of its own. */
        assert_true(id_parse(
            str_from_cstr(asked[i].org_secret[0] == NULL ? w->org : w->other), &p.row.org));
        if (store_tx(w->store, prepare_tx, &p, &e) != ERR_OK)
            fail_msg("%s: %s", asked[i].name, e.text);
        for (int caller = 0; caller < GATHER_CALLER_COUNT; caller++) {
            char *text;

            assert_non_null(gather_callers[caller].name);
            /* What is not there yet has no override. */
            if (gather_callers[caller].from_draft && asked[i].override != NULL)
                continue;
            text = answer_of(w, ref, &p, caller);
            if (first == NULL)
                first = strdup(text);
            if (strcmp(first, text) != 0)
                fail_msg("%s: %s is told %s and %s is told %s", asked[i].name,
                    gather_callers[0].name, first, gather_callers[caller].name, text);
            free(text);
        }
        decision = json_loads(first, 0, NULL);
        free(first);
        assert_string_equal(
            json_string_value(json_object_get(decision, "source")), asked[i].source);
        snprintf(mode, sizeof(mode), "%s",
            json_string_value(json_object_get(decision, "resolved_mode")));
        id_text(p.row.id, id);
        assert_mode(w, id, mode, asked[i].source);
    }
    api_registry_release(w->api, ref);
}

/* The model of one start goes before the stored ones, for that start alone. */
static void
a_start_may_name_its_model(void **state)
{
    struct world *w = *state;
    struct registry_ref *ref = api_registry_acquire(w->api);
    char id[ID_TEXT_BYTES];

    make_workspace(w, "\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\"}", id);
    for (int caller = 0; caller < GATHER_CALLER_COUNT; caller++) {
        struct gather_request q = {
            .caller = caller, .start_model = STR(" anthropic/claude-opus-4-7 ")};
        AUTO_ARENA struct arena arena = {0};
        AUTO_GATHERED struct gathered g = {0};
        struct error e;

        if (!gather_callers[caller].takes_model)
            continue;
        assert_true(id_parse(str_from_cstr(w->org), &q.org));
        assert_true(id_parse(str_from_cstr(id), &q.workspace));
        assert_int_equal(gather(w->api, &ref->set, &arena, &q, &g, &e), ERR_OK);
        assert_str(g.effective_model, "anthropic/claude-opus-4-7");
        assert_int_equal(g.decision.mode, BILLING_PLATFORM_MANAGED);
        gathered_done(&g);
        g = (struct gathered){0};
    }
    assert_mode(w, id, "byok", "derived_provider");
    api_registry_release(w->api, ref);
}

/* A secret that cannot be read closes the decision for all of them. */
static void
every_caller_is_closed_by_an_unreadable_secret(void **state)
{
    struct world *w = *state;
    struct registry_ref *ref = api_registry_acquire(w->api);
    char id[ID_TEXT_BYTES];

    make_workspace(w, "\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\"}", id);
    spoil_secrets(w);
    for (int caller = 0; caller < GATHER_CALLER_COUNT; caller++) {
        struct gather_request q = {.caller = caller};
        AUTO_ARENA struct arena arena = {0};
        AUTO_GATHERED struct gathered g = {0};
        struct error e;

        if (gather_callers[caller].from_draft)
            continue;
        assert_true(id_parse(str_from_cstr(w->org), &q.org));
        assert_true(id_parse(str_from_cstr(id), &q.workspace));
        assert_int_equal(gather(w->api, &ref->set, &arena, &q, &g, &e), ERR_OK);
        assert_int_equal(g.failure.code, ERR_SECRET_UNREADABLE);
        assert_int_equal(g.decision.mode, BILLING_PLATFORM_MANAGED);
        assert_int_equal(g.decision.source, BILLING_CONSTANT_FALLBACK);
        gathered_done(&g);
        g = (struct gathered){0};
    }
    api_registry_release(w->api, ref);
}

/* What create decides from its own request is what a start decides from the rows it made. */
static void
create_decides_as_the_start_will(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];

    make_workspace(w, "\"model\":\" opus \",\"secrets\":{\"claude_code_oauth_token\":\"t\"}", id);
    assert_mode(w, id, "byok", "derived_provider");
}

static void
override_is_set_cleared_and_refused(void **state)
{
    static const struct {
        const char *body;
        int status;
    } bad[] = {
        {"{}", 400},
        {"{\"mode\":7}", 400},
        {"{\"mode\":\"\"}", 400},
        {"{\"mode\":\"BYOK\"}", 400},
        {"{\"mode\":\"byokk\"}", 400},
        {"[]", 400},
    };
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer set = {0}, cleared = {0};

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        AUTO_ANSWER struct answer a = put_mode(w, id, bad[i].body);

        assert_int_equal(a.status, bad[i].status);
    }
    assert_mode(w, id, "platform_managed", "derived_provider");
    set = put_mode(w, id, "{\"mode\":\"byok\"}");
    assert_int_equal(set.status, 200);
    assert_string_equal(answer_text(&set, "workspace_override"), "byok");
    assert_string_equal(answer_text(&set, "resolved_mode"), "byok");
    assert_true(json_is_null(json_object_get(set.json, "provider_selection")));
    cleared = put_mode(w, id, "{\"mode\":null}");
    assert_int_equal(cleared.status, 200);
    assert_true(json_is_null(json_object_get(cleared.json, "workspace_override")));
    assert_string_equal(answer_text(&cleared, "provider_selection"), "platform");
}

/* A blank value is no credential: the one that is there decides the tie of the two codex arms. */
static void
blank_values_are_no_auth_names(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];
    AUTO_ANSWER struct answer a = {0};

    make_workspace(w,
        "\"runtime\":\"codex\",\"model\":\"gpt-5.5\","
        "\"secrets\":{\"CODEX_AUTH_JSON\":\"  \",\"OPENAI_API_KEY\":\"k\"}",
        id);
    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    a = ask(w, "GET", path, NULL);
    assert_string_equal(answer_text(&a, "provider_selection"), "openai-api");
}

struct garble {
    struct id org, workspace;
};

static enum err
garble_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct garble *g = ctx;
    struct str raw = STR(" byok");

    return workspace_row_set_override(tx, g->org, g->workspace, &raw, e);
}

static void
garbled_override_is_closed_and_shown(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];
    struct garble g;
    struct error e;
    AUTO_ANSWER struct answer a = {0};

    make_workspace(w, "\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\"}", id);
    assert_true(id_parse(str_from_cstr(w->org), &g.org));
    assert_true(id_parse(str_from_cstr(id), &g.workspace));
    assert_int_equal(store_tx(w->store, garble_tx, &g, &e), ERR_OK);
    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode?trace=1", id);
    a = ask(w, "GET", path, NULL);
    assert_string_equal(answer_text(&a, "resolved_mode"), "platform_managed");
    assert_string_equal(answer_text(&a, "source"), "constant_fallback");
    assert_string_equal(answer_text(&a, "workspace_override"), " byok");
    assert_string_equal(json_string_value(json_object_get(
                            json_array_get(json_object_get(a.json, "warnings"), 0), "code")),
        "OVERRIDE_GARBLED");
    assert_true(json_is_array(json_object_get(a.json, "trace")));
}

static void
only_the_admin_sets_platform_managed(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];
    AUTO_ANSWER struct answer made = ask(w, "POST", "/org/tokens", "{}");
    AUTO_ANSWER struct answer refused = {0}, allowed = {0};

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    refused = ask_with(w, answer_text(&made, "auth_token"), NULL, NULL, "PUT", path,
        "{\"mode\":\"platform_managed\"}");
    allowed = ask_with(
        w, answer_text(&made, "auth_token"), NULL, NULL, "PUT", path, "{\"mode\":\"byok\"}");
    assert_answer(refused, 403, "WRONG_CREDENTIAL_KIND");
    assert_int_equal(allowed.status, 200);
}

static void
create_refuses_before_any_row_exists(void **state)
{
    static const struct {
        const char *body;
        int status;
        const char *code;
    } cases[] = {
        {"{}", 400, "INVALID_REQUEST"},
        {"{\"name\":\"a\\nb\",\"model\":\"opus\"}", 400, "INVALID_REQUEST"},
        {"{\"name\":\"a\"}", 422, "MODEL_REQUIRED"},
        {"{\"name\":\"a\",\"model\":\"  \"}", 422, "MODEL_REQUIRED"},
        {"{\"name\":\"a\",\"model\":\"nonsense-1\"}", 422, "UNREGISTERED_MODEL_FOR_RUNTIME"},
        {"{\"name\":\"a\",\"model\":\"opus\"}", 422, "MISSING_BYOK_CREDENTIAL"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"  \"}}",
            422, "MISSING_BYOK_CREDENTIAL"},
        {"{\"name\":\"a\",\"model\":\"anthropic/claude-opus-4-7\",\"secrets\":{\"OPENAI_API_KEY\":"
         "\"k\"}}",
            400, "VENDOR_KEY_ON_PLATFORM_MANAGED"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"secrets\":{\"LD_PRELOAD\":\"x\"}}", 400,
            "RESERVED_NAME"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"external\":true,\"runtime\":\"codex\"}", 422,
            "RUNTIME_UNSUPPORTED"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"parent_id\":\"00000000-0000-7000-8000-"
         "000000000000\","
         "\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\"}}",
            400, "INVALID_REQUEST"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"workspace_dir\":\"/etc/x\"}", 400,
            "INVALID_REQUEST"},
        {"{\"name\":\"a\",\"model\":\"opus\",\"budget_limit\":-1}", 400, "INVALID_REQUEST"},
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_ANSWER struct answer a = ask(w, "POST", "/workspaces", cases[i].body);
        AUTO_ANSWER struct answer list = ask(w, "GET", "/workspaces", NULL);

        if (a.status != cases[i].status || strcmp(answer_text(&a, "code"), cases[i].code) != 0)
            fail_msg("%s: got %d %s %s", cases[i].body, a.status, answer_text(&a, "code"),
                answer_text(&a, "error"));
        assert_int_equal(json_array_size(list.json), 0);
    }
}

static void
runtimes_without_an_entry_and_external_ones_are_accepted(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer graph = ask(w, "POST", "/workspaces",
        "{\"name\":\"g\",\"runtime\":\"langgraph\",\"model\":\"any\",\"start\":false}");
    AUTO_ANSWER struct answer external =
        ask(w, "POST", "/workspaces", "{\"name\":\"e\",\"external\":true}");
    AUTO_ANSWER struct answer started = {0};

    assert_int_equal(graph.status, 201);
    assert_int_equal(external.status, 201);
    assert_string_equal(answer_text(&external, "status"), "awaiting_agent");
    assert_true(json_string_length(json_object_get(
                    json_object_get(external.json, "connection"), "auth_token")) > 40);
    started = ask(w, "POST", path_of(answer_text(&external, "id"), "/start"), NULL);
    assert_string_equal(answer_text(&started, "status"), "noop");
    assert_int_equal(stand_in.launched, 0);
}

static void
unregistered_model_is_let_through_by_setting(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer a = {0};

    w->api->o.unregistered_model_warn = true;
    a = ask(w, "POST", "/workspaces", "{\"name\":\"a\",\"model\":\"nonsense-1\",\"start\":false}");
    assert_int_equal(a.status, 201);
    assert_non_null(strstr(a.head, "X-Molecule-Model-Unregistered: true"));
    assert_int_equal(json_array_size(json_object_get(a.json, "warnings")), 1);
}

static void
model_is_a_secret_and_provider_is_gone(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer get = {0}, put = {0}, again = {0}, cleared = {0}, none = {0},
                              null = {0}, old = {0};

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    get = ask(w, "GET", path_of(id, "/model"), NULL);
    assert_string_equal(answer_text(&get, "model"), "anthropic/claude-opus-4-7");
    assert_string_equal(answer_text(&get, "source"), "workspace_secrets");
    put = ask(w, "PUT", path_of(id, "/model"), "{\"model\":\"opus\"}");
    assert_string_equal(answer_text(&put, "status"), "saved");
    again = ask(w, "GET", path_of(id, "/model"), NULL);
    assert_string_equal(answer_text(&again, "model"), "opus");
    cleared = ask(w, "PUT", path_of(id, "/model"), "{\"model\":\"\"}");
    assert_string_equal(answer_text(&cleared, "status"), "cleared");
    null = ask(w, "PUT", path_of(id, "/model"), "{\"model\":null}");
    assert_string_equal(answer_text(&null, "status"), "cleared");
    none = ask(w, "GET", path_of(id, "/model"), NULL);
    assert_string_equal(answer_text(&none, "source"), "default");
    assert_mode(w, id, "platform_managed", "derived_default");
    old = ask(w, "GET", path_of(id, "/provider"), NULL);
    assert_answer(old, 410, "PROVIDER_ENDPOINT_RETIRED");
}

static void
offered_models_follow_the_registry(void **state)
{
    AUTO_ANSWER struct answer a =
        ask(*state, "GET", "/admin/llm/offered-models?runtime=claude-code", NULL);
    AUTO_ANSWER struct answer none =
        ask(*state, "GET", "/admin/llm/offered-models?runtime=nosuch", NULL);
    bool platform = false;

    assert_int_equal(a.status, 200);
    assert_true(json_array_size(a.json) > 10);
    for (size_t i = 0; i < json_array_size(a.json); i++) {
        json_t *item = json_array_get(a.json, i);

        if (strcmp(json_string_value(json_object_get(item, "id")), "anthropic/claude-opus-4-7") ==
            0)
            platform = json_is_true(json_object_get(item, "platform_billed")) &&
                json_is_true(json_object_get(item, "satisfied"));
    }
    assert_true(platform);
    assert_int_equal(none.status, 200);
    assert_int_equal(json_array_size(none.json), 0);
}

static bool
is_satisfied(struct world *w, const char *runtime, const char *model)
{
    char path[128];
    AUTO_ANSWER struct answer a = {0};
    json_t *item;
    size_t i;

    snprintf(path, sizeof(path), "/admin/llm/offered-models?runtime=%s", runtime);
    a = ask(w, "GET", path, NULL);
    json_array_foreach(a.json, i, item)
    {
        if (strcmp(json_string_value(json_object_get(item, "id")), model) == 0)
            return json_is_true(json_object_get(item, "satisfied"));
    }
    fail_msg("%s is not offered for %s", model, runtime);
    return false;
}

/* Satisfied: a new workspace of this org could use it now, on its org's key or the platform's. */
static void
offered_models_say_whether_a_credential_is_there(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer none = {0}, put = {0};
    struct prepare p = {.api = w->api,
        .asked = &(struct asked){.model = "", .org_secret = {"CLAUDE_CODE_OAUTH_TOKEN", "t"}},
        .row = bare_workspace("claude-code")};
    struct error e;

    assert_false(is_satisfied(w, "claude-code", "opus"));
    assert_true(is_satisfied(w, "claude-code", "anthropic/claude-opus-4-7"));
    stand_in.has_platform_key = false;
    assert_false(is_satisfied(w, "claude-code", "anthropic/claude-opus-4-7"));
    assert_true(id_parse(str_from_cstr(w->org), &p.row.org));
    assert_int_equal(store_tx(w->store, prepare_tx, &p, &e), ERR_OK);
    assert_true(is_satisfied(w, "claude-code", "opus"));
    assert_false(is_satisfied(w, "claude-code", "claude-opus-4-7"));
    none = ask(w, "GET", "/admin/llm/offered-models", NULL);
    assert_answer(none, 400, "INVALID_REQUEST");
    put = ask(w, "GET", "/admin/llm/offered-models?runtime=%20", NULL);
    assert_answer(put, 400, "INVALID_REQUEST");
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(every_caller_gets_the_same_answer),
        WORLD_TEST(a_start_may_name_its_model),
        WORLD_TEST(every_caller_is_closed_by_an_unreadable_secret),
        WORLD_TEST(create_decides_as_the_start_will),
        WORLD_TEST(override_is_set_cleared_and_refused),
        WORLD_TEST(blank_values_are_no_auth_names),
        WORLD_TEST(garbled_override_is_closed_and_shown),
        WORLD_TEST(only_the_admin_sets_platform_managed),
        WORLD_TEST(create_refuses_before_any_row_exists),
        WORLD_TEST(runtimes_without_an_entry_and_external_ones_are_accepted),
        WORLD_TEST(unregistered_model_is_let_through_by_setting),
        WORLD_TEST(model_is_a_secret_and_provider_is_gone),
        WORLD_TEST(offered_models_follow_the_registry),
        WORLD_TEST(offered_models_say_whether_a_credential_is_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
