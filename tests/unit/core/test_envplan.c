#include "decide_fixture.h"

#include "core/envplan.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define NOW_MS INT64_C(1795305600000)

/* Everything one plan is made from. Secrets are "NAME@o" or "NAME@w", '!' behind for a blank value.
 */
struct setup {
    const char *runtime, *model, *override, *secrets;
    bool no_gateway, no_key, no_anthropic, refuse_shadowed;
    const char *required;
};

struct outcome {
    struct env_secret secrets[NAMES_MAX];
    struct str names[NAMES_MAX], auth[NAMES_MAX], required[NAMES_MAX];
    struct billing_facts facts;
    struct billing_decision decision;
    struct env_plan_facts plan_facts;
    struct env_row rows[ENV_PLAN_ROWS_MAX];
    struct env_plan plan;
};

static size_t
read_secrets(const char *text, struct outcome *o)
{
    size_t n = fixture_names(text == NULL ? "" : text, o->names);

    for (size_t i = 0; i < n; i++) {
        size_t at = str_find_char(o->names[i], '@');

        assert_true(at + 1 < o->names[i].n);
        o->secrets[i] = (struct env_secret){.name = str_slice(o->names[i], 0, at),
            .scope = o->names[i].p[at + 1] == 'w' ? ENV_SCOPE_WORKSPACE : ENV_SCOPE_ORG,
            .value_blank = o->names[i].p[o->names[i].n - 1] == '!',
            .value_bytes = 20};
    }
    return n;
}

static void
plan_made(const struct setup *s, struct outcome *o)
{
    size_t n, auth_n = 0;

    memset(o, 0, sizeof(*o));
    n = read_secrets(s->secrets, o);
    for (size_t i = 0; i < n; i++) {
        if (!o->secrets[i].value_blank &&
            registry_is_auth_name(fixture_registry(), o->secrets[i].name))
            o->auth[auth_n++] = o->secrets[i].name;
    }
    o->facts = (struct billing_facts){.override_present = s->override != NULL,
        .override_raw = str_from_cstr(s->override),
        .derive = fixture_input(s->runtime, s->model, o->auth, auth_n)};
    o->decision = billing_decide(&o->facts, NULL);
    o->plan_facts = (struct env_plan_facts){.registry = fixture_registry(),
        .decision = &o->decision,
        .runtime = str_from_cstr(s->runtime),
        .effective_model = str_from_cstr(s->model),
        .secrets = o->secrets,
        .secrets_n = n,
        .gateway_present = !s->no_gateway,
        .platform_key_present = !s->no_key,
        .refuse_shadowed = s->refuse_shadowed,
        .now_ms = NOW_MS,
        .openai_base_url = STR("http://gw/openai/v1"),
        .anthropic_base_url = s->no_anthropic ? STR("") : STR("http://gw/anthropic"),
        .usage_url = STR("http://gw/usage"),
        .required_env = o->required,
        .required_env_n = fixture_names(s->required == NULL ? "" : s->required, o->required)};
    o->plan = (struct env_plan){.rows = o->rows, .rows_max = COUNT(o->rows)};
    env_plan_make(&o->plan_facts, &o->plan);
}

/* The row that the agent sees last under a name; NULL when none mentions it. */
static const struct env_row *
last_row(const struct outcome *o, const char *name)
{
    const struct env_row *found = NULL;

    for (size_t i = 0; i < o->plan.n; i++) {
        if (str_equal(o->plan.rows[i].name, str_from_cstr(name)))
            found = &o->plan.rows[i];
    }
    return found;
}

static void
expect_set(const struct outcome *o, const char *name, const char *literal)
{
    const struct env_row *row = last_row(o, name);

    if (row == NULL || row->action != ENV_SET)
        fail_msg("%s is not set", name);
    if (literal != NULL)
        assert_str(row->literal, literal);
}

static void
expect_action(const struct outcome *o, const char *name, enum env_action action)
{
    const struct env_row *row = last_row(o, name);

    if (row == NULL || row->action != action)
        fail_msg("%s: got %d", name, row == NULL ? -1 : (int)row->action);
}

static void
expect_absent(const struct outcome *o, const char *name)
{
    const struct env_row *row = last_row(o, name);

    if (row != NULL && row->action != ENV_STRIP)
        fail_msg("%s reaches the agent", name);
}

static void
expect_refusal(const struct outcome *o, const char *code)
{
    assert_str(env_refusal_name(o->plan.refusal), code);
}

