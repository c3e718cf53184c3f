/* Before cmocka, whose macro fail() would take base/error.h's fail() apart. */
#include "core/billing.h"
#include "core/envplan.h"
#include "registry/registry_json.h"
#include "registry/registry_load.h"

#include "unit.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A whole registry in small; the cases below replace one piece of it. */
static const char good[] =
    "schema_version: 1\n"
    "providers:\n"
    "  - name: acme\n"
    "    display_name: Acme\n"
    "    kind: api-key\n"
    "    auth_env: [ACME_KEY]\n"
    "    base_url_env: [ACME_URL]\n"
    "    model_prefix_match: '^acme-'\n"
    "    upstream_vendor: acme\n"
    "    endpoints:\n"
    "      openai-chat: {base_url: 'https://api.acme.test/v1', header: bearer}\n"
    "    models:\n"
    "      one:\n"
    "        max_output: 1000\n"
    "        prices: [{input: 1.5, output: 2}]\n"
    "  - name: platform\n"
    "    display_name: Platform\n"
    "    kind: platform\n"
    "    auth_env: [MOLECULE_LLM_USAGE_TOKEN]\n"
    "    model_prefix_match: '^platform/'\n"
    "runtimes:\n"
    "  r:\n"
    "    dialect: openai-chat\n"
    "    base_env: {PATH: /bin}\n"
    "    providers:\n"
    "      - {name: acme, models: [acme-1]}\n"
    "      - {name: platform, models: [acme/one]}\n";

