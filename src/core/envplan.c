/*
 * Longer than other files, since the order of its steps is what it is about: each looks at the rows
 * that the ones before it left.
 */
#include "core/envplan.h"

#include "core/token.h"

/* What the kernel takes: one entry with its NUL, and what we allow in all. */
enum { ENTRY_BYTES_MAX = 128 * 1024, ENVIRONMENT_BYTES_MAX = 1024 * 1024 };

static const struct str refusal_names[ENV_REFUSAL_COUNT] = {
    [ENV_REFUSAL_NONE] = STR_INIT(""),
    [ENV_REFUSAL_MISSING_BYOK_CREDENTIAL] = STR_INIT("MISSING_BYOK_CREDENTIAL"),
    [ENV_REFUSAL_MISSING_PLATFORM_PROXY] = STR_INIT("MISSING_PLATFORM_PROXY"),
    [ENV_REFUSAL_MODEL_REQUIRED] = STR_INIT("MODEL_REQUIRED"),
    [ENV_REFUSAL_MODEL_NOT_ON_PLATFORM] = STR_INIT("MODEL_NOT_ON_PLATFORM"),
    [ENV_REFUSAL_OPERATOR_KEY_IN_ORG_SECRETS] = STR_INIT("OPERATOR_KEY_IN_ORG_SECRETS"),
    [ENV_REFUSAL_MISSING_REQUIRED_ENV] = STR_INIT("MISSING_REQUIRED_ENV"),
    [ENV_REFUSAL_SHADOWED_CREDENTIAL] = STR_INIT("SHADOWED_CREDENTIAL"),
    [ENV_REFUSAL_ENVIRONMENT_TOO_LARGE] = STR_INIT("ENVIRONMENT_TOO_LARGE"),
};

struct str
env_refusal_name(enum env_refusal r)
{
    return refusal_names[r];
}

/* The first refusal stays: later ones follow from it more often than not. */
static void
refuse(struct env_plan *plan, enum env_refusal refusal, struct str subject)
{
    if (plan->refusal != ENV_REFUSAL_NONE)
        return;
    plan->refusal = refusal;
    plan->subject = subject;
}

static const struct registry_runtime *
runtime_of(const struct env_plan_facts *f)
{
    return f->decision->derived.runtime;
}

static struct str
strs_at(const struct env_plan_facts *f, struct rlist list, uint32_t i)
{
    return registry_str(f->registry, registry_strs(f->registry, list)[i]);
}

static bool
accepts(const struct env_plan_facts *f, const struct registry_provider *p, struct str name)
{
    return registry_list_has_name(f->registry, p->auth_env, name);
}

/* --- rows ------------------------------------------------------------------------------------ */

static void
row_add(struct env_plan *plan, struct env_row row)
{
    if (plan->n == plan->rows_max) {
        refuse(plan, ENV_REFUSAL_ENVIRONMENT_TOO_LARGE, row.name);
        return;
    }
    plan->rows[plan->n++] = row;
}

/* The row that decides what the agent sees under that name, if it sees anything. */
static const struct env_row *
row_find_live(const struct env_plan *plan, struct str name)
{
    for (size_t i = 0; i < plan->n; i++) {
        if (plan->rows[i].action != ENV_STRIP && str_equal_name(plan->rows[i].name, name))
            return &plan->rows[i];
    }
    return NULL;
}

/* Sets a name once; a secret kept under it gives way. */
static void
row_set(struct env_plan *plan, struct str name, enum env_source source, struct str literal,
    const char *reason)
{
    const struct env_row *live = row_find_live(plan, name);

    if (live != NULL && live->action == ENV_SET)
        return;
    if (live != NULL) {
        size_t at = (size_t)(live - plan->rows);

        memmove(&plan->rows[at], &plan->rows[at + 1], (plan->n - at - 1) * sizeof(*plan->rows));
        plan->n--;
    }
    row_add(plan,
        (struct env_row){.name = name,
            .action = ENV_SET,
            .source = source,
            .literal = literal,
            .reason = reason});
}

static void
row_set_literal(struct env_plan *plan, struct str name, enum env_source source, struct str literal,
    const char *reason)
{
    if (literal.n > 0)
        row_set(plan, name, source, literal, reason);
}

/* --- secrets --------------------------------------------------------------------------------- */