static void
gives_a_platform_managed_claude_code_its_gateway(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "anthropic/claude-opus-4-7", NULL,
                  "CLAUDE_CODE_OAUTH_TOKEN@w OPENAI_API_KEY@o ANTHROPIC_API_KEY@w FOO@w"},
        &o);
    expect_refusal(&o, "");
    expect_set(&o, "MOLECULE_LLM_BILLING_MODE", "platform_managed");
    expect_set(&o, "MOLECULE_LLM_BILLING_MODE_RESOLVED", "platform_managed");
    expect_set(&o, "MOLECULE_LLM_BASE_URL", "http://gw/openai/v1");
    expect_set(&o, "MOLECULE_LLM_ANTHROPIC_BASE_URL", "http://gw/anthropic");
    expect_set(&o, "MOLECULE_LLM_USAGE_URL", "http://gw/usage");
    expect_set(&o, "ANTHROPIC_BASE_URL", "http://gw/anthropic");
    assert_int_equal(last_row(&o, "MOLECULE_LLM_USAGE_TOKEN")->source, ENV_FROM_USAGE_TOKEN);
    assert_int_equal(last_row(&o, "ANTHROPIC_API_KEY")->source, ENV_FROM_USAGE_TOKEN);
    assert_int_equal(last_row(&o, "ANTHROPIC_API_KEY")->action, ENV_SET);
    expect_absent(&o, "CLAUDE_CODE_OAUTH_TOKEN");
    expect_absent(&o, "OPENAI_API_KEY");
    expect_absent(&o, "OPENAI_BASE_URL");
    expect_action(&o, "FOO", ENV_KEEP);
    expect_set(&o, "ANTHROPIC_MODEL", "anthropic/claude-opus-4-7");
    expect_set(&o, "ANTHROPIC_SMALL_FAST_MODEL", "anthropic/claude-opus-4-7");
    expect_set(&o, "ANTHROPIC_DEFAULT_HAIKU_MODEL", "anthropic/claude-opus-4-7");
    assert_int_equal(o.plan.needs_usage_token, 1);
}

static void
gives_other_runtimes_the_openai_names(void **state)
{
    static const char *const runtimes[][2] = {{"codex", "openai/gpt-5.4"},
        {"hermes", "moonshot/kimi-k2.6"}, {"langgraph", ""}, {"langgraph", "anything"}};

    for (size_t i = 0; i < COUNT(runtimes); i++) {
        static struct outcome o;

        plan_made(
            &(struct setup){runtimes[i][0], runtimes[i][1], NULL, "ANTHROPIC_BASE_URL@w"}, &o);
        expect_refusal(&o, "");
        expect_set(&o, "OPENAI_BASE_URL", "http://gw/openai/v1");
        assert_int_equal(last_row(&o, "OPENAI_API_KEY")->source, ENV_FROM_USAGE_TOKEN);
        expect_absent(&o, "ANTHROPIC_API_KEY");
        expect_absent(&o, "ANTHROPIC_BASE_URL");
    }
}

static void
byok_gets_no_gateway_and_keeps_its_own_key(void **state)
{
    static struct outcome o;
    static const char *const absent[] = {"MOLECULE_LLM_BASE_URL", "MOLECULE_LLM_USAGE_TOKEN",
        "MOLECULE_LLM_ANTHROPIC_BASE_URL", "MOLECULE_LLM_USAGE_URL", "ANTHROPIC_BASE_URL",
        "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_SMALL_FAST_MODEL"};

    plan_made(&(struct setup){"claude-code", "opus", "byok", "CLAUDE_CODE_OAUTH_TOKEN@w"}, &o);
    expect_refusal(&o, "");
    expect_set(&o, "MOLECULE_LLM_BILLING_MODE", "byok");
    expect_set(&o, "MOLECULE_LLM_BILLING_MODE_RESOLVED", "byok");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_KEEP);
    expect_set(&o, "MODEL", "opus");
    expect_set(&o, "MOLECULE_MODEL", "opus");
    expect_set(&o, "ANTHROPIC_MODEL", "opus");
    for (size_t i = 0; i < COUNT(absent); i++)
        expect_absent(&o, absent[i]);
    assert_int_equal(o.plan.needs_usage_token, 0);
    assert_int_equal(o.plan.warnings, 0);
}

static void
an_org_wide_credential_survives_on_byok_when_the_provider_accepts_it(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@o"}, &o);
    expect_refusal(&o, "");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_KEEP);
    expect_absent(&o, "MOLECULE_LLM_USAGE_TOKEN");
}

static void
a_stray_inherited_subscription_is_stripped_from_another_vendors_workspace(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "MiniMax-M2.7", NULL,
                  "CLAUDE_CODE_OAUTH_TOKEN@o MINIMAX_API_KEY@o OPENAI_BASE_URL@o PLAIN@o"},
        &o);
    expect_refusal(&o, "");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_STRIP);
    expect_action(&o, "OPENAI_BASE_URL", ENV_STRIP);
    expect_action(&o, "MINIMAX_API_KEY", ENV_KEEP);
    expect_action(&o, "PLAIN", ENV_KEEP);
}

