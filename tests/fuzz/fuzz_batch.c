/*
 * Lines of `purser explain --batch`: any bytes are answered or refused, never worse. A mode other
 * than platform_managed comes from a valid override or a derivation, and no plan sets a name twice.
 */
#include "base/cleanup.h"
#include "registry/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct registry_set *
embedded(void)
{
    static struct registry_set *set;
    struct error e;

    if (set == NULL)
        ENSURE(registry_load_embedded(&set, &e) == ERR_OK);
    return set;
}

static void
check_plan(const struct env_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++) {
        for (size_t j = i + 1; j < plan->n; j++)
            ENSURE(plan->rows[i].action == ENV_STRIP ||
                !str_equal(plan->rows[i].name, plan->rows[j].name));
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static struct scenario scenario;
    static struct scenario_result result;
    AUTO_ARENA struct arena arena;
    const struct billing_decision *d = &result.decision;
    enum billing_mode mode;
    struct error e;

    arena_init(&arena);
    if (scenario_from_json(&scenario, &arena, (struct str){(const char *)data, n}, 0, &e) != ERR_OK)
        return 0;
    scenario_decide(&scenario, embedded(), &result);
    ENSURE(billing_mode_from_name(billing_mode_name(d->mode), &mode));
    ENSURE(d->mode == BILLING_PLATFORM_MANAGED || d->source == BILLING_WORKSPACE_OVERRIDE ||
        d->source == BILLING_DERIVED_PROVIDER);
    check_plan(&result.plan);
    json_decref(scenario_answer(&result));
    return 0;
}