static struct env_row
judge_vendor_key(const struct env_plan_facts *f, const struct env_secret *s, struct env_row row)
{
    const struct registry_provider *provider = f->decision->provider;

    if (f->decision->mode == BILLING_PLATFORM_MANAGED) {
        row.action = ENV_STRIP;
        row.reason = "vendor key: the platform pays, so the agent gets a usage token instead";
    } else if (f->decision->mode == BILLING_DISABLED) {
        row.reason = "billing is disabled: nothing is stripped";
    } else if (provider == NULL) {
        row.reason = "no provider could be derived, so no key is stripped";
    } else if (accepts(f, provider, s->name)) {
        row.reason = "the resolved provider accepts it";
    } else if (s->scope == ENV_SCOPE_WORKSPACE) {
        row.reason = "the workspace's own key is never stripped";
    } else {
        row.action = ENV_STRIP;
        row.reason = "inherited from the org and not accepted by the resolved provider";
    }
    return row;
}

static void
plan_secrets(const struct env_plan_facts *f, struct env_plan *plan)
{
    for (size_t i = 0; i < f->secrets_n; i++) {
        const struct env_secret *s = &f->secrets[i];
        struct env_row row = {.name = s->name,
            .action = ENV_KEEP,
            .source = ENV_FROM_SECRET,
            .scope = s->scope,
            .reason = "a secret that is no vendor key"};

        if (s->scope == ENV_SCOPE_ORG && env_name_is_operator_scope(s->name))
            refuse(plan, ENV_REFUSAL_OPERATOR_KEY_IN_ORG_SECRETS, s->name);
        if (env_name_is_reserved(s->name)) {
            row.action = ENV_STRIP;
            row.reason = "reserved name: purser sets it itself or ignores it";
        } else if (registry_is_vendor_key(f->registry, s->name)) {
            row = judge_vendor_key(f, s, row);
        }
        row_add(plan, row);
    }
}

/* --- byok ------------------------------------------------------------------------------------ */

static bool
is_credential(const struct env_plan_facts *f, const struct env_secret *s)
{
    const struct registry_provider *provider = f->decision->provider;

    if (s->value_blank || registry_is_base_url(f->registry, s->name))
        return false;
    return provider != NULL ? accepts(f, provider, s->name)
                            : registry_is_vendor_key(f->registry, s->name);
}

static void
check_byok(const struct env_plan_facts *f, struct env_plan *plan)
{
    const struct registry_provider *provider = f->decision->provider;

    for (size_t i = 0; i < f->secrets_n; i++) {
        if (is_credential(f, &f->secrets[i]))
            return;
    }
    refuse(plan, ENV_REFUSAL_MISSING_BYOK_CREDENTIAL,
        provider == NULL ? STR("") : registry_str(f->registry, provider->name));
}

static const struct env_secret *
secret_find(const struct env_plan_facts *f, struct str name)
{
    for (size_t i = 0; i < f->secrets_n; i++) {
        if (str_equal_name(f->secrets[i].name, name))
            return &f->secrets[i];
    }
    return NULL;
}

static bool
is_live_credential(
    const struct env_plan_facts *f, const struct env_plan *plan, struct str name, struct str *ret)
{
    const struct env_row *live = row_find_live(plan, name);
    const struct env_secret *s = secret_find(f, name);

    if (live == NULL || s == NULL || s->value_blank || !accepts(f, f->decision->provider, name))
        return false;
    *ret = live->name;
    return true;
}

/* The credential that the agent is meant to use: by the runtime's order, then by the provider's. */
static void
choose_credential(const struct env_plan_facts *f, struct env_plan *plan)
{
    const struct registry_provider *provider = f->decision->provider;
    const struct registry_runtime *rt = runtime_of(f);

    if (provider == NULL)
        return;
    for (uint32_t i = 0; rt != NULL && i < rt->precedence.n; i++) {
        if (is_live_credential(f, plan, strs_at(f, rt->precedence, i), &plan->credential))
            return;
    }
    for (uint32_t i = 0; i < provider->auth_env.n; i++) {
        if (is_live_credential(f, plan, strs_at(f, provider->auth_env, i), &plan->credential))
            return;
    }
}

/* A file that says which variable holds the credential leaves the runtime nothing to choose. */
static bool
is_told_by_file(const struct env_plan_facts *f, const struct registry_runtime *rt)
{
    const struct registry_file *files = registry_files(f->registry, rt);
    struct str provider = registry_str(f->registry, f->decision->provider->name);

    for (uint32_t i = 0; i < rt->files.n; i++) {
        if (registry_list_has_name(f->registry, files[i].providers, provider) &&
            env_file_refers(f->registry, &files[i], ENV_REF_CREDENTIAL_ENV))
            return true;
    }
    return false;
}

