#include "decide_fixture.h"

/* Who serves what: expected is a provider, or an error in capitals. auth is split at spaces. */
static const struct {
    const char *runtime, *model, *auth, *expected;
} truth[] = {
    {"claude-code", "opus", "", "anthropic-oauth"},
    {"claude-code", "opus", "CLAUDE_CODE_OAUTH_TOKEN", "anthropic-oauth"},
    {"claude-code", "opus", "ANTHROPIC_API_KEY", "anthropic-oauth"},
    {"claude-code", "opus", "OPENAI_API_KEY MINIMAX_API_KEY", "anthropic-oauth"},
    {"claude-code", "  opus  ", "", "anthropic-oauth"},
    {"claude-code", "\t\v\f\r\nopus\n", "", "anthropic-oauth"},
    {" claude-code ", "opus", "", "anthropic-oauth"},
    {"claude-code", "Opus", "", "UNREGISTERED_MODEL"},
    {"claude-code", "Opus", "ANTHROPIC_API_KEY", "UNREGISTERED_MODEL"},
    {"claude-code", "opus4", "", "UNREGISTERED_MODEL"},
    {"claude-code", "anthropic:opus", "", "anthropic-oauth"},
    {"claude-code", "anthropic:claude-opus-4-7", "", "anthropic-api"},
    {"claude-code", "anthropic:claude-haiku-9", "", "UNREGISTERED_MODEL"},
    {"claude-code", "anthropic/claude-haiku-4-5", "", "UNREGISTERED_MODEL"},
    {"claude-code", "anthropic/claude-opus-4-7", "", "platform"},
    {"claude-code", "anthropic/claude-opus-4-7", "ANTHROPIC_API_KEY", "platform"},
    {"claude-code", "claude-opus-4-7", "", "anthropic-api"},
    {"claude-code", "claude-haiku-9", "", "anthropic-api"},
    {"claude-code", "kimi-latest", "", "kimi-coding"},
    {"claude-code", "kimi-for-coding", "", "kimi-coding"},
    {"claude-code", "MiniMax-M2.5", "", "minimax"},
    {"claude-code", "minimax-m2.7", "", "minimax"},
    {"claude-code", "MINIMAX-M9", "", "minimax"},
    {"claude-code", "minimax:MiniMax-M3", "", "UNREGISTERED_MODEL"},
    {"claude-code", "minimax/MiniMax-M3", "", "UNREGISTERED_MODEL"},
    {"claude-code", "minimax/MiniMax-M2.7", "", "platform"},
    {"claude-code", "moonshot/kimi-k2.6", "", "platform"},
    {"claude-code", "moonshot:kimi-k2.6", "", "kimi-coding"},
    {"claude-code", "moonshot/kimi-k2", "", "UNREGISTERED_MODEL"},
    {"claude-code", "moonshot-v1-128k", "", "UNREGISTERED_MODEL"},
    {"claude-code", "gpt-5.5", "", "UNREGISTERED_MODEL"},
    {"claude-code", "deepseek-v4-pro", "", "deepseek"},
    {"claude-code", "platform/anything", "", "platform"},
    {"hermes", "platform/anything", "", "platform"},
    {"codex", "platform/anything", "", "platform"},
    {"openclaw", "platform/anything", "", "platform"},
    {"google-adk", "platform/anything", "", "UNREGISTERED_MODEL"},
    {"google-adk", "moonshot/kimi-k2.6", "", "UNREGISTERED_MODEL"},
    {"codex", "gpt-5.5", "CODEX_AUTH_JSON", "openai-subscription"},
    {"codex", "gpt-5.5", "CODEX_CHATGPT_AUTH_JSON", "openai-subscription"},
    {"codex", "gpt-5.5", "OPENAI_API_KEY", "openai-api"},
    {"codex", "gpt-5.5", " openai_api_key ", "openai-api"},
    {"codex", "gpt-5.5", "CODEX_AUTH_JSON OPENAI_API_KEY", "openai-subscription"},
    {"codex", "gpt-5.5", "", "openai-subscription"},
    {"codex", "gpt-5.5", "MINIMAX_API_KEY", "openai-subscription"},
    {"codex", "gpt-5.5", "NOT_A_KEY_AT_ALL", "openai-subscription"},
    {"codex", "gpt-4o", "OPENAI_API_KEY", "openai-subscription"},
    {"codex", "openai/gpt-5.4", "", "platform"},
    {"codex", "openai/gpt-4o", "", "UNREGISTERED_MODEL"},
    {"codex", "openai-api/gpt-5.5", "", "openai-api"},
    {"codex", "openai-api:anything", "", "openai-api"},
    {"codex", "kimi-for-coding", "", "UNREGISTERED_MODEL"},
    {"codex", "codex-minimax-m2.7", "", "byok-minimax"},
    {"hermes", "kimi-coding/kimi-k2", "", "kimi-coding"},
    {"hermes", "kimi-coding/kimi-k9", "", "kimi-coding"},
    {"hermes", "kimi-k2", "", "kimi-coding"},
    {"hermes", "anthropic/claude-opus-4-7", "", "byok-anthropic"},
    {"hermes", "openai/gpt-5", "", "byok-openai"},
    {"hermes", "gemini/gemini-2.5-pro", "", "byok-gemini"},
    {"hermes", "minimax/MiniMax-M2.7", "", "byok-minimax"},
    {"hermes", "minimax-cn/MiniMax-M2.7", "", "minimax-cn"},
    {"hermes", "zai/glm-4.6", "", "zai"},
    {"hermes", "xiaomi/mimo-v1", "", "xiaomi-mimo"},
    {"openclaw", "kimi-k2.6", "", "kimi-coding"},
    {"openclaw", "moonshot:kimi-k9", "", "UNREGISTERED_MODEL"},
    {"openclaw", "groq:llama-3.3-70b-versatile", "", "groq"},
    {"google-adk", "vertex:gemini-2.5-pro", "", "vertex"},
    {"google-adk", "vertex:gemini-2.5-flash", "", "vertex"},
    {"google-adk", "gemini-2.5-pro", "", "google"},
    {"google-adk", "gemini-2.5-flash", "", "google"},
    {"claude-code", "", "", "MODEL_REQUIRED"},
    {"claude-code", " \t ", "ANTHROPIC_API_KEY", "MODEL_REQUIRED"},
    {"langgraph", "", "", "MODEL_REQUIRED"},
    {"langgraph", "opus", "", "UNKNOWN_RUNTIME"},
    {"Claude-Code", "opus", "", "UNKNOWN_RUNTIME"},
    {"", "opus", "", "UNKNOWN_RUNTIME"},
    {"external", "opus", "", "UNKNOWN_RUNTIME"},
    {"kimi", "kimi-k2", "", "UNKNOWN_RUNTIME"},
    {"mock", "opus", "", "UNKNOWN_RUNTIME"},
    {"seo-agent", "opus", "", "UNKNOWN_RUNTIME"},
};

