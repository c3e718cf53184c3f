#include "decide_fixture.h"

#include "core/billing.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* override NULL: the column is NULL. provider: "" for none. */
static const struct {
    const char *name;
    bool store_failed;
    const char *override, *runtime, *model, *auth;
    const char *mode, *source, *provider;
    unsigned warnings;
} cases[] = {
    {"null override and byok model", false, NULL, "claude-code", "opus", "", "byok",
        "derived_provider", "anthropic-oauth", 0},
    {"null override and platform model", false, NULL, "claude-code", "moonshot/kimi-k2.6", "",
        "platform_managed", "derived_provider", "platform", 0},
    {"platform model stays platform with a key present", false, NULL, "claude-code",
        "anthropic/claude-opus-4-7", "ANTHROPIC_API_KEY", "platform_managed", "derived_provider",
        "platform", 0},
    {"listed twice, key decides", false, NULL, "codex", "gpt-5.5", "OPENAI_API_KEY", "byok",
        "derived_provider", "openai-api", 0},
    {"override byok", false, "byok", "claude-code", "opus", "", "byok", "workspace_override",
        "anthropic-oauth", 0},
    {"override byok without derivation", false, "byok", "langgraph", "", "", "byok",
        "workspace_override", "", 0},
    {"override disabled", false, "disabled", "claude-code", "opus", "", "disabled",
        "workspace_override", "anthropic-oauth", 0},
    {"override disabled on a platform model", false, "disabled", "claude-code",
        "moonshot/kimi-k2.6", "", "disabled", "workspace_override", "platform", 0},
    {"override platform_managed beats a byok model", false, "platform_managed", "claude-code",
        "opus", "CLAUDE_CODE_OAUTH_TOKEN", "platform_managed", "workspace_override",
        "anthropic-oauth", 0},
    {"override byok on a platform model", false, "byok", "claude-code", "moonshot/kimi-k2.6", "",
        "byok", "workspace_override", "", BILLING_WARN_PLATFORM_MODEL_ON_BYOK},
    {"garbled override with a byok model", false, "byokk", "claude-code", "opus", "",
        "platform_managed", "constant_fallback", "anthropic-oauth", BILLING_WARN_OVERRIDE_GARBLED},
    {"override in capitals", false, "BYOK", "claude-code", "opus", "", "platform_managed",
        "constant_fallback", "anthropic-oauth", BILLING_WARN_OVERRIDE_GARBLED},
    {"empty override", false, "", "claude-code", "opus", "", "platform_managed",
        "constant_fallback", "anthropic-oauth", BILLING_WARN_OVERRIDE_GARBLED},
    {"override with a space", false, " byok", "claude-code", "opus", "", "platform_managed",
        "constant_fallback", "anthropic-oauth", BILLING_WARN_OVERRIDE_GARBLED},
    {"override with a space behind", false, "disabled ", "claude-code", "opus", "",
        "platform_managed", "constant_fallback", "anthropic-oauth", BILLING_WARN_OVERRIDE_GARBLED},
    {"garbled override on a platform model", false, "x", "claude-code", "moonshot/kimi-k2.6", "",
        "platform_managed", "constant_fallback", "platform", BILLING_WARN_OVERRIDE_GARBLED},
    {"store failed with a byok model", true, NULL, "claude-code", "opus", "", "platform_managed",
        "constant_fallback", "anthropic-oauth", 0},
    {"store failed with an override byok", true, "byok", "claude-code", "opus", "",
        "platform_managed", "constant_fallback", "anthropic-oauth", 0},
    {"no model", false, NULL, "claude-code", "", "CLAUDE_CODE_OAUTH_TOKEN", "platform_managed",
        "derived_default", "", 0},
    {"blank model", false, NULL, "claude-code", "  ", "", "platform_managed", "derived_default", "",
        0},
    {"unknown runtime", false, NULL, "langgraph", "opus", "OPENAI_API_KEY", "platform_managed",
        "derived_default", "", 0},
    {"unregistered model", false, NULL, "claude-code", "gpt-5.5", "OPENAI_API_KEY",
        "platform_managed", "derived_default", "", 0},
};

static struct billing_decision
decide(size_t i, struct str names[static NAMES_MAX])
{
    size_t n = fixture_names(cases[i].auth, names);
    struct billing_facts f = {.store_failed = cases[i].store_failed,
        .override_present = cases[i].override != NULL,
        .override_raw = str_from_cstr(cases[i].override),
        .derive = fixture_input(cases[i].runtime, cases[i].model, names, n)};

    return billing_decide(&f, NULL);
}

static void
resolves_every_row_of_the_table(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct str names[NAMES_MAX];
        struct billing_decision d = decide(i, names);
        struct str provider =
            d.provider == NULL ? STR("") : registry_str(fixture_registry(), d.provider->name);

        if (!str_equal(billing_mode_name(d.mode), str_from_cstr(cases[i].mode)) ||
            !str_equal(billing_source_name(d.source), str_from_cstr(cases[i].source)) ||
            !str_equal(provider, str_from_cstr(cases[i].provider)) ||
            d.warnings != cases[i].warnings)
            fail_msg("%s: got %.*s %.*s %.*s %u", cases[i].name, STR_ARG(billing_mode_name(d.mode)),
                STR_ARG(billing_source_name(d.source)), STR_ARG(provider), d.warnings);
    }
}

static void
the_resolved_mode_is_always_one_of_three(void **state)
{
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct str names[NAMES_MAX];
        enum billing_mode again;
        struct billing_decision d = decide(i, names);

        assert_true(billing_mode_from_name(billing_mode_name(d.mode), &again));
        assert_int_equal(again, d.mode);
    }
}

static void
the_derivation_is_there_under_an_override_too(void **state)
{
    struct billing_facts f = {.override_present = true,
        .override_raw = STR("byok"),
        .derive = fixture_input("claude-code", "moonshot/kimi-k2.6", NULL, 0)};
    struct billing_decision d = billing_decide(&f, NULL);

    assert_null(d.provider);
    assert_non_null(d.derived.provider);
    assert_true(d.derived.provider->is_platform);
}

static void
names_of_modes_compare_exactly(void **state)
{
    static const char *const bad[] = {
        "", "Byok", "BYOK", "byok ", " byok", "byo", "byokk", "platform-managed", "none", "null"};
    enum billing_mode mode = BILLING_DISABLED;

    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(billing_mode_from_name(str_from_cstr(bad[i]), &mode));
    assert_int_equal(mode, BILLING_DISABLED);
}

static void
every_warning_has_a_code_and_a_text(void **state)
{
    assert_str(billing_warning_code(BILLING_WARN_OVERRIDE_GARBLED), "OVERRIDE_GARBLED");
    assert_str(billing_warning_code(BILLING_WARN_PLATFORM_MODEL_ON_BYOK), "PLATFORM_MODEL_ON_BYOK");
    assert_non_null(
        strstr(billing_warning_text(BILLING_WARN_OVERRIDE_GARBLED).p, "until an admin"));
    assert_non_null(
        strstr(billing_warning_text(BILLING_WARN_PLATFORM_MODEL_ON_BYOK).p, "says byok"));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(resolves_every_row_of_the_table),
        TEST(the_resolved_mode_is_always_one_of_three),
        TEST(the_derivation_is_there_under_an_override_too),
        TEST(names_of_modes_compare_exactly),
        TEST(every_warning_has_a_code_and_a_text),
    };

    return cmocka_run_group_tests(tests, fixture_load, fixture_free);
}