static const struct {
    const char *old, *new, *error;
} bad[] = {
    {"schema_version: 1", "schema_version: 2", "f:1: schema_version 2 is unknown"},
    {"schema_version: 1\n", "", "f:1: \"schema_version\" is missing"},
    {"schema_version: 1", "schema_version: x", "f:1: \"schema_version\" must be a whole number"},
    {"    kind: api-key", "    knd: api-key",
        "f:5: unknown field \"knd\" in a provider (did you mean \"kind\"?)"},
    {"runtimes:", "runtime:",
        "f:21: unknown field \"runtime\" in the registry (did you mean \"runtimes\"?)"},
    {"    kind: api-key", "    kind: key", "f:5: unknown kind \"key\""},
    {"    kind: api-key", "    kind: platform",
        "f:5: kind platform belongs to the provider named \"platform\""},
    {"    kind: platform", "    kind: api-key",
        "f:18: kind platform belongs to the provider named \"platform\""},
    {"    kind: api-key\n", "", "f:3: \"kind\" is missing"},
    {"    display_name: Acme\n", "", "f:3: \"display_name\" is missing"},
    {"name: acme\n", "name: Acme\n", "f:3: the name \"Acme\" may hold only"},
    {"name: platform\n    display_name: Platform", "name: acme\n    display_name: Platform",
        "f:16: provider \"acme\" is here twice"},
    {"[ACME_KEY]", "[]", "f:6: \"auth_env\" must not be empty"},
    {"[ACME_KEY]", "[acme_key]", "f:6: \"acme_key\" is not a name of a variable"},
    {"[ACME_KEY]", "[ACME_KEY, ACME_KEY]", "f:6: \"ACME_KEY\" is in this list twice"},
    {"[ACME_KEY]", "ACME_KEY", "f:6: \"auth_env\" must be a list"},
    {"[ACME_URL]", "[ACME_KEY]",
        "f: \"ACME_KEY\" is a credential in one place and a base URL in another"},
    {"'^acme-'", "'^acme-('", "f:8: bad pattern \"^acme-(\": missing closing parenthesis"},
    {"'^acme-'", "'(((((((((((((((((((a)))))))))))))))))))'", "f:8: bad pattern"},
    {"https://api.acme.test/v1", "https://api.acme.test",
        "f:11: base_url \"https://api.acme.test\" must be with its /v1"},
    {"openai-chat: {base_url: 'https://api.acme.test/v1'",
        "anthropic: {base_url: 'https://api.acme.test/v1'",
        "f:11: base_url \"https://api.acme.test/v1\" must be without /v1"},
    {"https://api.acme.test/v1", "http://api.acme.test/v1",
        "f:11: base_url \"http://api.acme.test/v1\" plain http is only for"},
    {"https://api.acme.test/v1", "https://api.acme.test/v1/",
        "f:11: base_url \"https://api.acme.test/v1/\" must not end with a slash"},
    {"https://api.acme.test/v1", "https://u@api.acme.test/v1",
        "f:11: base_url \"https://u@api.acme.test/v1\" has a host with unusual"},
    {"https://api.acme.test/v1", "ftp://x/v1",
        "f:11: base_url \"ftp://x/v1\" must begin with https://"},
    {"header: bearer", "header: basic", "f:11: unknown header \"basic\""},
    {"openai-chat: {base_url", "openai-chart: {base_url",
        "f:11: unknown field \"openai-chart\" in endpoints (did you mean \"openai-chat\"?)"},
    {"input: 1.5", "input: -1.5", "f:15: \"input\": a price must not be negative"},
    {"input: 1.5", "input: 1.1234567", "f:15: \"input\" must be USD per million tokens"},
    {"input: 1.5", "input: 1,5", "f:15: "},
    {"input: 1.5", "input: 1e3", "f:15: \"input\" must be USD per million tokens"},
    {"input: 1.5", "input: .5", "f:15: \"input\" must be USD per million tokens"},
    {"input: 1.5", "input: 1.", "f:15: \"input\" must be USD per million tokens"},
    {"input: 1.5", "input: 99999999", "f:15: \"input\" must be USD per million tokens"},
    {"{input: 1.5, output: 2}", "{input: 1.5}", "f:15: \"output\" is missing"},
    {"[{input: 1.5, output: 2}]", "[]", "f:15: between 1 and 64 prices"},
    {"{input: 1.5", "{from: 2026-02-29, input: 1.5", "f:15: \"from\" must be a date"},
    {"{input: 1.5", "{above_tokens: 5, input: 1.5",
        "f:15: the first price of a date must be without \"above_tokens\""},
    {"output: 2}]", "output: 2}, {input: 1, output: 1}]", "f:15: prices of one date must differ"},
    {"[{input: 1.5", "[{from: 2026-02-01, input: 1, output: 1}, {from: 2026-01-01, input: 1.5",
        "f:15: prices must be in the order of their \"from\""},
    {"        max_output: 1000\n", "", "f:26: platform id \"acme/one\" needs a max_output"},
    {"max_output: 1000", "max_output: 0", "f:14: \"max_output\" must be a whole number"},
    {"      one:\n", "      two:\n",
        "f:27: platform id \"acme/one\" has no price: provider \"acme\" lists no model \"one\""},
    {"upstream_vendor: acme", "upstream_vendor: other",
        "f:27: platform id \"acme/one\" names no upstream"},
    {"[acme/one]", "[one]", "f:27: platform id \"one\" names no upstream"},
    {"[acme/one]", "['acme/']", "f:27: platform id \"acme/\" names no upstream"},
    {"    upstream_vendor: acme\n", "    upstream_vendor: acme\n", ""},
    {"{name: acme, models", "{name: acne, models",
        "f:26: there is no provider \"acne\" (did you mean \"acme\"?)"},
    {"{name: acme, models", "{models", "f:26: \"name\" is missing"},
    {"- {name: platform, models: [acme/one]}", "- {name: acme}",
        "f:27: provider \"acme\" is in this runtime twice"},
    {"[acme-1]", "[acme-1, acme-1]", "f:26: \"acme-1\" is in this list twice"},
    {"[acme-1]", "['acme 1']", "f:26: a space or control character"},
    {"[acme/one]", "[acme-1, acme/one]", "f:27: platform id \"acme-1\" names no upstream"},
    {"{PATH: /bin}", "{MOLECULE_LLM_X: y}", "f:24: \"MOLECULE_LLM_X\" is not a name this may set"},
    {"dialect: openai-chat", "dialect: openai", "f:23: unknown dialect \"openai\""},
    {"dialect: openai-chat", "anthropic_native: true\n    dialect: openai-chat",
        "f:24: anthropic_native and dialect anthropic belong together"},
    {"    upstream_vendor: acme\n", "    verify: {endpoint: anthropic, path: /x}\n",
        "f:9: this provider has no endpoint \"anthropic\""},
    {"    upstream_vendor: acme\n", "    verify: {endpoint: openai-chat, path: x}\n",
        "f:9: the path must begin with a slash"},
    {"    upstream_vendor: acme\n", "    verify: {endpoint: openai-chat}\n",
        "f:9: \"path\" is missing"},
#define FILE_WITH(text) "    base_env: {PATH: /bin}\n", "    files: [" text "]\n"
    {FILE_WITH("{path: /a, for: [acme], content: [x]}"), "f:24: \"/a\" is no path below HOME"},
    {FILE_WITH("{path: a/../b, for: [acme], content: [x]}"),
        "f:24: \"a/../b\" is no path below HOME"},
    {FILE_WITH("{path: .purser/x, for: [acme], content: [x]}"),
        "f:24: \".purser/x\" is below .purser"},
    {FILE_WITH("{path: .purser, for: [acme], content: [x]}"), "f:24: \".purser\" is below .purser"},
    {FILE_WITH("{path: a//b, for: [acme], content: [x]}"), "f:24: \"a//b\" is no path below HOME"},
    {FILE_WITH("{path: a, for: [acne], content: [x]}"),
        "f:24: provider \"acne\" is no arm of this runtime"},
    {FILE_WITH("{path: a, for: [acme], content: ['${who}']}"), "f:24: an unknown reference"},
    {FILE_WITH("{path: a, for: [acme]}"), "f:24: \"content\" is missing"},
    {FILE_WITH("{path: a, content: [x]}"), "f:24: \"for\" is missing"},
    {FILE_WITH("{path: a, for: [acme], content: [x]}, {path: a, for: [platform, acme], "
               "content: [y]}"),
        "f:24: the file \"a\" is there twice for provider \"acme\""},
    {FILE_WITH("{path: a, for: [acme], content: [x]}, {path: a, for: [platform], content: [y]}"),
        ""},
    {"dialect: openai-chat\n    base_env: {PATH: /bin}\n",
        "dialect: openai-responses\n    files: [{path: a, for: [acme, platform], content: "
        "['${base_url}']}]\n",
        "f:24: provider \"acme\" has no endpoint for ${base_url}"},
    {"      - {name: acme, models: [acme-1]}\n      - {name: platform, models: [acme/one]}\n",
        "      []\n", "f:25: a runtime has between 1 and 64 providers"},
    {"    upstream_vendor: acme\n", "    upstream_vendor: acme\n    timeouts: {connect: 1}\n",
        "f:10: unknown field \"connect\" in timeouts (did you mean \"connect_s\"?)"},
    {"    upstream_vendor: acme\n", "    upstream_vendor: acme\n    timeouts: {idle_s: 0}\n",
        "f:10: \"idle_s\""},
    {"    upstream_vendor: acme\n",
        "    upstream_vendor: acme\n    timeouts: {first_byte_s: 3601}\n",
        "f:10: \"first_byte_s\""},
    {"    upstream_vendor: acme\n", "    upstream_vendor: acme\n    on_client_abort: drain\n",
        "f:10: on_client_abort is \"cancel\", or {drain_s: SECONDS"},
    {"    upstream_vendor: acme\n",
        "    upstream_vendor: acme\n    on_client_abort: {max_usd: 1}\n",
        "f:10: \"drain_s\" is missing"},
    {"    upstream_vendor: acme\n",
        "    upstream_vendor: acme\n    on_client_abort: {drain_s: 9, max_usd: 0}\n",
        "f:10: \"max_usd\" must be USD above 0"},
    {"runtimes:\n  r:", "routes:\n  acme/one: []\nruntimes:\n  r:",
        "f:22: a route of 1 to 4 places"},
    {"runtimes:\n  r:",
        "routes:\n  acme/one: [{provider: acme, model: one}, {provider: acme, model: one}]\n"
        "runtimes:\n  r:",
        "f:22: the same place twice in one route"},
    {"runtimes:\n  r:",
        "routes:\n  acme/one: [{provider: acme, model: one}, {provider: acme, model: two}]\n"
        "runtimes:\n  r:",
        "f:29: platform id \"acme/one\" has no price: provider \"acme\" lists no model \"two\""},
};

