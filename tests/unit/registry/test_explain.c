/* Before cmocka, whose macro fail() would take base/error.h's fail() apart. */
#include "registry/explain.h"
#include "registry/registry_diff.h"
#include "registry/scenario.h"

#include "unit.h"

#define NOW_MS INT64_C(1795305600000)

static struct registry_set *set;
static struct arena arena;
static struct scenario scenario;
static struct scenario_result result;

static int
load(void **state)
{
    struct error e;

    arena_init(&arena);
    if (registry_load_embedded(&set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return 0;
}

static int
unload(void **state)
{
    registry_free(set);
    arena_done(&arena);
    return 0;
}

/* Decides one batch line; the answer's text is the caller's to free. */
static char *
batch(const char *line)
{
    struct error e;
    json_t *answer;
    char *text;

    if (scenario_from_json(&scenario, &arena, str_from_cstr(line), NOW_MS, &e) != ERR_OK)
        fail_msg("%s: %s", line, e.text);
    scenario_decide(&scenario, set, &result);
    answer = scenario_answer(&result);
    text = json_dumps(answer, JSON_COMPACT);
    json_decref(answer);
    return text;
}

static void
answers_a_batch_line_with_every_field(void **state)
{
    char *text = batch("{\"runtime\":\"claude-code\",\"model\":\"opus\",\"override\":null,"
                       "\"secrets\":{\"claude_code_oauth_token\":\"workspace\"}}");

    assert_string_equal(text,
        "{\"provider\":\"anthropic-oauth\",\"resolved_mode\":\"byok\",\"source\":\"derived_"
        "provider\","
        "\"error\":null,\"refusal\":null,\"warnings\":[],\"env\":{"
        "\"CLAUDE_CODE_OAUTH_TOKEN\":\"keep\",\"MOLECULE_LLM_BILLING_MODE\":\"set\","
        "\"MOLECULE_LLM_BILLING_MODE_RESOLVED\":\"set\",\"MODEL\":\"set\",\"MOLECULE_MODEL\":"
        "\"set\","
        "\"ANTHROPIC_MODEL\":\"set\",\"PATH\":\"set\",\"LANG\":\"set\",\"TMPDIR\":\"set\"}}");
    free(text);
}

static void
secrets_imply_the_auth_names_unless_they_are_given(void **state)
{
    char *implied = batch("{\"runtime\":\"codex\",\"model\":\"gpt-5.5\","
                          "\"secrets\":{\"OPENAI_API_KEY\":\"org\"}}");
    char *given = batch("{\"runtime\":\"codex\",\"model\":\"gpt-5.5\",\"auth\":[],"
                        "\"secrets\":{\"OPENAI_API_KEY\":\"org\"}}");

    assert_non_null(strstr(implied, "\"provider\":\"openai-api\""));
    assert_non_null(strstr(given, "\"provider\":\"openai-subscription\""));
    assert_non_null(strstr(given, "\"refusal\":\"MISSING_BYOK_CREDENTIAL\""));
    free(implied);
    free(given);
}

static void
an_empty_override_is_garbled_and_an_absent_one_is_none(void **state)
{
    char *empty = batch("{\"runtime\":\"claude-code\",\"model\":\"opus\",\"override\":\"\"}");
    char *absent = batch("{\"runtime\":\"claude-code\",\"model\":\"opus\"}");

    assert_non_null(strstr(empty, "\"source\":\"constant_fallback\""));
    assert_non_null(strstr(empty, "\"warnings\":[\"OVERRIDE_GARBLED\"]"));
    assert_non_null(strstr(absent, "\"source\":\"derived_provider\""));
    free(empty);
    free(absent);
}

static void
refuses_batch_lines_it_does_not_understand(void **state)
{
    static const char *const bad[] = {"", "x", "[]", "{}", "{\"runtime\":\"codex\"}",
        "{\"runtime\":1,\"model\":\"x\"}", "{\"runtime\":\"r\",\"model\":\"m\",\"auht\":[]}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"auth\":\"A\"}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"auth\":[1]}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"secrets\":[]}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"secrets\":{\"A\":\"global\"}}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"gateway\":\"yes\"}",
        "{\"runtime\":\"r\",\"model\":\"m\",\"override\":true}",
        "{\"runtime\":\"r\",\"model\":\"m\"} x",
        "{\"runtime\":\"r\",\"runtime\":\"q\",\"model\":\"m\"}"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error e;

        if (scenario_from_json(&scenario, &arena, str_from_cstr(bad[i]), NOW_MS, &e) != ERR_USAGE)
            fail_msg("accepted: %s", bad[i]);
    }
}

static void
the_workspace_scope_wins_over_the_org_scope(void **state)
{
    struct error e;

    scenario_init(&scenario, STR("codex"), STR("gpt-5.5"), NOW_MS);
    assert_int_equal(
        scenario_add_secret(&scenario, &arena, STR("a"), ENV_SCOPE_WORKSPACE, &e), ERR_OK);
    assert_int_equal(scenario_add_secret(&scenario, &arena, STR(" A"), ENV_SCOPE_ORG, &e), ERR_OK);
    assert_int_equal(scenario.secrets_n, 1);
    assert_int_equal(scenario.secrets[0].scope, ENV_SCOPE_WORKSPACE);
    assert_str(scenario.secrets[0].name, "A");
    assert_int_equal(scenario_add_secret(&scenario, &arena, STR("b"), ENV_SCOPE_ORG, &e), ERR_OK);
    assert_int_equal(
        scenario_add_secret(&scenario, &arena, STR("B"), ENV_SCOPE_WORKSPACE, &e), ERR_OK);
    assert_int_equal(scenario.secrets[1].scope, ENV_SCOPE_WORKSPACE);
}

static const char *
field(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void
explains_in_json_what_each_step_kept_and_dropped(void **state)
{
    char *text =
        batch("{\"runtime\":\"codex\",\"model\":\"gpt-5.5\",\"auth\":[\"OPENAI_API_KEY\"]}");
    json_t *object = explain_json(&result.facts, &result.decision, &result.trace);
    json_t *trace = json_object_get(object, "trace");
    json_t *narrowing = json_array_get(trace, 3);

    free(text);
    assert_string_equal(field(object, "provider_selection"), "openai-api");
    assert_string_equal(field(object, "resolved_mode"), "byok");
    assert_int_equal(strlen(field(object, "registry_fingerprint")), 64);
    assert_true(json_is_null(json_object_get(object, "workspace_override")));
    assert_int_equal(json_array_size(trace), 5);
    assert_string_equal(field(json_array_get(trace, 0), "step"), "override");
    assert_string_equal(field(narrowing, "step"), "exact_id_auth");
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(narrowing, "kept"), 0)), "openai-api");
    assert_string_equal(json_string_value(json_array_get(json_object_get(narrowing, "dropped"), 0)),
        "openai-subscription");
    assert_string_equal(field(json_array_get(trace, 4), "step"), "mode");
    json_decref(object);
}