static struct str
outcome(const struct derive_result *result)
{
    return result->error != DERIVE_OK ? derive_error_name(result->error)
                                      : registry_str(fixture_registry(), result->provider->name);
}

static void
derives_every_row_of_the_truth_table(void **state)
{
    for (size_t i = 0; i < sizeof(truth) / sizeof(truth[0]); i++) {
        struct str names[NAMES_MAX];
        struct str padded = str_from_cstr(truth[i].auth);
        bool one = padded.n > 0 && padded.p[0] == ' ';
        size_t n = one ? 1 : fixture_names(truth[i].auth, names);
        struct derive_input in;
        struct derive_result result;

        if (one)
            names[0] = padded;
        in = fixture_input(truth[i].runtime, truth[i].model, names, n);
        result = derive(&in, NULL);
        if (!str_equal(outcome(&result), str_from_cstr(truth[i].expected)))
            fail_msg("%s on %s with [%s]: got %.*s, expected %s", truth[i].model, truth[i].runtime,
                truth[i].auth, STR_ARG(outcome(&result)), truth[i].expected);
    }
}

static void
gives_the_provider_only_without_error(void **state)
{
    for (size_t i = 0; i < sizeof(truth) / sizeof(truth[0]); i++) {
        struct derive_input in = fixture_input(truth[i].runtime, truth[i].model, NULL, 0);
        struct derive_result result = derive(&in, NULL);

        assert_int_equal(result.error == DERIVE_OK, result.provider != NULL);
        assert_true(str_equal(result.model, str_trim(str_from_cstr(truth[i].model))));
    }
}

static void
is_platform_by_name_and_nothing_else(void **state)
{
    const struct registry *r = fixture_registry();

    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);

        assert_int_equal(p->is_platform, str_equal(registry_str(r, p->name), STR("platform")));
    }
}

/* Two patterns that overlap, two ids listed twice: what the embedded registry hardly has. */
static const char overlapping[] =
    "schema_version: 1\n"
    "providers:\n"
    "  - {name: one, display_name: One, kind: api-key,\n"
    "     auth_env: [ONE_KEY, SHARED_KEY], model_prefix_match: '^m-'}\n"
    "  - {name: two, display_name: Two, kind: api-key,\n"
    "     auth_env: [TWO_KEY, SHARED_KEY], model_prefix_match: '^m-x'}\n"
    "  - {name: three, display_name: Three, kind: api-key,\n"
    "     auth_env: [THREE_KEY], model_prefix_match: '^never$'}\n"
    "  - {name: silent, display_name: S, kind: api-key, auth_env: [SILENT_KEY]}\n"
    "runtimes:\n"
    "  r:\n"
    "    dialect: openai-chat\n"
    "    providers:\n"
    "      - {name: three, models: [listed]}\n"
    "      - {name: one, models: [listed]}\n"
    "      - {name: two, models: [listed]}\n"
    "      - {name: silent}\n"
    "  only-one:\n"
    "    dialect: openai-chat\n"
    "    providers: [{name: one}]\n";