/* good with the first `old` in it replaced. */
static char *
variant(const char *old, const char *new)
{
    const char *at = strstr(good, old);
    size_t head;
    char *text = calloc(1, sizeof(good) + strlen(new));

    if (at == NULL)
        fail_msg("the sample has no \"%s\"", old);
    head = (size_t)(at - good);
    memcpy(text, good, head);
    memcpy(text + head, new, strlen(new));
    memcpy(text + head + strlen(new), at + strlen(old), strlen(at + strlen(old)));
    return text;
}

static void
refuses_each_mistake_with_file_line_and_reason(void **state)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct registry_set *set = NULL;
        struct error e = {0};
        char *text = variant(bad[i].old, bad[i].new);
        enum err err = registry_load_bytes("f", str_from_cstr(text), &set, &e);

        if (bad[i].error[0] == '\0' ? err != ERR_OK : err != ERR_REGISTRY_INVALID)
            fail_msg("%s -> %s: %s", bad[i].old, bad[i].new, err == ERR_OK ? "accepted" : e.text);
        if (!str_starts_with(str_from_cstr(e.text), str_from_cstr(bad[i].error)))
            fail_msg("%s -> %s: got \"%s\"", bad[i].old, bad[i].new, e.text);
        if (err != ERR_OK)
            assert_null(set);
        registry_free(set);
        free(text);
    }
}