static void
a_workspaces_own_key_is_never_stripped_on_byok(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "MiniMax-M2.7", NULL,
                  "CLAUDE_CODE_OAUTH_TOKEN@w MINIMAX_API_KEY@o"},
        &o);
    expect_refusal(&o, "");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_KEEP);
}

static void
strips_nothing_without_a_derivable_provider(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "no-such-model", "byok",
                  "CLAUDE_CODE_OAUTH_TOKEN@o OPENAI_API_KEY@o"},
        &o);
    expect_refusal(&o, "");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_KEEP);
    expect_action(&o, "OPENAI_API_KEY", ENV_KEEP);
    plan_made(&(struct setup){"claude-code", "moonshot/kimi-k2.6", "byok", "OPENAI_API_KEY@o"}, &o);
    expect_refusal(&o, "");
    expect_action(&o, "OPENAI_API_KEY", ENV_KEEP);
}

static void
disabled_neither_strips_nor_injects_nor_refuses(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "MiniMax-M2.7", "disabled",
                  "CLAUDE_CODE_OAUTH_TOKEN@o OPENAI_BASE_URL@o"},
        &o);
    expect_refusal(&o, "");
    expect_set(&o, "MOLECULE_LLM_BILLING_MODE", "disabled");
    expect_action(&o, "CLAUDE_CODE_OAUTH_TOKEN", ENV_KEEP);
    expect_action(&o, "OPENAI_BASE_URL", ENV_KEEP);
    expect_absent(&o, "MOLECULE_LLM_USAGE_TOKEN");
    expect_set(&o, "MODEL", "MiniMax-M2.7");
    plan_made(&(struct setup){"claude-code", "", "disabled", NULL, .no_gateway = true}, &o);
    expect_refusal(&o, "");
    assert_null(last_row(&o, "MODEL"));
}

