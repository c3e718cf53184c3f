/*
 * The registry's loader eats any bytes. What it accepts must be whole: every listed id derives,
 * every
 * platform model has a price, and loading it again gives the same fingerprint.
 */
#include "base/cleanup.h"
#include "core/derive.h"
#include "registry/registry_load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_arm(
    struct registry_set *set, const struct registry_runtime *rt, const struct registry_arm *arm)
{
    const struct registry *r = registry_block(set);
    struct rlist auth = registry_provider_at(r, arm->provider)->auth_env;

    for (uint32_t i = 0; i < arm->models.n; i++) {
        bool reached = false;

        for (uint32_t j = 0; j < auth.n && !reached; j++) {
            struct str name = registry_str(r, registry_strs(r, auth)[j]);
            struct derive_input in = {.registry = r,
                .match = registry_match,
                .match_ctx = set,
                .runtime = registry_str(r, rt->name),
                .model = registry_str(r, registry_strs(r, arm->models)[i]),
                .auth_names = &name,
                .auth_names_n = 1};

            reached = derive(&in, NULL).provider == registry_provider_at(r, arm->provider);
        }
        ENSURE(reached);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    AUTO_REGISTRY struct registry_set *again = NULL;
    struct str text = {(const char *)data, n};
    const struct registry *r;
    struct error e = {0};

    if (registry_load_bytes("fuzz", text, &set, &e) != ERR_OK) {
        ENSURE(set == NULL && e.code == ERR_REGISTRY_INVALID && e.text[0] != '\0');
        return 0;
    }
    r = registry_block(set);
    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        const struct registry_runtime *rt = registry_runtime_at(r, i);

        for (uint32_t j = 0; j < rt->arms.n; j++)
            check_arm(set, rt, &registry_arms(r, rt)[j]);
    }
    for (uint32_t i = 0; i < r->platform_models.n; i++)
        ENSURE(registry_platform_model_at(r, i)->prices.n > 0);
    ENSURE(registry_load_bytes("fuzz", text, &again, &e) == ERR_OK);
    ENSURE(memcmp(r->fingerprint, registry_block(again)->fingerprint, 32) == 0);
    return 0;
}