static const struct {
    const char *runtime, *model, *auth, *expected;
} overlap_cases[] = {
    {"r", "m-1", "", "one"},
    {"r", "m-1", "TWO_KEY", "one"},
    {"r", "m-x1", "", "AMBIGUOUS_PROVIDER"},
    {"r", "m-x1", "ONE_KEY", "one"},
    {"r", "m-x1", "TWO_KEY", "two"},
    {"r", "m-x1", "ONE_KEY TWO_KEY", "AMBIGUOUS_PROVIDER"},
    {"r", "m-x1", "SHARED_KEY", "AMBIGUOUS_PROVIDER"},
    {"r", "m-x1", "THREE_KEY", "AMBIGUOUS_PROVIDER"},
    {"r", "listed", "", "three"},
    {"r", "listed", "ONE_KEY", "one"},
    {"r", "listed", "TWO_KEY", "two"},
    /* The first declared of ALL that list it, even though it has no credential itself. */
    {"r", "listed", "SHARED_KEY", "three"},
    {"r", "listed", "ONE_KEY TWO_KEY", "three"},
    {"only-one", "m-x1", "TWO_KEY", "one"},
    {"only-one", "never", "", "UNREGISTERED_MODEL"},
};

static struct registry_set *fixture_embedded;

/* Another registry under test, until fixture_back(). */
static void
fixture_use(struct str yaml)
{
    struct error e;

    fixture_embedded = fixture_set;
    if (registry_load_bytes("test", yaml, &fixture_set, &e) != ERR_OK)
        fail_msg("%s", e.text);
}

static void
fixture_back(void)
{
    registry_free(fixture_set);
    fixture_set = fixture_embedded;
}

static void
breaks_ties_as_declared_for_ids_and_never_for_patterns(void **state)
{
    fixture_use(STR(overlapping));
    for (size_t i = 0; i < sizeof(overlap_cases) / sizeof(overlap_cases[0]); i++) {
        struct str names[NAMES_MAX];
        size_t n = fixture_names(overlap_cases[i].auth, names);
        struct derive_input in =
            fixture_input(overlap_cases[i].runtime, overlap_cases[i].model, names, n);
        struct derive_result result = derive(&in, NULL);

        if (!str_equal(outcome(&result), str_from_cstr(overlap_cases[i].expected)))
            fail_msg("%s with [%s]: got %.*s, expected %s", overlap_cases[i].model,
                overlap_cases[i].auth, STR_ARG(outcome(&result)), overlap_cases[i].expected);
    }
    fixture_back();
}

static void
traces_the_narrowing_of_patterns(void **state)
{
    struct str names[] = {STR_INIT("TWO_KEY")};
    struct derive_trace trace;
    struct derive_input in;

    fixture_use(STR(overlapping));
    in = fixture_input("r", "m-x1", names, 1);
    derive(&in, &trace);
    assert_int_equal(trace.n, 4);
    assert_int_equal(trace.steps[2].step, DERIVE_STEP_PREFIX);
    assert_int_equal(trace.steps[2].kept, 6);
    assert_int_equal(trace.steps[3].step, DERIVE_STEP_PREFIX_AUTH);
    assert_int_equal(trace.steps[3].considered, 6);
    assert_int_equal(trace.steps[3].kept, 4);
    fixture_back();
}

/* The most arms a runtime may have: every bit of the mask. */
static void
a_runtime_may_have_sixty_four_arms(void **state)
{
    enum { BYTES = 32768 };
    char *text = calloc(1, BYTES);
    struct str names[] = {STR_INIT("KEY_63")};
    struct derive_input in;
    struct derive_result result;
    struct derive_trace trace;
    size_t n = 0;

    n += (size_t)snprintf(text + n, BYTES - n, "schema_version: 1\nproviders:\n");
    for (int i = 0; i < DERIVE_ARMS_MAX; i++)
        n += (size_t)snprintf(text + n, BYTES - n,
            "  - {name: p%d, display_name: P, kind: api-key, auth_env: [KEY_%d], "
            "model_prefix_match: '^m'}\n",
            i, i);
    n += (size_t)snprintf(
        text + n, BYTES - n, "runtimes:\n  r:\n    dialect: openai-chat\n    providers:\n");
    for (int i = 0; i < DERIVE_ARMS_MAX; i++)
        n += (size_t)snprintf(text + n, BYTES - n, "      - {name: p%d, models: [x]}\n", i);
    fixture_use((struct str){text, n});
    in = fixture_input("r", "x", names, 1);
    result = derive(&in, &trace);
    assert_str(outcome(&result), "p63");
    assert_true(trace.steps[1].considered == UINT64_MAX && trace.steps[1].kept == UINT64_MAX);
    in.model = STR("m");
    result = derive(&in, &trace);
    assert_str(outcome(&result), "p63");
    assert_true(trace.steps[3].kept == UINT64_C(1) << 63);
    fixture_back();
    free(text);
}