static const struct {
    const char *name;
    struct setup setup;
    const char *refusal, *subject, *suggestion;
} refusals[] = {
    {"byok without any credential", {"claude-code", "kimi-for-coding", NULL, NULL},
        "MISSING_BYOK_CREDENTIAL", "kimi-coding", ""},
    {"byok with another vendor's key", {"claude-code", "claude-opus-4-7", NULL, "OPENAI_API_KEY@w"},
        "MISSING_BYOK_CREDENTIAL", "anthropic-api", ""},
    {"byok with a blank key", {"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w!"},
        "MISSING_BYOK_CREDENTIAL", "anthropic-oauth", ""},
    {"byok with only a base URL", {"hermes", "custom/x", NULL, "HERMES_CUSTOM_BASE_URL@w"},
        "MISSING_BYOK_CREDENTIAL", "custom", ""},
    {"byok underivable with only a base URL", {"langgraph", "x", "byok", "OPENAI_BASE_URL@w"},
        "MISSING_BYOK_CREDENTIAL", "", ""},
    {"byok underivable with a switch only", {"langgraph", "x", "byok", "CLAUDE_CODE_USE_BEDROCK@w"},
        "MISSING_BYOK_CREDENTIAL", "", ""},
    {"byok underivable with a plain secret", {"langgraph", "x", "byok", "FOO@w"},
        "MISSING_BYOK_CREDENTIAL", "", ""},
    {"byok underivable with any vendor key", {"langgraph", "x", "byok", "XAI_API_KEY@w"}, "", "",
        ""},
    {"byok with a key that was on no list before",
        {"codex", "gpt-5.5", NULL, "CODEX_CHATGPT_AUTH_JSON@o"}, "", "", ""},
    {"no gateway", {"claude-code", "anthropic/claude-opus-4-7", NULL, NULL, .no_gateway = true},
        "MISSING_PLATFORM_PROXY", "gateway", ""},
    {"no Anthropic side",
        {"claude-code", "anthropic/claude-opus-4-7", NULL, NULL, .no_anthropic = true},
        "MISSING_PLATFORM_PROXY", "gateway", ""},
    {"no Anthropic side is no matter to codex",
        {"codex", "openai/gpt-5.4", NULL, NULL, .no_anthropic = true}, "", "", ""},
    {"no platform key", {"claude-code", "moonshot/kimi-k2.6", NULL, NULL, .no_key = true},
        "MISSING_PLATFORM_PROXY", "moonshot", ""},
    {"no platform key outside the registry",
        {"langgraph", "moonshot/kimi-k2.6", NULL, NULL, .no_key = true}, "MISSING_PLATFORM_PROXY",
        "moonshot", ""},
    {"a dialect the upstream does not speak", {"claude-code", "openai/gpt-5.4", NULL, NULL},
        "MISSING_PLATFORM_PROXY", "anthropic", ""},
    {"no model", {"claude-code", "", NULL, NULL}, "MODEL_REQUIRED", "", ""},
    {"blank model", {"claude-code", " \t", NULL, NULL}, "MODEL_REQUIRED", "", ""},
    {"no model is fine outside the registry", {"langgraph", "", NULL, NULL}, "", "", ""},
    {"vendor model under an override", {"claude-code", "claude-opus-4-7", "platform_managed", NULL},
        "MODEL_NOT_ON_PLATFORM", "claude-opus-4-7", "anthropic/claude-opus-4-7"},
    {"colon model under an override",
        {"claude-code", "moonshot:kimi-k2.6", "platform_managed", NULL}, "MODEL_NOT_ON_PLATFORM",
        "moonshot:kimi-k2.6", "moonshot/kimi-k2.6"},
    {"platform prefix without a route", {"claude-code", "platform/anything", NULL, NULL},
        "MODEL_NOT_ON_PLATFORM", "platform/anything", ""},
    {"unregistered model", {"claude-code", "gpt-5.5", NULL, NULL}, "MODEL_NOT_ON_PLATFORM",
        "gpt-5.5", ""},
    {"garbled override on a byok model",
        {"claude-code", "opus", "byokk", "CLAUDE_CODE_OAUTH_TOKEN@w"}, "MODEL_NOT_ON_PLATFORM",
        "opus", ""},
    {"operator key at org scope", {"claude-code", "opus", NULL, "GITHUB_TOKEN@o"},
        "OPERATOR_KEY_IN_ORG_SECRETS", "GITHUB_TOKEN", ""},
    {"operator prefix at org scope", {"claude-code", "opus", "disabled", "MOLECULE_OPERATOR_X@o"},
        "OPERATOR_KEY_IN_ORG_SECRETS", "MOLECULE_OPERATOR_X", ""},
    {"operator key at workspace scope",
        {"claude-code", "opus", NULL, "GITHUB_TOKEN@w CLAUDE_CODE_OAUTH_TOKEN@w"}, "", "", ""},
    {"required variable missing",
        {"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w", .required = "DATABASE_URL"},
        "MISSING_REQUIRED_ENV", "DATABASE_URL", ""},
    {"required variable blank",
        {"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w DATABASE_URL@o!",
            .required = "DATABASE_URL"},
        "MISSING_REQUIRED_ENV", "DATABASE_URL", ""},
    {"required variables there",
        {"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w DATABASE_URL@o",
            .required = "DATABASE_URL MODEL"},
        "", "", ""},
    {"required variable stripped",
        {"claude-code", "moonshot/kimi-k2.6", NULL, "OPENAI_API_KEY@w",
            .required = "OPENAI_API_KEY"},
        "MISSING_REQUIRED_ENV", "OPENAI_API_KEY", ""},
    {"shadowed and told to refuse",
        {"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_API_KEY@w",
            .refuse_shadowed = true},
        "SHADOWED_CREDENTIAL", "ANTHROPIC_API_KEY", ""},
};

static void
refuses_what_cannot_work_and_names_the_way_out(void **state)
{
    for (size_t i = 0; i < COUNT(refusals); i++) {
        static struct outcome o;
        struct str code;

        plan_made(&refusals[i].setup, &o);
        code = env_refusal_name(o.plan.refusal);
        if (!str_equal(code, str_from_cstr(refusals[i].refusal)) ||
            (code.n > 0 && !str_equal(o.plan.subject, str_from_cstr(refusals[i].subject))) ||
            !str_equal(o.plan.suggestion, str_from_cstr(refusals[i].suggestion)))
            fail_msg("%s: got %.*s [%.*s] [%.*s]", refusals[i].name, STR_ARG(code),
                STR_ARG(o.plan.subject), STR_ARG(o.plan.suggestion));
    }
}

static const struct {
    const char *model, *secrets, *shadow;
} shadows[] = {
    {"opus", "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_API_KEY@w", "ANTHROPIC_API_KEY"},
    {"opus", "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_AUTH_TOKEN@w ANTHROPIC_API_KEY@w",
        "ANTHROPIC_AUTH_TOKEN"},
    /* Inherited, so it is stripped and shadows nothing. */
    {"opus", "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_API_KEY@o", ""},
    {"opus", "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_API_KEY@w!", ""},
    {"claude-opus-4-7", "CLAUDE_CODE_OAUTH_TOKEN@w ANTHROPIC_API_KEY@w", ""},
    {"MiniMax-M2.7", "MINIMAX_API_KEY@w CLAUDE_CODE_OAUTH_TOKEN@w", "CLAUDE_CODE_OAUTH_TOKEN"},
    {"MiniMax-M2.7", "MINIMAX_API_KEY@w", ""},
};