static void
leaves_the_trace_out_when_there_is_none(void **state)
{
    char *text = batch("{\"runtime\":\"codex\",\"model\":\"\",\"override\":\"byokk\"}");
    json_t *object = explain_json(&result.facts, &result.decision, NULL);
    json_t *warning = json_array_get(json_object_get(object, "warnings"), 0);

    free(text);
    assert_null(json_object_get(object, "trace"));
    assert_string_equal(field(object, "workspace_override"), "byokk");
    assert_string_equal(field(object, "error"), "MODEL_REQUIRED");
    assert_true(json_is_null(json_object_get(object, "provider_selection")));
    assert_string_equal(field(warning, "code"), "OVERRIDE_GARBLED");
    json_decref(object);
}

static void
explains_a_plan_without_any_value_of_a_secret(void **state)
{
    char *text = batch("{\"runtime\":\"claude-code\",\"model\":\"moonshot/kimi-k2.6\","
                       "\"secrets\":{\"OPENAI_API_KEY\":\"org\"}}");
    json_t *plan = explain_plan_json(&result.plan_facts, &result.plan);
    json_t *first = json_array_get(json_object_get(plan, "env"), 0);

    free(text);
    assert_true(json_is_null(json_object_get(plan, "refusal")));
    assert_true(json_is_true(json_object_get(plan, "needs_usage_token")));
    assert_string_equal(field(first, "name"), "OPENAI_API_KEY");
    assert_string_equal(field(first, "action"), "strip");
    assert_string_equal(field(first, "scope"), "org");
    assert_true(json_is_null(json_object_get(first, "value")));
    assert_true(strlen(field(first, "reason")) > 10);
    json_decref(plan);
}