/* A block made by hand, whose lists are followed by what must not be read as one element more. */
static void
reads_a_list_to_its_end_and_no_further(void **state)
{
    static struct {
        struct registry r;
        struct registry_provider provider;
        struct registry_runtime runtime;
        struct registry_arm arm;
        struct rstr models[2];
        char text[16];
    } block = {.text = "rab"};
    const uint32_t at = offsetof(__typeof__(block), text);
    struct derive_input in = {.registry = &block.r, .runtime = STR("r"), .model = STR("b")};

    block.r.providers = (struct rlist){offsetof(__typeof__(block), provider), 1};
    block.r.runtimes = (struct rlist){offsetof(__typeof__(block), runtime), 1};
    block.runtime.name = (struct rstr){at, 1};
    block.runtime.arms = (struct rlist){offsetof(__typeof__(block), arm), 1};
    block.arm.models = (struct rlist){offsetof(__typeof__(block), models), 1};
    block.models[0] = (struct rstr){at + 1, 1};
    block.models[1] = (struct rstr){at + 2, 1};
    assert_int_equal(derive(&in, NULL).error, DERIVE_UNREGISTERED_MODEL);
    in.model = STR("a");
    assert_ptr_equal(derive(&in, NULL).provider, &block.provider);
}

static void
traces_each_step_with_what_it_kept(void **state)
{
    struct str names[] = {STR_INIT("OPENAI_API_KEY")};
    struct derive_input in = fixture_input("codex", "gpt-5.5", names, 1);
    struct derive_trace trace;

    derive(&in, &trace);
    assert_int_equal(trace.n, 3);
    assert_int_equal(trace.steps[0].step, DERIVE_STEP_INPUT);
    assert_int_equal(trace.steps[0].kept, 15);
    assert_int_equal(trace.steps[1].step, DERIVE_STEP_EXACT);
    assert_int_equal(trace.steps[1].considered, 15);
    assert_int_equal(trace.steps[1].kept, 3);
    assert_int_equal(trace.steps[2].step, DERIVE_STEP_EXACT_AUTH);
    assert_int_equal(trace.steps[2].considered, 3);
    assert_int_equal(trace.steps[2].kept, 2);
    in.auth_names_n = 0;
    derive(&in, &trace);
    assert_int_equal(trace.n, 4);
    assert_int_equal(trace.steps[3].step, DERIVE_STEP_EXACT_FIRST);
    assert_int_equal(trace.steps[3].kept, 1);
    in = fixture_input("codex", "gpt-9", names, 1);
    derive(&in, &trace);
    assert_int_equal(trace.n, 3);
    assert_int_equal(trace.steps[1].kept, 0);
    assert_int_equal(trace.steps[2].step, DERIVE_STEP_PREFIX);
    assert_int_equal(trace.steps[2].kept, 1);
}

static void
a_trace_changes_nothing(void **state)
{
    for (size_t i = 0; i < sizeof(truth) / sizeof(truth[0]); i++) {
        struct str names[NAMES_MAX];
        struct derive_trace trace;
        size_t n = fixture_names(truth[i].auth, names);
        struct derive_input in = fixture_input(truth[i].runtime, truth[i].model, names, n);
        struct derive_result with = derive(&in, &trace), without = derive(&in, NULL);

        assert_ptr_equal(with.provider, without.provider);
        assert_int_equal(with.error, without.error);
        assert_true(trace.n >= 1);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(derives_every_row_of_the_truth_table),
        TEST(gives_the_provider_only_without_error),
        TEST(is_platform_by_name_and_nothing_else),
        TEST(breaks_ties_as_declared_for_ids_and_never_for_patterns),
        TEST(traces_the_narrowing_of_patterns),
        TEST(a_runtime_may_have_sixty_four_arms),
        TEST(reads_a_list_to_its_end_and_no_further),
        TEST(traces_each_step_with_what_it_kept),
        TEST(a_trace_changes_nothing),
    };

    return cmocka_run_group_tests(tests, fixture_load, fixture_free);
}