static void
warns_when_the_runtime_would_pick_another_vendors_key(void **state)
{
    for (size_t i = 0; i < COUNT(shadows); i++) {
        static struct outcome o;

        plan_made(&(struct setup){"claude-code", shadows[i].model, NULL, shadows[i].secrets}, &o);
        expect_refusal(&o, "");
        if ((o.plan.warnings != 0) != (shadows[i].shadow[0] != '\0') ||
            !str_equal(o.plan.shadowed_by, str_from_cstr(shadows[i].shadow)))
            fail_msg("%s with %s: got [%.*s]", shadows[i].model, shadows[i].secrets,
                STR_ARG(o.plan.shadowed_by));
        assert_str(o.plan.subject, shadows[i].shadow);
    }
}

static void
reserved_names_never_reach_the_agent_as_stored(void **state)
{
    static const char *const overrides[] = {NULL, "byok", "disabled", "platform_managed"};

    for (size_t i = 0; i < COUNT(overrides); i++) {
        static struct outcome o;

        plan_made(&(struct setup){"claude-code", "opus", overrides[i],
                      "LLM_PROVIDER@w LD_PRELOAD@w MOLECULE_LLM_BILLING_MODE@w"},
            &o);
        expect_action(&o, "LLM_PROVIDER", ENV_STRIP);
        expect_action(&o, "LD_PRELOAD", ENV_STRIP);
        expect_action(&o, "MOLECULE_LLM_BILLING_MODE", ENV_SET);
    }
}

static void
the_effective_model_replaces_a_stored_one(void **state)
{
    static struct outcome o;

    plan_made(
        &(struct setup){"hermes", "moonshot/kimi-k2.6", NULL, "MODEL@w MOLECULE_MODEL@w"}, &o);
    expect_set(&o, "MODEL", "moonshot/kimi-k2.6");
    expect_set(&o, "MOLECULE_MODEL", "moonshot/kimi-k2.6");
    expect_set(&o, "HERMES_DEFAULT_MODEL", "moonshot/kimi-k2.6");
}

static void
base_variables_give_way_to_secrets_and_identity_does_not(void **state)
{
    static struct outcome o;
    static const struct env_row identity[] = {{.name = STR_INIT("WORKSPACE_ID"),
                                                  .action = ENV_SET,
                                                  .source = ENV_FROM_IDENTITY,
                                                  .literal = STR_INIT("w-1"),
                                                  .reason = "identity"},
        {.name = STR_INIT("ROLE"),
            .action = ENV_SET,
            .source = ENV_FROM_IDENTITY,
            .literal = STR_INIT("r"),
            .reason = "identity"}};

    plan_made(
        &(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w PATH@w ROLE@w"},
        &o);
    o.plan_facts.identity = identity;
    o.plan_facts.identity_n = COUNT(identity);
    env_plan_make(&o.plan_facts, &o.plan);
    expect_action(&o, "PATH", ENV_KEEP);
    expect_set(&o, "LANG", "C.UTF-8");
    expect_set(&o, "WORKSPACE_ID", "w-1");
    expect_set(&o, "ROLE", "r");
}

/* No name twice alive, strips before sets, a reason everywhere. */
static void
check_shape(const char *what, const struct outcome *o)
{
    for (size_t i = 0; i < o->plan.n; i++) {
        const struct env_row *row = &o->plan.rows[i];

        if (row->reason == NULL || row->reason[0] == '\0')
            fail_msg("%s: %.*s has no reason", what, STR_ARG(row->name));
        for (size_t j = i + 1; j < o->plan.n; j++) {
            const struct env_row *later = &o->plan.rows[j];

            if (!str_equal(row->name, later->name))
                continue;
            if (row->action != ENV_STRIP || later->action != ENV_SET)
                fail_msg("%s: %.*s is there twice", what, STR_ARG(row->name));
        }
    }
}

static void
no_name_is_set_twice_and_every_row_has_a_reason(void **state)
{
    static struct outcome o;

    for (size_t i = 0; i < COUNT(refusals); i++) {
        plan_made(&refusals[i].setup, &o);
        check_shape(refusals[i].name, &o);
    }
    plan_made(
        &(struct setup){"claude-code", "anthropic/claude-opus-4-7", NULL,
            "ANTHROPIC_API_KEY@o ANTHROPIC_BASE_URL@w MODEL@o ANTHROPIC_MODEL@w PATH@w HOME@w"},
        &o);
    check_shape("replaced secrets", &o);
}

static void
refuses_what_the_kernel_would_not_take(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w BIG@w"}, &o);
    o.secrets[1].value_bytes = 128 * 1024 - sizeof("BIG=");
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "");
    o.secrets[1].value_bytes++;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
    assert_str(o.plan.subject, "BIG");
    plan_made(
        &(struct setup){"claude-code", "opus", "disabled", "A@w B@w C@w D@w E@w F@w G@w H@w"}, &o);
    for (size_t i = 0; i < 8; i++)
        o.secrets[i].value_bytes = 128 * 1024 - 4;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
}