/* text with piece put in before the first marker; both are freed or replaced by the result. */
static char *
inserted(char *text, const char *marker, const char *piece)
{
    const char *at = strstr(text, marker);
    size_t bytes = strlen(text) + strlen(piece) + 1;
    char *longer = malloc(bytes);

    if (at == NULL)
        fail_msg("there is no \"%s\"", marker);
    snprintf(longer, bytes, "%.*s%s%s", (int)(at - text), text, piece, at);
    free(text);
    return longer;
}

static void
refuses_an_id_that_derives_elsewhere(void **state)
{
    struct registry_set *set = NULL;
    struct error e;
    /* Listed twice with the same key: the second arm can never win. */
    char *text = inserted(
        strdup(good), "      - {name: platform", "      - {name: twin, models: [acme-1]}\n");

    text = inserted(text, "  - name: platform",
        "  - {name: twin, display_name: T, kind: api-key, auth_env: [ACME_KEY]}\n");
    assert_int_equal(registry_load_bytes("f", str_from_cstr(text), &set, &e), ERR_REGISTRY_INVALID);
    assert_non_null(strstr(
        e.text, "\"acme-1\" on runtime \"r\" does not derive to the provider it is listed under"));
    free(text);
}

static struct registry_set *
embedded(void)
{
    struct registry_set *set = NULL;
    struct error e;

    if (registry_load_embedded(&set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    return set;
}

/* Changes with every change of content, on purpose: look at `purser registry diff` and pin it anew.
 */
#define PINNED "f33c4286725aceed8ebadee2e10b6cf5f7e9bf2245f7d73e1097397dc8ac5e50"

static void
the_embedded_registry_has_the_pinned_fingerprint(void **state)
{
    AUTO_REGISTRY struct registry_set *set = embedded();
    char hex[65];

    registry_fingerprint_hex(registry_block(set), hex);
    assert_string_equal(hex, PINNED);
}

static void
the_fingerprint_sees_content_and_not_layout(void **state)
{
    AUTO_REGISTRY struct registry_set *a = NULL;
    AUTO_REGISTRY struct registry_set *b = NULL;
    AUTO_REGISTRY struct registry_set *c = NULL;
    struct error e;
    char *spaced = variant("input: 1.5, output: 2", "output:   2.000000, input: '1.50'  # note");
    char *dearer = variant("input: 1.5", "input: 1.6");

    assert_int_equal(registry_load_bytes("a", STR(good), &a, &e), ERR_OK);
    free(spaced);
    spaced = variant("prices: [{input: 1.5, output: 2}]",
        "prices: # a note\n          - output: 2.000000\n            input: '1.50'");
    assert_int_equal(registry_load_bytes("b", str_from_cstr(spaced), &b, &e), ERR_OK);
    assert_int_equal(registry_load_bytes("c", str_from_cstr(dearer), &c, &e), ERR_OK);
    assert_memory_equal(registry_block(a)->fingerprint, registry_block(b)->fingerprint, 32);
    assert_memory_not_equal(registry_block(a)->fingerprint, registry_block(c)->fingerprint, 32);
    free(spaced);
    free(dearer);
}

static void
has_every_provider_and_runtime(void **state)
{
    static const char *const providers[] = {"anthropic-api", "anthropic-oauth",
        "openai-subscription", "openai-api", "moonshot", "minimax", "platform", "xiaomi-mimo",
        "zai", "kimi-coding", "deepseek", "google", "vertex", "alibaba", "nousresearch",
        "openrouter", "huggingface", "ai-gateway", "opencode-zen", "opencode-go", "kilocode",
        "minimax-cn", "ollama-cloud", "ollama", "nvidia", "arcee", "custom", "byok-anthropic",
        "byok-openai", "byok-gemini", "byok-minimax", "groq"};
    static const char *const runtimes[] = {
        "claude-code", "hermes", "codex", "openclaw", "google-adk"};
    AUTO_REGISTRY struct registry_set *set = embedded();
    const struct registry *r = registry_block(set);

    assert_int_equal(r->providers.n, COUNT(providers));
    for (size_t i = 0; i < COUNT(providers); i++)
        assert_str(registry_str(r, registry_provider_at(r, (uint32_t)i)->name), providers[i]);
    assert_int_equal(r->runtimes.n, COUNT(runtimes));
    for (size_t i = 0; i < COUNT(runtimes); i++)
        assert_non_null(registry_runtime_find(r, str_from_cstr(runtimes[i])));
    for (uint32_t i = 0; i < r->runtimes.n; i++)
        assert_int_equal(registry_runtime_at(r, i)->anthropic_native,
            str_equal(registry_str(r, registry_runtime_at(r, i)->name), STR("claude-code")));
}

static void
the_bypass_list_has_every_known_name(void **state)
{
    static const char *const credentials[] = {/* the list kept by hand before */
        "AI_GATEWAY_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ARCEEAI_API_KEY",
        "CLAUDE_CODE_OAUTH_TOKEN", "CODEX_AUTH_JSON", "DASHSCOPE_API_KEY", "DEEPSEEK_API_KEY",
        "GEMINI_API_KEY", "GLM_API_KEY", "HERMES_CUSTOM_API_KEY", "HF_TOKEN", "KIMI_API_KEY",
        "KIMI_CN_API_KEY", "MINIMAX_API_KEY", "MINIMAX_CN_API_KEY", "NOUS_API_KEY",
        "OPENAI_API_KEY", "OPENROUTER_API_KEY", "XAI_API_KEY", "ZAI_API_KEY",
        /* its holes */
        "MOONSHOT_API_KEY", "CODEX_CHATGPT_AUTH_JSON", "GOOGLE_API_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS", "ARCEE_API_KEY", "NOUSRESEARCH_API_KEY", "HERMES_API_KEY",
        "HUGGINGFACE_API_KEY", "HUGGINGFACE_HUB_TOKEN", "ALIBABA_API_KEY", "QWEN_API_KEY",
        "MODELSTUDIO_API_KEY", "ALIBABA_CODING_PLAN_API_KEY", "OPENCODE_ZEN_API_KEY",
        "OPENCODE_GO_API_KEY", "OPENCODE_API_KEY", "KILOCODE_API_KEY", "OLLAMA_CLOUD_API_KEY",
        "OLLAMA_API_KEY", "NVIDIA_API_KEY", "GROQ_API_KEY", "CUSTOM_API_KEY", "XIAOMI_API_KEY",
        "MIMO_API_KEY", "Z_AI_API_KEY", "KIMI_CODING_API_KEY", "ANTHROPIC_TOKEN", "CODEX_API_KEY",
        "TOGETHER_API_KEY", "FIREWORKS_API_KEY", "MISTRAL_API_KEY", "CEREBRAS_API_KEY",
        "QIANFAN_API_KEY", "AWS_BEARER_TOKEN_BEDROCK"};
    static const char *const redirects[] = {"OPENAI_BASE_URL", "HERMES_CUSTOM_BASE_URL",
        "ANTHROPIC_BASE_URL", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX",
        "GOOGLE_GEMINI_BASE_URL", "GOOGLE_VERTEX_BASE_URL"};
    static const char *const others[] = {"MOLECULE_LLM_USAGE_TOKEN", "MODEL", "", "DATABASE_URL"};
    AUTO_REGISTRY struct registry_set *set = embedded();
    const struct registry *r = registry_block(set);

    for (size_t i = 0; i < COUNT(credentials); i++) {
        if (!registry_is_vendor_key(r, str_from_cstr(credentials[i])) ||
            registry_is_base_url(r, str_from_cstr(credentials[i])))
            fail_msg("%s", credentials[i]);
    }
    for (size_t i = 0; i < COUNT(redirects); i++) {
        if (!registry_is_vendor_key(r, str_from_cstr(redirects[i])) ||
            !registry_is_base_url(r, str_from_cstr(redirects[i])))
            fail_msg("%s", redirects[i]);
    }
    for (size_t i = 0; i < COUNT(others); i++)
        assert_false(registry_is_vendor_key(r, str_from_cstr(others[i])));
    assert_true(registry_is_vendor_key(r, STR(" openai_api_key\t")));
}

static void
every_name_a_provider_looks_for_or_injects_is_on_the_bypass_list(void **state)
{
    AUTO_REGISTRY struct registry_set *set = embedded();
    const struct registry *r = registry_block(set);

    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);
        const struct rlist lists[] = {p->auth_env, p->inject_env, p->other_env, p->base_url_env};

        for (size_t l = 0; l < COUNT(lists); l++) {
            for (uint32_t j = 0; j < lists[l].n; j++) {
                struct str name = registry_str(r, registry_strs(r, lists[l])[j]);

                assert_int_equal(registry_is_vendor_key(r, name), !p->is_platform);
                assert_false(!p->is_platform && env_name_is_reserved(name));
            }
        }
    }
    for (uint32_t i = 1; i < r->bypass_names.n; i++) {
        const struct rstr *names = registry_strs(r, r->bypass_names);

        assert_true(str_compare(registry_str(r, names[i - 1]), registry_str(r, names[i])) < 0);
    }
}

