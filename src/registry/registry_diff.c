#include "registry/registry_diff.h"

#include "base/arena.h"
#include "core/billing.h"

#include <inttypes.h>

/* Both registries, and what came out so far. */
struct diff {
    struct buf *out;
    struct registry_set *from, *to;
    int64_t at_ms;
    size_t n;
};

#define DIFF_LINE(d, ...)                                                                          \
    do {                                                                                           \
        buf_addf((d)->out, __VA_ARGS__);                                                           \
        buf_add_char((d)->out, '\n');                                                              \
        (d)->n++;                                                                                  \
    } while (0)

static struct billing_decision
decide(struct registry_set *set, struct str runtime, struct str model, const struct str *auth)
{
    struct billing_facts f = {.derive = {.registry = registry_block(set),
                                  .match = registry_match,
                                  .match_ctx = set,
                                  .runtime = runtime,
                                  .model = model,
                                  .auth_names = auth,
                                  .auth_names_n = auth == NULL ? 0 : 1}};

    return billing_decide(&f, NULL);
}

static struct str
provider_name(const struct registry *r, const struct billing_decision *d)
{
    return d->provider == NULL ? derive_error_name(d->derived.error)
                               : registry_str(r, d->provider->name);
}

/* One (runtime, model), with one credential present or none. */
static void
diff_decision(struct diff *d, struct str runtime, struct str model, const struct str *auth)
{
    struct billing_decision a = decide(d->from, runtime, model, auth);
    struct billing_decision b = decide(d->to, runtime, model, auth);
    struct str name_a = provider_name(registry_block(d->from), &a);
    struct str name_b = provider_name(registry_block(d->to), &b);
    struct str with = auth == NULL ? STR("") : *auth;

    if (a.mode != b.mode)
        DIFF_LINE(d, "payer of %.*s on %.*s%s%.*s: %.*s (%.*s) -> %.*s (%.*s)", STR_ARG(model),
            STR_ARG(runtime), with.n > 0 ? " with " : "", STR_ARG(with),
            STR_ARG(billing_mode_name(a.mode)), STR_ARG(name_a), STR_ARG(billing_mode_name(b.mode)),
            STR_ARG(name_b));
    else if (!str_equal(name_a, name_b))
        DIFF_LINE(d, "provider of %.*s on %.*s%s%.*s: %.*s -> %.*s", STR_ARG(model),
            STR_ARG(runtime), with.n > 0 ? " with " : "", STR_ARG(with), STR_ARG(name_a),
            STR_ARG(name_b));
}

/* A model on a runtime: without credentials, then with each of those that could single an arm out.
 */
static void
diff_model(
    struct diff *d, const struct registry *r, const struct registry_runtime *rt, struct str model)
{
    struct str runtime = registry_str(r, rt->name);
    size_t before = d->n;

    diff_decision(d, runtime, model, NULL);
    for (uint32_t i = 0; i < rt->arms.n && d->n == before; i++) {
        struct rlist auth = registry_provider_at(r, registry_arms(r, rt)[i].provider)->auth_env;

        for (uint32_t j = 0; j < auth.n && d->n == before; j++) {
            struct str name = registry_str(r, registry_strs(r, auth)[j]);

            diff_decision(d, runtime, model, &name);
        }
    }
}

static bool
runtime_lists(const struct registry *r, const struct registry_runtime *rt, struct str model)
{
    for (uint32_t i = 0; rt != NULL && i < rt->arms.n; i++) {
        struct rlist models = registry_arms(r, rt)[i].models;

        for (uint32_t j = 0; j < models.n; j++) {
            if (str_equal(registry_str(r, registry_strs(r, models)[j]), model))
                return true;
        }
    }
    return false;
}

/* Every id that r lists; ids that `skip` lists too were already looked at. */
static void
diff_listed(struct diff *d, const struct registry *r, const struct registry *skip)
{
    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        const struct registry_runtime *rt = registry_runtime_at(r, i);
        const struct registry_runtime *other =
            skip == NULL ? NULL : registry_runtime_find(skip, registry_str(r, rt->name));

        for (uint32_t j = 0; j < rt->arms.n; j++) {
            struct rlist models = registry_arms(r, rt)[j].models;

            for (uint32_t k = 0; k < models.n; k++) {
                struct str model = registry_str(r, registry_strs(r, models)[k]);

                if (skip == NULL || !runtime_lists(skip, other, model))
                    diff_model(d, r, rt, model);
            }
        }
    }
}

/* Patterns have no list of ids: one that changed is named as such. */
static void
diff_patterns(struct diff *d)
{
    const struct registry *a = registry_block(d->from), *b = registry_block(d->to);

    for (uint32_t i = 0; i < b->providers.n; i++) {
        const struct registry_provider *now = registry_provider_at(b, i);
        const struct registry_provider *was = registry_provider_find(a, registry_str(b, now->name));
        struct str before = was == NULL ? STR("") : registry_str(a, was->pattern);

        if (was == NULL)
            DIFF_LINE(d, "provider %.*s: new", STR_ARG(registry_str(b, now->name)));
        else if (!str_equal(before, registry_str(b, now->pattern)))
            DIFF_LINE(d, "pattern of provider %.*s: %.*s -> %.*s",
                STR_ARG(registry_str(b, now->name)), STR_ARG(before),
                STR_ARG(registry_str(b, now->pattern)));
    }
    for (uint32_t i = 0; i < a->providers.n; i++) {
        struct str name = registry_str(a, registry_provider_at(a, i)->name);

        if (registry_provider_find(b, name) == NULL)
            DIFF_LINE(d, "provider %.*s: gone", STR_ARG(name));
    }
}