static uint64_t
bytes_of(const struct outcome *o)
{
    uint64_t total = 0;

    for (size_t i = 0; i < o->plan.n; i++) {
        const struct env_row *row = &o->plan.rows[i];
        size_t s = 0;

        if (row->action == ENV_STRIP)
            continue;
        while (row->action == ENV_KEEP && !str_equal(o->secrets[s].name, row->name))
            s++;
        total += row->name.n + 2 +
            (row->action == ENV_KEEP ? o->secrets[s].value_bytes : row->literal.n);
    }
    return total;
}

static void
the_whole_environment_may_have_one_mebibyte_to_the_byte(void **state)
{
    static struct outcome o;

    plan_made(
        &(struct setup){"claude-code", "opus", "disabled", "A@w B@w C@w D@w E@w F@w G@w H@w"}, &o);
    for (size_t i = 0; i < 7; i++)
        o.secrets[i].value_bytes = 131060;
    o.secrets[7].value_bytes += (uint32_t)(1024 * 1024 - bytes_of(&o));
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "");
    o.secrets[7].value_bytes++;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
}

static void
a_strip_hides_nothing_that_comes_behind_it(void **state)
{
    static struct outcome o;

    plan_made(
        &(struct setup){"claude-code", "moonshot/kimi-k2.6", NULL, "OPENAI_API_KEY@w BIG@w"}, &o);
    o.secrets[1].value_bytes = 1 << 20;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
}

static void
looks_at_nothing_beyond_its_lists(void **state)
{
    static struct outcome o;

    /* A credential one element beyond the secrets. */
    plan_made(&(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w"}, &o);
    o.plan_facts.secrets_n = 0;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "MISSING_BYOK_CREDENTIAL");
    /* Rows of an older plan beyond the new one's. */
    for (size_t i = 0; i < COUNT(o.rows); i++)
        o.rows[i] = (struct env_row){.name = STR("GHOST"), .action = ENV_KEEP};
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "MISSING_BYOK_CREDENTIAL");
}

static void
suggests_only_what_is_on_the_menu(void **state)
{
    static struct outcome o;
    struct registry *r = malloc(fixture_registry()->bytes);

    memcpy(r, fixture_registry(), fixture_registry()->bytes);
    plan_made(&(struct setup){"codex", "gpt-5.4-mini", "platform_managed", NULL}, &o);
    assert_str(o.plan.suggestion, "openai/gpt-5.4-mini");
    r->platform_models.n--; /* the last one is beyond the menu now */
    o.facts.derive.registry = r;
    o.plan_facts.registry = r;
    o.decision = billing_decide(&o.facts, NULL);
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "MODEL_NOT_ON_PLATFORM");
    assert_str(o.plan.suggestion, "");
    free(r);
}

static void
replaces_a_secret_in_a_full_list_without_reading_behind_it(void **state)
{
    static struct outcome o;
    struct env_row *rows = calloc(3, sizeof(*rows));

    plan_made(&(struct setup){"claude-code", "opus", "disabled", "MODEL@w"}, &o);
    o.plan = (struct env_plan){.rows = rows, .rows_max = 3};
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
    assert_str(rows[2].name, "MODEL");
    assert_int_equal(rows[2].action, ENV_SET);
    free(rows);
}

static void
identity_cannot_replace_what_the_decision_set(void **state)
{
    static struct outcome o;
    static const struct env_row identity[] = {{.name = STR_INIT("MODEL"),
        .action = ENV_SET,
        .literal = STR_INIT("other"),
        .reason = "x"}};

    plan_made(&(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w"}, &o);
    o.plan_facts.identity = identity;
    o.plan_facts.identity_n = 1;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_set(&o, "MODEL", "opus");
    check_shape("identity", &o);
}

static void
a_stripped_value_counts_towards_no_limit(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "moonshot/kimi-k2.6", NULL, "OPENAI_API_KEY@w"}, &o);
    o.secrets[0].value_bytes = 4 * 1024 * 1024;
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "");
}

static void
too_many_rows_are_refused_and_never_written(void **state)
{
    static struct outcome o;

    plan_made(&(struct setup){"claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@w"}, &o);
    o.plan.rows_max = 3;
    o.rows[3].reason = "untouched";
    env_plan_make(&o.plan_facts, &o.plan);
    expect_refusal(&o, "ENVIRONMENT_TOO_LARGE");
    assert_int_equal(o.plan.n, 3);
    assert_string_equal(o.rows[3].reason, "untouched");
}