/* The first credential in the runtime's own order decides which vendor the agent really calls. */
static void
check_shadowing(const struct env_plan_facts *f, struct env_plan *plan)
{
    const struct registry_provider *provider = f->decision->provider;
    const struct registry_runtime *rt = runtime_of(f);

    if (provider == NULL || rt == NULL || is_told_by_file(f, rt))
        return;
    for (uint32_t i = 0; i < rt->precedence.n; i++) {
        struct str name = strs_at(f, rt->precedence, i);
        const struct env_row *live = row_find_live(plan, name);
        const struct env_secret *s = secret_find(f, name);

        if (live == NULL || s == NULL || s->value_blank)
            continue;
        if (accepts(f, provider, name))
            return;
        plan->warnings |= ENV_WARN_SHADOWED_CREDENTIAL;
        plan->shadowed_by = name;
        if (f->refuse_shadowed)
            refuse(plan, ENV_REFUSAL_SHADOWED_CREDENTIAL, name);
        if (plan->subject.n == 0)
            plan->subject = name;
        return;
    }
}

/* --- platform_managed ------------------------------------------------------------------------ */

static bool
is_routable(const struct env_plan_facts *f, const struct registry_platform_model *m)
{
    return m != NULL &&
        price_find(registry_prices(f->registry, m), m->prices.n, f->now_ms, 0) != NULL;
}

static bool
speaks_dialect(const struct env_plan_facts *f, const struct registry_platform_model *m)
{
    return registry_provider_at(f->registry, m->provider)->endpoint[runtime_of(f)->dialect].present;
}

/* "claude-opus-4-7" and "anthropic:claude-opus-4-7" -> "anthropic/claude-opus-4-7". */
static struct str
suggest_platform_id(const struct env_plan_facts *f, struct str model)
{
    size_t colon = str_find_char(model, ':');
    struct str behind = colon < model.n ? str_slice(model, colon + 1, model.n) : model;

    for (uint32_t i = 0; i < f->registry->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(f->registry, i);
        struct str vendor_model = registry_str(f->registry, m->vendor_model);

        if ((str_equal(vendor_model, model) || str_equal(vendor_model, behind)) &&
            is_routable(f, m) && speaks_dialect(f, m))
            return registry_str(f->registry, m->id);
    }
    return STR("");
}

static void
check_platform_model(const struct env_plan_facts *f, struct env_plan *plan)
{
    struct str model = str_trim(f->effective_model);
    const struct registry_platform_model *m = registry_platform_model_find(f->registry, model);
    bool in_registry = runtime_of(f) != NULL;

    if (in_registry && model.n == 0) {
        refuse(plan, ENV_REFUSAL_MODEL_REQUIRED, STR(""));
    } else if (in_registry && !is_routable(f, m)) {
        refuse(plan, ENV_REFUSAL_MODEL_NOT_ON_PLATFORM, model);
        plan->suggestion = suggest_platform_id(f, model);
    } else if (in_registry && !speaks_dialect(f, m)) {
        refuse(plan, ENV_REFUSAL_MISSING_PLATFORM_PROXY,
            dialect_name((enum dialect)runtime_of(f)->dialect));
    } else if (is_routable(f, m) && !f->platform_key_present) {
        refuse(plan, ENV_REFUSAL_MISSING_PLATFORM_PROXY,
            registry_str(f->registry, registry_provider_at(f->registry, m->provider)->name));
    }
}

static bool
is_anthropic_native(const struct env_plan_facts *f)
{
    return runtime_of(f) != NULL && runtime_of(f)->anthropic_native;
}

static void
check_platform(const struct env_plan_facts *f, struct env_plan *plan)
{
    struct str needed = is_anthropic_native(f) ? f->anthropic_base_url : f->openai_base_url;

    if (!f->gateway_present || needed.n == 0)
        refuse(plan, ENV_REFUSAL_MISSING_PLATFORM_PROXY, STR("gateway"));
    else
        check_platform_model(f, plan);
}