static void
diff_rate(struct diff *d, struct str id, int64_t prompt, const char *what, const char *per,
    int64_t a, int64_t b)
{
    if (a != b)
        DIFF_LINE(d, "price of %.*s%s, %s: %" PRId64 " -> %" PRId64 " micro-USD per million %s",
            STR_ARG(id), prompt > 0 ? " (long prompts)" : "", what, a, b, per);
}

static void
diff_price(struct diff *d, const struct registry_platform_model *a,
    const struct registry_platform_model *b, int64_t prompt)
{
    const struct registry *ra = registry_block(d->from), *rb = registry_block(d->to);
    const struct price *pa = price_find(registry_prices(ra, a), a->prices.n, d->at_ms, prompt);
    const struct price *pb = price_find(registry_prices(rb, b), b->prices.n, d->at_ms, prompt);
    struct str id = registry_str(rb, b->id);

    if (pa == NULL || pb == NULL) {
        if (pa != pb)
            DIFF_LINE(d, "price of %.*s: %s", STR_ARG(id), pa == NULL ? "new" : "gone");
        return;
    }
    diff_rate(d, id, prompt, "input", "tokens", pa->input, pb->input);
    diff_rate(d, id, prompt, "output", "tokens", pa->output, pb->output);
    diff_rate(d, id, prompt, "cache read", "tokens", pa->cache_read, pb->cache_read);
    diff_rate(d, id, prompt, "cache write 5m", "tokens", pa->cache_write_5m, pb->cache_write_5m);
    diff_rate(d, id, prompt, "cache write 1h", "tokens", pa->cache_write_1h, pb->cache_write_1h);
    diff_rate(d, id, prompt, "web search", "searches", pa->web_search, pb->web_search);
}

static void
diff_platform_models(struct diff *d)
{
    const struct registry *a = registry_block(d->from), *b = registry_block(d->to);

    for (uint32_t i = 0; i < b->platform_models.n; i++) {
        const struct registry_platform_model *now = registry_platform_model_at(b, i);
        struct str id = registry_str(b, now->id);
        const struct registry_platform_model *was = registry_platform_model_find(a, id);

        if (was == NULL) {
            DIFF_LINE(d, "platform model %.*s: new on the menu", STR_ARG(id));
            continue;
        }
        if (!str_equal(registry_str(a, registry_provider_at(a, was->provider)->name),
                registry_str(b, registry_provider_at(b, now->provider)->name)) ||
            !str_equal(registry_str(a, was->vendor_model), registry_str(b, now->vendor_model)))
            DIFF_LINE(d, "platform model %.*s: routed elsewhere", STR_ARG(id));
        diff_price(d, was, now, 0);
        diff_price(d, was, now, INT64_MAX);
    }
    for (uint32_t i = 0; i < a->platform_models.n; i++) {
        struct str id = registry_str(a, registry_platform_model_at(a, i)->id);

        if (registry_platform_model_find(b, id) == NULL)
            DIFF_LINE(d, "platform model %.*s: gone from the menu", STR_ARG(id));
    }
}

static void
diff_vendor_keys(struct diff *d)
{
    const struct registry *a = registry_block(d->from), *b = registry_block(d->to);

    for (uint32_t i = 0; i < b->bypass_names.n; i++) {
        struct str name = registry_str(b, registry_strs(b, b->bypass_names)[i]);

        if (!registry_is_vendor_key(a, name))
            DIFF_LINE(d, "vendor key %.*s: now stripped and gated", STR_ARG(name));
    }
    for (uint32_t i = 0; i < a->bypass_names.n; i++) {
        struct str name = registry_str(a, registry_strs(a, a->bypass_names)[i]);

        if (!registry_is_vendor_key(b, name))
            DIFF_LINE(d, "vendor key %.*s: no longer stripped and gated", STR_ARG(name));
    }
}

size_t
registry_diff(struct buf *out, struct registry_set *from, struct registry_set *to, int64_t at_ms)
{
    struct diff d = {.out = out, .from = from, .to = to, .at_ms = at_ms};
    const struct registry *a = registry_block(from), *b = registry_block(to);

    diff_listed(&d, a, NULL);
    diff_listed(&d, b, a);
    diff_patterns(&d);
    diff_platform_models(&d);
    diff_vendor_keys(&d);
    if (d.n == 0 && memcmp(a->fingerprint, b->fingerprint, sizeof(a->fingerprint)) != 0)
        DIFF_LINE(&d, "only descriptions, endpoints or launch hints differ");
    return d.n;
}