/* Each refusal: its sentence names what is wrong and what to do. */
static const struct {
    const char *line, *expected;
} sentences[] = {
    {"{\"runtime\":\"codex\",\"model\":\"openai-api/x\"}",
        "store OPENAI_API_KEY or CODEX_API_KEY as a secret"},
    {"{\"runtime\":\"x\",\"model\":\"m\",\"override\":\"byok\"}", "no credential of any vendor"},
    {"{\"runtime\":\"claude-code\",\"model\":\"moonshot/kimi-k2.6\",\"gateway\":false}",
        "gateway is not there"},
    {"{\"runtime\":\"claude-code\",\"model\":\"openai/gpt-5.4\"}",
        "no platform key or endpoint for \"anthropic\""},
    {"{\"runtime\":\"claude-code\",\"model\":\"\"}", "has no model"},
    {"{\"runtime\":\"claude-code\",\"model\":\"claude-opus-4-7\",\"override\":\"platform_"
     "managed\"}",
        "use \"anthropic/claude-opus-4-7\""},
    {"{\"runtime\":\"claude-code\",\"model\":\"platform/x\"}", "choose one from the runtime's"},
    {"{\"runtime\":\"codex\",\"model\":\"x\",\"secrets\":{\"GH_TOKEN\":\"org\"}}",
        "delete it from the org's secrets"},
};

static void
every_refusal_says_what_to_do(void **state)
{
    for (size_t i = 0; i < sizeof(sentences) / sizeof(sentences[0]); i++) {
        AUTO_BUF struct buf out;

        buf_init(&out, 4096);
        free(batch(sentences[i].line));
        explain_refusal_text(&out, &result.plan_facts, &result.plan);
        if (strstr(buf_cstr(&out), sentences[i].expected) == NULL)
            fail_msg("%s: \"%s\"", sentences[i].line, buf_cstr(&out));
    }
}

static void
the_readable_tree_names_steps_provider_and_mode(void **state)
{
    AUTO_BUF struct buf out;

    buf_init(&out, 65536);
    free(batch("{\"runtime\":\"claude-code\",\"model\":\"opus\",\"secrets\":"
               "{\"CLAUDE_CODE_OAUTH_TOKEN\":\"org\",\"ANTHROPIC_API_KEY\":\"workspace\"}}"));
    explain_text(&out, &result.facts, &result.decision, &result.trace);
    explain_plan_text(&out, &result.plan_facts, &result.plan);
    assert_non_null(strstr(buf_cstr(&out), "opus on claude-code\n"));
    assert_non_null(strstr(buf_cstr(&out), "kept:    anthropic-oauth\n"));
    assert_non_null(strstr(buf_cstr(&out), "dropped: anthropic-api, kimi-coding"));
    assert_non_null(strstr(buf_cstr(&out), "+- mode: byok (derived_provider)"));
    assert_non_null(strstr(
        buf_cstr(&out), "warning SHADOWED_CREDENTIAL: this runtime prefers ANTHROPIC_API_KEY"));
    assert_non_null(strstr(buf_cstr(&out), "+- start: allowed\n"));
}

/* Words that people read: who is singled out, and what follows when nobody is. */
static const struct {
    const char *line, *expected;
} words[] = {
    {"{\"runtime\":\"claude-code\",\"model\":\"opus\"}",
        "exact_id: only anthropic-oauth lists exactly this id\n"},
    {"{\"runtime\":\"nope\",\"model\":\"opus\"}",
        "the derivation failed (UNKNOWN_RUNTIME), so it counts as platform_managed: no vendor key "
        "is handed out\n"},
    {"{\"runtime\":\"claude-code\",\"model\":\"opus\",\"override\":\"zz\"}",
        "override: \"zz\" is no mode, so it counts as platform_managed: no vendor key is handed "
        "out\n"},
};

static void
the_readable_tree_says_what_follows(void **state)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        AUTO_BUF struct buf out;

        buf_init(&out, 65536);
        free(batch(words[i].line));
        explain_text(&out, &result.facts, &result.decision, &result.trace);
        if (strstr(buf_cstr(&out), words[i].expected) == NULL)
            fail_msg("no \"%s\" in:\n%s", words[i].expected, buf_cstr(&out));
    }
}