/* --- files ----------------------------------------------------------------------------------- */

#define CONFIG(model, provider, url, last)                                                         \
    "~/.codex/config.toml model = \"" model "\" model_provider = \"purser\" "                      \
    "[model_providers.purser] name = \"" provider "\" base_url = \"" url "\" " last                \
    " wire_api = \"responses\" "

static const struct {
    const char *name, *runtime, *model, *override, *secrets, *credential, *files;
} file_cases[] = {
    {"the gateway", "codex", "openai/gpt-5.4", NULL, "OPENAI_API_KEY@w", "MOLECULE_LLM_USAGE_TOKEN",
        "~/.codex/config.toml model = \"openai/gpt-5.4\" model_provider = \"purser\" web_search = "
        "\"disabled\" [model_providers.purser] name = \"platform\" base_url = "
        "\"http://gw/openai/v1\" env_key = \"MOLECULE_LLM_USAGE_TOKEN\" wire_api = \"responses\" "},
    {"an own key", "codex", "gpt-5.4", NULL, "OPENAI_API_KEY@w", "OPENAI_API_KEY",
        CONFIG(
            "gpt-5.4", "openai-api", "https://api.openai.com/v1", "env_key = \"OPENAI_API_KEY\"")},
    {"the runtime's order goes before the provider's", "codex", "gpt-5.4", NULL,
        "OPENAI_API_KEY@w CODEX_API_KEY@w", "CODEX_API_KEY",
        CONFIG(
            "gpt-5.4", "openai-api", "https://api.openai.com/v1", "env_key = \"CODEX_API_KEY\"")},
    {"an own URL", "codex", "gpt-5.4", NULL, "OPENAI_API_KEY@w OPENAI_BASE_URL@w", "OPENAI_API_KEY",
        CONFIG("gpt-5.4", "openai-api", "${OPENAI_BASE_URL}", "env_key = \"OPENAI_API_KEY\"")},
    {"an inherited URL is stripped and leads nowhere", "codex", "gpt-5.4", NULL,
        "OPENAI_API_KEY@w OPENAI_BASE_URL@o", "OPENAI_API_KEY",
        CONFIG(
            "gpt-5.4", "openai-api", "https://api.openai.com/v1", "env_key = \"OPENAI_API_KEY\"")},
    {"a login", "codex", "gpt-5.4", NULL, "CODEX_AUTH_JSON@w", "CODEX_AUTH_JSON",
        CONFIG("gpt-5.4", "openai-subscription", "https://chatgpt.com/backend-api/codex",
            "requires_openai_auth = true") "~/.codex/auth.json* ${CODEX_AUTH_JSON} "},
    {"no provider, no files", "codex", "openai/gpt-5.4", "byok", "OPENAI_API_KEY@w", "", ""},
    {"disabled makes none", "codex", "gpt-5.4", "disabled", "OPENAI_API_KEY@w", "OPENAI_API_KEY",
        ""},
    {"a runtime without files", "claude-code", "opus", NULL, "CLAUDE_CODE_OAUTH_TOKEN@o",
        "CLAUDE_CODE_OAUTH_TOKEN", ""},
    {"a blank value is no credential", "claude-code", "claude-opus-4-7", NULL,
        "ANTHROPIC_AUTH_TOKEN@w! ANTHROPIC_API_KEY@w", "ANTHROPIC_API_KEY", ""},
};

static void
render(const struct env_plan *plan, char *out, size_t bytes)
{
    size_t n = 0;

    out[0] = '\0';
    for (size_t i = 0; i < plan->files_n; i++) {
        const struct env_file *file = &plan->files[i];

        n += (size_t)snprintf(
            out + n, bytes - n, "~/%.*s%s ", STR_ARG(file->path), file->refreshed ? "*" : "");
        for (size_t k = 0; k < file->parts_n; k++)
            n += (size_t)snprintf(out + n, bytes - n,
                file->parts[k].of == ENV_PART_VARIABLE ? "${%.*s}" : "%.*s",
                STR_ARG(file->parts[k].text));
    }
    for (char *c = out; *c != '\0'; c++)
        *c = *c == '\n' ? ' ' : *c;
}

static void
makes_the_files_that_steer_a_runtime(void **state)
{
    for (size_t i = 0; i < COUNT(file_cases); i++) {
        static struct outcome o;
        char got[2048];

        plan_made(&(struct setup){file_cases[i].runtime, file_cases[i].model,
                      file_cases[i].override, file_cases[i].secrets},
            &o);
        render(&o.plan, got, sizeof(got));
        if (strcmp(got, file_cases[i].files) != 0)
            fail_msg("%s: got [%s]", file_cases[i].name, got);
        if (!str_equal(o.plan.credential, str_from_cstr(file_cases[i].credential)))
            fail_msg("%s: credential [%.*s]", file_cases[i].name, STR_ARG(o.plan.credential));
    }
}