static void
plan_platform(const struct env_plan_facts *f, struct env_plan *plan)
{
    bool native = is_anthropic_native(f);

    plan->needs_usage_token = 1;
    row_set_literal(plan, STR("MOLECULE_LLM_BASE_URL"), ENV_FROM_GATEWAY, f->openai_base_url,
        "the gateway, OpenAI style");
    row_set_literal(plan, STR("MOLECULE_LLM_ANTHROPIC_BASE_URL"), ENV_FROM_GATEWAY,
        f->anthropic_base_url, "the gateway, Anthropic style");
    row_set(plan, STR("MOLECULE_LLM_USAGE_TOKEN"), ENV_FROM_USAGE_TOKEN, STR(""),
        "what the agent presents to the gateway");
    row_set_literal(plan, STR("MOLECULE_LLM_USAGE_URL"), ENV_FROM_GATEWAY, f->usage_url,
        "where the agent reads its own spend");
    row_set_literal(plan, native ? STR("ANTHROPIC_BASE_URL") : STR("OPENAI_BASE_URL"),
        ENV_FROM_GATEWAY, native ? f->anthropic_base_url : f->openai_base_url,
        "sends this runtime's client to the gateway");
    row_set(plan, native ? STR("ANTHROPIC_API_KEY") : STR("OPENAI_API_KEY"), ENV_FROM_USAGE_TOKEN,
        STR(""), "the usage token under the name this runtime's client reads");
}

/* --- the rest -------------------------------------------------------------------------------- */

static void
plan_model(const struct env_plan_facts *f, struct env_plan *plan)
{
    struct str model = str_trim(f->effective_model);
    const struct registry_runtime *rt = runtime_of(f);
    const char *reason = "the effective model, the same the decision was made for";

    row_set_literal(plan, STR("MODEL"), ENV_FROM_MODEL, model, reason);
    row_set_literal(plan, STR("MOLECULE_MODEL"), ENV_FROM_MODEL, model, reason);
    if (rt == NULL)
        return;
    for (uint32_t i = 0; i < rt->model_env.n; i++)
        row_set_literal(plan, strs_at(f, rt->model_env, i), ENV_FROM_MODEL, model,
            "the effective model under the name this runtime reads");
    if (f->decision->mode != BILLING_PLATFORM_MANAGED)
        return;
    for (uint32_t i = 0; i < rt->platform_model_env.n; i++)
        row_set_literal(plan, strs_at(f, rt->platform_model_env, i), ENV_FROM_MODEL, model,
            "keeps this runtime's background calls inside the grant");
}

/* Base variables are defaults: a secret or an identity row of the same name wins. */
static void
plan_base(const struct env_plan_facts *f, struct env_plan *plan)
{
    const struct registry_runtime *rt = runtime_of(f);

    for (uint32_t i = 0; rt != NULL && i + 1 < rt->base_env.n; i += 2) {
        struct str name = strs_at(f, rt->base_env, i);

        if (row_find_live(plan, name) == NULL)
            row_set_literal(plan, name, ENV_FROM_BASE, strs_at(f, rt->base_env, i + 1),
                "a base variable of this runtime");
    }
}

static void
require_name(const struct env_plan_facts *f, struct env_plan *plan, struct str name)
{
    const struct env_row *live = row_find_live(plan, name);
    const struct env_secret *s = secret_find(f, name);

    if (live == NULL || (live->action == ENV_KEEP && s != NULL && s->value_blank))
        refuse(plan, ENV_REFUSAL_MISSING_REQUIRED_ENV, name);
}

static void
check_required(const struct env_plan_facts *f, struct env_plan *plan)
{
    const struct registry_runtime *rt = runtime_of(f);

    for (uint32_t i = 0; rt != NULL && i < rt->required_env.n; i++)
        require_name(f, plan, strs_at(f, rt->required_env, i));
    for (size_t i = 0; i < f->required_env_n; i++)
        require_name(f, plan, f->required_env[i]);
}

/* Where the agent's calls go: the workspace's own choice before the registry's. */
static struct env_part
base_url_of(const struct env_plan_facts *f, const struct env_plan *plan)
{
    const struct registry_provider *provider = f->decision->provider;
    const struct registry_endpoint *endpoint;

    if (f->decision->mode == BILLING_PLATFORM_MANAGED)
        return (struct env_part){
            .text = is_anthropic_native(f) ? f->anthropic_base_url : f->openai_base_url};
    for (uint32_t i = 0; i < provider->base_url_env.n; i++) {
        struct str name = strs_at(f, provider->base_url_env, i);
        const struct env_secret *s = secret_find(f, name);

        if (s != NULL && !s->value_blank && row_find_live(plan, name) != NULL)
            return (struct env_part){.of = ENV_PART_VARIABLE, .text = s->name};
    }
    endpoint = &provider->endpoint[runtime_of(f)->dialect];
    return (struct env_part){.text = registry_str(f->registry, endpoint->base_url)};
}