/* The embedded file with `old` replaced once. */
static struct registry_set *
changed(const char *old, const char *new)
{
    struct str source = registry_embedded_source();
    char *text = strndup(source.p, source.n);
    char *at = strstr(text, old);
    struct registry_set *other = NULL;
    struct error e;
    AUTO_BUF struct buf out;

    assert_non_null(at);
    buf_init(&out, 1 << 20);
    buf_add(&out, (struct str){text, (size_t)(at - text)});
    buf_add(&out, str_from_cstr(new));
    buf_add(&out, str_from_cstr(at + strlen(old)));
    free(text);
    if (registry_load_bytes("changed", buf_str(&out), &other, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return other;
}

static const struct {
    const char *old, *new, *line;
} diffs[] = {
    {"        models: [kimi-coding/kimi-k2]",
        "        models: [kimi-coding/kimi-k2, moonshot/kimi-k2.6]",
        "payer of moonshot/kimi-k2.6 on hermes: platform_managed (platform) -> byok (kimi-coding)"},
    {"        models: [openai/gpt-5.4, openai/gpt-5.4-mini]", "        models: [openai/gpt-5.4]",
        "platform model openai/gpt-5.4-mini: gone from the menu"},
    {"      - name: openai-subscription\n        models: [gpt-5.5, gpt-5.4,",
        "      - name: openai-subscription\n        models: [gpt-5.4,",
        "provider of gpt-5.5 on codex: openai-subscription -> openai-api"},
    {"prices: [{input: 0.95, output: 4, cache_read: 0.16}]",
        "prices: [{input: 0.95, output: 5, cache_read: 0.16}]",
        "price of moonshot/kimi-k2.6, output: 4000000 -> 5000000 micro-USD"},
    {"- {above_tokens: 272000, input: 5,", "- {above_tokens: 272000, input: 6,",
        "price of openai/gpt-5.4 (long prompts), input: 5000000 -> 6000000"},
    {"model_prefix_match: '^groq:'", "model_prefix_match: '^groq[:/]'",
        "pattern of provider groq: ^groq: -> ^groq[:/]"},
    {"  - QIANFAN_API_KEY\n", "", "vendor key QIANFAN_API_KEY: no longer stripped and gated"},
    {"display_name: Groq", "display_name: groq",
        "only descriptions, endpoints or launch hints differ"},
};

static void
diff_says_in_words_who_pays_and_what_it_costs(void **state)
{
    for (size_t i = 0; i < sizeof(diffs) / sizeof(diffs[0]); i++) {
        AUTO_REGISTRY struct registry_set *other = changed(diffs[i].old, diffs[i].new);
        AUTO_BUF struct buf out;

        buf_init(&out, 65536);
        assert_true(registry_diff(&out, set, other, NOW_MS) > 0);
        if (strstr(buf_cstr(&out), diffs[i].line) == NULL)
            fail_msg("no \"%s\" in:\n%s", diffs[i].line, buf_cstr(&out));
    }
}

static void
diff_of_the_same_registry_is_empty(void **state)
{
    AUTO_REGISTRY struct registry_set *other = changed("# The registry:", "# A registry:");
    AUTO_BUF struct buf out;

    buf_init(&out, 65536);
    assert_int_equal(registry_diff(&out, set, other, NOW_MS), 0);
    assert_int_equal(out.n, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answers_a_batch_line_with_every_field),
        TEST(secrets_imply_the_auth_names_unless_they_are_given),
        TEST(an_empty_override_is_garbled_and_an_absent_one_is_none),
        TEST(refuses_batch_lines_it_does_not_understand),
        TEST(the_workspace_scope_wins_over_the_org_scope),
        TEST(explains_in_json_what_each_step_kept_and_dropped),
        TEST(leaves_the_trace_out_when_there_is_none),
        TEST(explains_a_plan_without_any_value_of_a_secret),
        TEST(every_refusal_says_what_to_do),
        TEST(the_readable_tree_names_steps_provider_and_mode),
        TEST(the_readable_tree_says_what_follows),
        TEST(diff_says_in_words_who_pays_and_what_it_costs),
        TEST(diff_of_the_same_registry_is_empty),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