static void
a_file_that_names_the_credential_leaves_nothing_to_shadow(void **state)
{
    static struct outcome o;

    plan_made(
        &(struct setup){"codex", "openai-api/gpt-5.4", NULL, "OPENAI_API_KEY@w CODEX_AUTH_JSON@w"},
        &o);
    assert_int_equal(o.plan.warnings, 0);
    plan_made(&(struct setup){"codex", "gpt-5.4", NULL, "CODEX_AUTH_JSON@w CODEX_API_KEY@w"}, &o);
    assert_int_equal(o.plan.warnings, ENV_WARN_SHADOWED_CREDENTIAL);
    assert_str(o.plan.shadowed_by, "CODEX_API_KEY");
}

static void
reads_references_and_nothing_like_them(void **state)
{
    static const struct {
        const char *line, *before;
        enum env_scan found;
        enum env_reference reference;
        bool quoted;
    } lines[] = {
        {"x = \"${model}\"", "x = \"", ENV_SCAN_REFERENCE, ENV_REF_MODEL, true},
        {"${credential}", "", ENV_SCAN_REFERENCE, ENV_REF_CREDENTIAL, false},
        {"\"a${base_url}\"", "\"a", ENV_SCAN_REFERENCE, ENV_REF_BASE_URL, false},
        {"${credential_env}x", "", ENV_SCAN_REFERENCE, ENV_REF_CREDENTIAL_ENV, false},
        {"$model $ {model} {provider}", "$model $ {model} {provider}", ENV_SCAN_END, 0, false},
        {"", "", ENV_SCAN_END, 0, false},
        {"$", "$", ENV_SCAN_END, 0, false},
        {"${Model}", "", ENV_SCAN_UNKNOWN, 0, false},
        {"${}", "", ENV_SCAN_UNKNOWN, 0, false},
        {"a${model", "a", ENV_SCAN_UNKNOWN, 0, false},
    };

    for (size_t i = 0; i < COUNT(lines); i++) {
        struct str line = str_from_cstr(lines[i].line), before = STR_NONE;
        enum env_reference reference = ENV_REF_COUNT;
        bool quoted = false;
        enum env_scan found = env_file_scan(&line, &before, &reference, &quoted);

        if (found != lines[i].found || !str_equal(before, str_from_cstr(lines[i].before)) ||
            (found == ENV_SCAN_REFERENCE &&
                (reference != lines[i].reference || quoted != lines[i].quoted)))
            fail_msg("[%s]: got %d, %d, before [%.*s]", lines[i].line, (int)found, (int)reference,
                STR_ARG(before));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_a_platform_managed_claude_code_its_gateway),
        TEST(gives_other_runtimes_the_openai_names),
        TEST(byok_gets_no_gateway_and_keeps_its_own_key),
        TEST(an_org_wide_credential_survives_on_byok_when_the_provider_accepts_it),
        TEST(a_stray_inherited_subscription_is_stripped_from_another_vendors_workspace),
        TEST(a_workspaces_own_key_is_never_stripped_on_byok),
        TEST(strips_nothing_without_a_derivable_provider),
        TEST(disabled_neither_strips_nor_injects_nor_refuses),
        TEST(refuses_what_cannot_work_and_names_the_way_out),
        TEST(warns_when_the_runtime_would_pick_another_vendors_key),
        TEST(reserved_names_never_reach_the_agent_as_stored),
        TEST(the_effective_model_replaces_a_stored_one),
        TEST(base_variables_give_way_to_secrets_and_identity_does_not),
        TEST(no_name_is_set_twice_and_every_row_has_a_reason),
        TEST(refuses_what_the_kernel_would_not_take),
        TEST(the_whole_environment_may_have_one_mebibyte_to_the_byte),
        TEST(a_strip_hides_nothing_that_comes_behind_it),
        TEST(looks_at_nothing_beyond_its_lists),
        TEST(suggests_only_what_is_on_the_menu),
        TEST(replaces_a_secret_in_a_full_list_without_reading_behind_it),
        TEST(identity_cannot_replace_what_the_decision_set),
        TEST(a_stripped_value_counts_towards_no_limit),
        TEST(too_many_rows_are_refused_and_never_written),
        TEST(makes_the_files_that_steer_a_runtime),
        TEST(a_file_that_names_the_credential_leaves_nothing_to_shadow),
        TEST(reads_references_and_nothing_like_them),
    };

    return cmocka_run_group_tests(tests, fixture_load, fixture_free);
}
