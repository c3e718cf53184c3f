/* What is decided, and that everybody who asks is told the same. */
#include "world.h"

#include "api/gather.h"

#include "unit.h"

/* The mode that the route tells. */
static void
assert_mode(struct world *w, const char *id, const char *mode, const char *source)
{
    char path[128];
    AUTO_ANSWER struct answer a = {0};

    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    a = ask(w, "GET", path, NULL);
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

/* One workspace in several states; every caller of the table is asked, and all agree. */
static void
every_caller_gets_the_same_answer(void **state)
{
    static const struct {
        const char *fields;
        const char *mode_body; /* NULL: no override */
    } cases[] = {
        {"\"model\":\"anthropic/claude-opus-4-7\"", NULL},
        {"\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\"}", NULL},
        {"\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"t\","
         "\"MOLECULE_MODEL\":\"kimi-for-coding\",\"KIMI_API_KEY\":\"k\"}",
            NULL},
        {"\"runtime\":\"codex\",\"model\":\"anthropic/claude-opus-4-7\"",
            "{\"mode\":\"disabled\"}"},
        {"\"runtime\":\"langgraph\",\"model\":\"x\"", NULL},
        {"\"model\":\"anthropic/claude-opus-4-7\"", "{\"mode\":\"byok\"}"},
    };
    struct world *w = *state;
    struct registry_ref *ref = api_registry_acquire(w->api);
    struct id org;

    assert_true(id_parse(str_from_cstr(w->org), &org));
    w->api->o.unregistered_model_warn = true;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char id[ID_TEXT_BYTES];
        enum billing_mode mode = BILLING_MODE_COUNT;
        struct str model = STR_NONE;
        AUTO_ARENA struct arena arena = {0};

        make_workspace(w, cases[i].fields, id);
        if (cases[i].mode_body != NULL) {
            AUTO_ANSWER struct answer a = put_mode(w, id, cases[i].mode_body);

            assert_int_equal(a.status, 200);
        }
        for (int caller = 0; caller < GATHER_CALLER_COUNT; caller++) {
            struct gather_request q = {.caller = caller, .org = org};
            AUTO_GATHERED struct gathered g = {0};
            struct error e;

            assert_non_null(gather_callers[caller].name);
            if (gather_callers[caller].from_draft)
                continue; /* the next test's */
            assert_true(id_parse(str_from_cstr(id), &q.workspace));
            assert_int_equal(gather(w->api, &ref->set, &arena, &q, &g, &e), ERR_OK);
            assert_int_equal(g.failure.code, ERR_OK);
            if (mode == BILLING_MODE_COUNT) {
                mode = g.decision.mode;
                model = g.effective_model;
            }
            assert_int_equal(g.decision.mode, mode);
            assert_true(str_equal(g.effective_model, model));
            assert_int_equal(g.values != NULL && g.secrets_n > 0 && g.values[0] != NULL,
                gather_callers[caller].needs_values && g.secrets_n > 0);
        }
        assert_mode(w, id, billing_mode_name(mode).p,
            mode == BILLING_PLATFORM_MANAGED && i == 4 ? "derived_default"
                : cases[i].mode_body != NULL           ? "workspace_override"
                                                       : "derived_provider");
    }
    api_registry_release(w->api, ref);
}

/* What create decides from its own request is what a start decides from the rows it made. */
static void
create_decides_as_the_start_will(void **state)
{
    struct world *w = *state;
    struct registry_ref *ref = api_registry_acquire(w->api);
    struct env_secret secret = {.name = STR("CLAUDE_CODE_OAUTH_TOKEN")};
    struct str value = STR("t");
    struct gather_draft draft = {.runtime = STR("claude-code"),
        .model = STR(" opus "),
        .secrets = &secret,
        .secret_values = &value,
        .secrets_n = 1};
    struct gather_request q = {.caller = GATHER_CREATE, .draft = &draft};
    AUTO_ARENA struct arena arena = {0};
    AUTO_GATHERED struct gathered g = {0}; /* goes first: it points into the arena */
    struct error e;
    char id[ID_TEXT_BYTES];

    assert_true(id_parse(str_from_cstr(w->org), &q.org));
    assert_int_equal(gather(w->api, &ref->set, &arena, &q, &g, &e), ERR_OK);
    assert_int_equal(g.decision.mode, BILLING_BYOK);
    assert_str(g.effective_model, "opus");
    make_workspace(w, "\"model\":\" opus \",\"secrets\":{\"claude_code_oauth_token\":\"t\"}", id);
    assert_mode(w, id, "byok", "derived_provider");
    api_registry_release(w->api, ref);
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
                              old = {0};

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

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(every_caller_gets_the_same_answer),
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
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
