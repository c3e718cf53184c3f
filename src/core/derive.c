#include "core/derive.h"

static const struct str error_names[DERIVE_ERROR_COUNT] = {
    [DERIVE_OK] = STR_INIT(""),
    [DERIVE_MODEL_REQUIRED] = STR_INIT("MODEL_REQUIRED"),
    [DERIVE_UNKNOWN_RUNTIME] = STR_INIT("UNKNOWN_RUNTIME"),
    [DERIVE_UNREGISTERED_MODEL] = STR_INIT("UNREGISTERED_MODEL"),
    [DERIVE_AMBIGUOUS_PROVIDER] = STR_INIT("AMBIGUOUS_PROVIDER"),
};

struct str
derive_error_name(enum derive_error e)
{
    return error_names[e];
}

static void
trace_add(struct derive_trace *trace, enum derive_step step, uint64_t considered, uint64_t kept)
{
    if (trace == NULL || trace->n == DERIVE_TRACE_MAX)
        return;
    trace->steps[trace->n++] =
        (struct derive_trace_step){.step = step, .considered = considered, .kept = kept};
}

static bool
is_single(uint64_t arms)
{
    return arms != 0 && (arms & (arms - 1)) == 0;
}

static const struct registry_provider *
arm_provider(const struct derive_input *in, const struct registry_runtime *rt, uint32_t arm)
{
    return registry_provider_at(in->registry, registry_arms(in->registry, rt)[arm].provider);
}

static const struct registry_provider *
first_provider(const struct derive_input *in, const struct registry_runtime *rt, uint64_t arms)
{
    return arm_provider(in, rt, (uint32_t)__builtin_ctzll(arms));
}

static bool
arm_lists(const struct derive_input *in, const struct registry_arm *arm, struct str model)
{
    const struct rstr *ids = registry_strs(in->registry, arm->models);

    for (uint32_t i = 0; i < arm->models.n; i++) {
        if (str_equal(registry_str(in->registry, ids[i]), model))
            return true;
    }
    return false;
}

static uint64_t
arms_listing(const struct derive_input *in, const struct registry_runtime *rt, struct str model)
{
    const struct registry_arm *arms = registry_arms(in->registry, rt);
    uint64_t kept = 0;

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        if (arm_lists(in, &arms[i], model))
            kept |= UINT64_C(1) << i;
    }
    return kept;
}

static uint64_t
arms_matching(const struct derive_input *in, const struct registry_runtime *rt, struct str model)
{
    uint64_t kept = 0;

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        const struct registry_provider *p = arm_provider(in, rt, i);

        if (p->pattern.n > 0 && in->match(in->match_ctx, p->pattern_id, model))
            kept |= UINT64_C(1) << i;
    }
    return kept;
}

static bool
provider_has_auth(const struct derive_input *in, const struct registry_provider *p)
{
    for (size_t i = 0; i < in->auth_names_n; i++) {
        if (registry_list_has_name(in->registry, p->auth_env, in->auth_names[i]))
            return true;
    }
    return false;
}

static uint64_t
arms_with_auth(
    const struct derive_input *in, const struct registry_runtime *rt, uint64_t candidates)
{
    uint64_t kept = 0;

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        uint64_t bit = UINT64_C(1) << i;

        if ((candidates & bit) != 0 && provider_has_auth(in, arm_provider(in, rt, i)))
            kept |= bit;
    }
    return kept;
}

static uint64_t
all_arms(const struct registry_runtime *rt)
{
    return rt->arms.n == DERIVE_ARMS_MAX ? UINT64_MAX : (UINT64_C(1) << rt->arms.n) - 1;
}

/* Several arms list the id: auth names may single one out, otherwise the declared order decides. */
static const struct registry_provider *
choose_exact(const struct derive_input *in, const struct registry_runtime *rt, uint64_t exact,
    struct derive_trace *trace)
{
    uint64_t kept;

    if (is_single(exact))
        return first_provider(in, rt, exact);
    kept = arms_with_auth(in, rt, exact);
    trace_add(trace, DERIVE_STEP_EXACT_AUTH, exact, kept);
    if (is_single(kept))
        return first_provider(in, rt, kept);
    trace_add(trace, DERIVE_STEP_EXACT_FIRST, exact, exact & (~exact + 1));
    return first_provider(in, rt, exact);
}

/* Several patterns match: auth names must single one out; there is no default here. */
static enum derive_error
choose_prefix(const struct derive_input *in, const struct registry_runtime *rt, uint64_t matching,
    struct derive_trace *trace, const struct registry_provider **ret)
{
    uint64_t kept = matching;

    if (matching == 0)
        return DERIVE_UNREGISTERED_MODEL;
    if (!is_single(matching)) {
        kept = arms_with_auth(in, rt, matching);
        trace_add(trace, DERIVE_STEP_PREFIX_AUTH, matching, kept);
        if (!is_single(kept))
            return DERIVE_AMBIGUOUS_PROVIDER;
    }
    *ret = first_provider(in, rt, kept);
    return DERIVE_OK;
}

struct derive_result
derive(const struct derive_input *in, struct derive_trace *trace)
{
    struct derive_result result = {.model = str_trim(in->model)};
    const struct registry_runtime *rt;
    uint64_t exact, matching;

    if (trace != NULL)
        trace->n = 0;
    rt = registry_runtime_find(in->registry, str_trim(in->runtime));
    result.runtime = rt;
    trace_add(
        trace, DERIVE_STEP_INPUT, rt == NULL ? 0 : all_arms(rt), rt == NULL ? 0 : all_arms(rt));
    if (result.model.n == 0) {
        result.error = DERIVE_MODEL_REQUIRED;
        return result;
    }
    if (rt == NULL) {
        result.error = DERIVE_UNKNOWN_RUNTIME;
        return result;
    }
    exact = arms_listing(in, rt, result.model);
    trace_add(trace, DERIVE_STEP_EXACT, all_arms(rt), exact);
    if (exact != 0) {
        result.provider = choose_exact(in, rt, exact, trace);
        return result;
    }
    matching = arms_matching(in, rt, result.model);
    trace_add(trace, DERIVE_STEP_PREFIX, all_arms(rt), matching);
    result.error = choose_prefix(in, rt, matching, trace, &result.provider);
    return result;
}
