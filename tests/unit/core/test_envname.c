#include "unit.h"

#include "core/envplan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
reserves_what_purser_sets_and_what_loads_code(void **state)
{
    static const char *const yes[] = {"MOLECULE_LLM_USAGE_TOKEN", "MOLECULE_LLM_", "molecule_llm_x",
        " WORKSPACE_ID ", "PLATFORM_URL", "LLM_PROVIDER", "llm_provider", "LD_PRELOAD",
        "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES", "HOME", "PURSER_SERVER"};
    static const char *const no[] = {"", "MODEL", "MOLECULE_MODEL", "MOLECULE_LLMX", "PATH",
        "WORKSPACE_IDS", "MY_WORKSPACE_ID", "LLM_PROVIDERS", "LDAP_URL", "OPENAI_API_KEY",
        "HOMEPAGE"};

    for (size_t i = 0; i < COUNT(yes); i++)
        if (!env_name_is_reserved(str_from_cstr(yes[i])))
            fail_msg("%s should be reserved", yes[i]);
    for (size_t i = 0; i < COUNT(no); i++)
        if (env_name_is_reserved(str_from_cstr(no[i])))
            fail_msg("%s should not be reserved", no[i]);
}

static void
knows_every_operator_scope_name(void **state)
{
    static const char *const yes[] = {"GITEA_TOKEN", "GITEA_PAT", "GITHUB_TOKEN", "GITHUB_PAT",
        "GH_TOKEN", "GITLAB_TOKEN", "GL_TOKEN", "BITBUCKET_TOKEN", "CP_ADMIN_API_TOKEN",
        "CP_ADMIN_TOKEN", "INFISICAL_OPERATOR_TOKEN", "INFISICAL_BOOTSTRAP_TOKEN", "RAILWAY_TOKEN",
        "RAILWAY_PERSONAL_API_TOKEN", "HETZNER_TOKEN", "HETZNER_API_TOKEN", "gh_token",
        "MOLECULE_OPERATOR_ANYTHING"};
    static const char *const no[] = {
        "", "GH_PAT", "GITHUB_TOKEN_2", "OPENAI_API_KEY", "MOLECULE_OPERATO"};

    for (size_t i = 0; i < COUNT(yes); i++)
        if (!env_name_is_operator_scope(str_from_cstr(yes[i])))
            fail_msg("%s should be operator scope", yes[i]);
    for (size_t i = 0; i < COUNT(no); i++)
        if (env_name_is_operator_scope(str_from_cstr(no[i])))
            fail_msg("%s should not be operator scope", no[i]);
}

static void
accepts_only_names_of_variables(void **state)
{
    static const char *const yes[] = {"A", "_", "_A1", "a_b", " A ", "OPENAI_API_KEY"};
    static const char *const no[] = {"", " ", "1A", "A-B", "A B", "A=B", "A.B", "\xc3\x84"};
    char longest[130];

    for (size_t i = 0; i < COUNT(yes); i++)
        if (!env_name_is_valid(str_from_cstr(yes[i])))
            fail_msg("%s should be valid", yes[i]);
    for (size_t i = 0; i < COUNT(no); i++)
        if (env_name_is_valid(str_from_cstr(no[i])))
            fail_msg("%s should not be valid", no[i]);
    memset(longest, 'A', sizeof(longest));
    assert_true(env_name_is_valid((struct str){longest, 128}));
    assert_false(env_name_is_valid((struct str){longest, 129}));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reserves_what_purser_sets_and_what_loads_code),
        TEST(knows_every_operator_scope_name),
        TEST(accepts_only_names_of_variables),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