static void
plan_files(const struct env_plan_facts *f, struct env_plan *plan)
{
    bool platform = f->decision->mode == BILLING_PLATFORM_MANAGED;
    struct env_file_facts facts = {.registry = f->registry, .runtime = runtime_of(f)};

    if (facts.runtime == NULL || f->decision->mode == BILLING_DISABLED ||
        (!platform && f->decision->provider == NULL))
        return;
    facts.provider =
        platform ? STR("platform") : registry_str(f->registry, f->decision->provider->name);
    facts.of[ENV_REF_MODEL].text = str_trim(f->effective_model);
    facts.of[ENV_REF_PROVIDER].text = facts.provider;
    facts.of[ENV_REF_BASE_URL] = base_url_of(f, plan);
    facts.of[ENV_REF_CREDENTIAL] =
        (struct env_part){.of = ENV_PART_VARIABLE, .text = plan->credential};
    facts.of[ENV_REF_CREDENTIAL_ENV].text = plan->credential;
    plan->files_n = env_files_make(&facts, plan->files);
}

/* What the agent registers and reports with. A file, since its environment is what it is. */
static void
plan_workspace_token(const struct env_plan_facts *f, struct env_plan *plan)
{
    if (!f->has_workspace_token)
        return;
    plan->files[plan->files_n++] = (struct env_file){.path = STR(ENV_WORKSPACE_TOKEN_FILE),
        .secret = true,
        .parts = {{.of = ENV_PART_WORKSPACE_TOKEN}},
        .parts_n = 1};
}

static uint64_t
value_bytes(const struct env_plan_facts *f, const struct env_row *row)
{
    if (row->source == ENV_FROM_USAGE_TOKEN)
        return TOKEN_TEXT_BYTES;
    return row->action == ENV_KEEP ? secret_find(f, row->name)->value_bytes : row->literal.n;
}

static void
check_size(const struct env_plan_facts *f, struct env_plan *plan)
{
    uint64_t total = 0;

    for (size_t i = 0; i < plan->n; i++) {
        const struct env_row *row = &plan->rows[i];
        uint64_t entry;

        if (row->action == ENV_STRIP)
            continue;
        entry = row->name.n + value_bytes(f, row) + 2; /* '=' and NUL */
        total += entry;
        if (entry > ENTRY_BYTES_MAX || total > ENVIRONMENT_BYTES_MAX)
            refuse(plan, ENV_REFUSAL_ENVIRONMENT_TOO_LARGE, row->name);
    }
}

void
env_plan_make(const struct env_plan_facts *f, struct env_plan *plan)
{
    enum billing_mode mode = f->decision->mode;

    *plan = (struct env_plan){.rows = plan->rows, .rows_max = plan->rows_max};
    plan_secrets(f, plan);
    if (mode == BILLING_PLATFORM_MANAGED)
        check_platform(f, plan);
    else if (mode == BILLING_BYOK)
        check_byok(f, plan);
    row_set_literal(plan, STR("MOLECULE_LLM_BILLING_MODE"), ENV_FROM_MODE, billing_mode_name(mode),
        "the resolved mode, in every mode");
    row_set_literal(plan, STR("MOLECULE_LLM_BILLING_MODE_RESOLVED"), ENV_FROM_MODE,
        billing_mode_name(mode), "the resolved mode, in every mode");
    if (mode == BILLING_PLATFORM_MANAGED)
        plan_platform(f, plan);
    plan_model(f, plan);
    for (size_t i = 0; i < f->identity_n; i++)
        row_set(plan, f->identity[i].name, f->identity[i].source, f->identity[i].literal,
            f->identity[i].reason);
    plan_base(f, plan);
    if (mode == BILLING_PLATFORM_MANAGED)
        plan->credential = STR("MOLECULE_LLM_USAGE_TOKEN");
    else
        choose_credential(f, plan);
    plan_files(f, plan);
    plan_workspace_token(f, plan);
    check_required(f, plan);
    if (mode == BILLING_BYOK)
        check_shadowing(f, plan);
    check_size(f, plan);
}