static void
every_platform_model_has_route_price_and_maximum(void **state)
{
    AUTO_REGISTRY struct registry_set *set = embedded();
    const struct registry *r = registry_block(set);
    const struct registry_platform_model *opus =
        registry_platform_model_find(r, STR("anthropic/claude-opus-4-7"));

    assert_int_equal(r->platform_models.n, 8);
    for (uint32_t i = 0; i < r->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(r, i);

        assert_true(m->max_output > 0);
        assert_true(m->prices.n > 0);
        assert_true(m->vendor_model.n > 0);
        assert_true(registry_provider_at(r, m->provider)->upstream_vendor.n > 0);
    }
    assert_non_null(opus);
    assert_str(registry_str(r, opus->vendor_model), "claude-opus-4-7");
    assert_int_equal(registry_prices(r, opus)->input, 5000000);
    assert_int_equal(registry_prices(r, opus)->cache_write_5m, 6250000);
    assert_int_equal(opus->max_output, 128000);
}

/* An invented provider in the YAML alone is derived, stripped, offered, routed and priced. */
static void
an_invented_provider_needs_nothing_but_the_file(void **state)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct str source = registry_embedded_source();
    char *text = inserted(strndup(source.p, source.n), "  # The operator's own offer",
        "  - name: zyx\n    display_name: Zyx\n    kind: api-key\n"
        "    auth_env: [ZYX_API_KEY]\n    base_url_env: [ZYX_BASE_URL]\n"
        "    model_prefix_match: '^zyx-'\n    upstream_vendor: zyx\n    endpoints:\n"
        "      anthropic: {base_url: 'http://127.0.0.1:9', header: x-api-key}\n"
        "    models:\n      z1: {max_output: 10, prices: [{input: 1, output: 2}]}\n\n");
    struct error e;
    const struct registry *r;
    struct derive_input in;
    const struct registry_platform_model *m;

    text = inserted(text, "          - anthropic/claude-sonnet-4-6\n", "          - zyx/z1\n");
    text = inserted(text, "      - {name: zai}\n", "      - {name: zyx}\n");
    if (registry_load_bytes("zyx", str_from_cstr(text), &set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    free(text);
    r = registry_block(set);
    in = (struct derive_input){.registry = r,
        .match = registry_match,
        .match_ctx = set,
        .runtime = STR("claude-code"),
        .model = STR("zyx-large")};
    assert_str(registry_str(r, derive(&in, NULL).provider->name), "zyx");
    assert_true(registry_is_vendor_key(r, STR("ZYX_API_KEY")));
    assert_true(registry_is_base_url(r, STR("ZYX_BASE_URL")));
    m = registry_platform_model_find(r, STR("zyx/z1"));
    assert_non_null(m);
    assert_int_equal(registry_prices(r, m)->output, 2000000);
    assert_str(registry_str(r, registry_provider_at(r, m->provider)->name), "zyx");
}

static void
routes_may_be_named(void **state)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct error e;
    char *text = variant(
        "runtimes:\n  r:", "routes:\n  best: {provider: acme, model: one}\nruntimes:\n  r:");
    char *at = strstr(text, "[acme/one]");
    const struct registry_platform_model *m;

    memcpy(at, "[best]    ", 10);
    if (registry_load_bytes("f", str_from_cstr(text), &set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    m = registry_platform_model_find(registry_block(set), STR("best"));
    assert_non_null(m);
    assert_str(registry_str(registry_block(set), m->vendor_model), "one");
    memcpy(at, "[acme/one]", 10);
    registry_free(set);
    set = NULL;
    assert_int_equal(registry_load_bytes("f", str_from_cstr(text), &set, &e), ERR_REGISTRY_INVALID);
    assert_non_null(strstr(e.text, "route for \"best\", which no runtime's platform arm lists"));
    free(text);
}

static void
a_route_may_have_several_places_and_a_provider_its_own_patience(void **state)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    const struct registry_platform_model *m;
    const struct registry_provider *p;
    struct registry_target t;
    struct error e;
    char *text = variant("        prices: [{input: 1.5, output: 2}]\n",
        "        prices: [{input: 1.5, output: 2}]\n"
        "      two: {max_output: 7, max_prompt: 9, prices: [{input: 3, output: 4}]}\n"
        "    timeouts: {connect_s: 1, first_byte_s: 20, idle_s: 300}\n"
        "    on_client_abort: {drain_s: 30, max_usd: 0.05}\n");

    text = inserted(text, "runtimes:\n  r:",
        "routes:\n  acme/one: [{provider: acme, model: one}, {provider: acme, model: two}]\n");
    if (registry_load_bytes("f", str_from_cstr(text), &set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    m = registry_platform_model_find(registry_block(set), STR("acme/one"));
    assert_true(registry_target_at(registry_block(set), m, 0, &t));
    assert_str(registry_str(registry_block(set), t.vendor_model), "one");
    assert_int_equal(t.max_output, 1000);
    assert_true(registry_target_at(registry_block(set), m, 1, &t));
    assert_str(registry_str(registry_block(set), t.vendor_model), "two");
    assert_int_equal(t.max_output, 7);
    assert_int_equal(t.max_prompt, 9);
    assert_int_equal(t.prices.n, 1);
    assert_false(registry_target_at(registry_block(set), m, 2, &t));
    p = registry_provider_find(registry_block(set), STR("acme"));
    assert_int_equal(p->connect_ms, 1000);
    assert_int_equal(p->first_byte_ms, 20000);
    assert_int_equal(p->idle_ms, 300000);
    assert_int_equal(p->drain_ms, 30000);
    assert_int_equal(p->drain_nano_usd, 50000000);
    free(text);
}

static void
a_costly_match_is_no_match(void **state)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct error e;
    char *text = variant("'^acme-'", "'^(a+)+$'");
    char *listed = strstr(text, "[acme-1]");
    char model[200];

    memcpy(listed, "[acme_1]", 8);
    if (registry_load_bytes("f", str_from_cstr(text), &set, &e) != ERR_OK)
        fail_msg("%s", e.text);
    memset(model, 'a', sizeof(model));
    assert_true(registry_match(set, 0, (struct str){model, 30}));
    model[199] = 'b';
    assert_false(registry_match(set, 0, (struct str){model, 200}));
    assert_false(registry_match(set, 0, STR("")));
    free(text);
}

static void
a_file_that_is_not_there_is_a_clear_error(void **state)
{
    struct registry_set *set = NULL;
    struct error e;

    assert_int_equal(registry_load_file("/nonexistent/x.yaml", &set, &e), ERR_REGISTRY_INVALID);
    assert_non_null(strstr(e.text, "/nonexistent/x.yaml: cannot be opened"));
    assert_int_equal(registry_load_file("/", &set, &e), ERR_REGISTRY_INVALID);
    assert_null(set);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(refuses_each_mistake_with_file_line_and_reason),
        TEST(refuses_an_id_that_derives_elsewhere),
        TEST(the_embedded_registry_has_the_pinned_fingerprint),
        TEST(the_fingerprint_sees_content_and_not_layout),
        TEST(has_every_provider_and_runtime),
        TEST(the_bypass_list_has_every_known_name),
        TEST(every_name_a_provider_looks_for_or_injects_is_on_the_bypass_list),
        TEST(every_platform_model_has_route_price_and_maximum),
        TEST(an_invented_provider_needs_nothing_but_the_file),
        TEST(routes_may_be_named),
        TEST(a_route_may_have_several_places_and_a_provider_its_own_patience),
        TEST(a_costly_match_is_no_match),
        TEST(a_file_that_is_not_there_is_a_clear_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
