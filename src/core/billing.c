#include "core/billing.h"

static const struct str mode_names[BILLING_MODE_COUNT] = {
    [BILLING_PLATFORM_MANAGED] = STR_INIT("platform_managed"),
    [BILLING_BYOK] = STR_INIT("byok"),
    [BILLING_DISABLED] = STR_INIT("disabled"),
};

static const struct str source_names[BILLING_SOURCE_COUNT] = {
    [BILLING_CONSTANT_FALLBACK] = STR_INIT("constant_fallback"),
    [BILLING_WORKSPACE_OVERRIDE] = STR_INIT("workspace_override"),
    [BILLING_DERIVED_PROVIDER] = STR_INIT("derived_provider"),
    [BILLING_DERIVED_DEFAULT] = STR_INIT("derived_default"),
};

struct str
billing_mode_name(enum billing_mode m)
{
    return mode_names[m];
}

bool
billing_mode_from_name(struct str name, enum billing_mode *ret)
{
    for (int m = 0; m < BILLING_MODE_COUNT; m++) {
        if (str_equal(name, mode_names[m])) {
            *ret = (enum billing_mode)m;
            return true;
        }
    }
    return false;
}

struct str
billing_source_name(enum billing_source s)
{
    return source_names[s];
}

struct str
billing_warning_code(unsigned one_bit)
{
    return one_bit == BILLING_WARN_OVERRIDE_GARBLED ? STR("OVERRIDE_GARBLED")
                                                    : STR("PLATFORM_MODEL_ON_BYOK");
}

struct str
billing_warning_text(unsigned one_bit)
{
    return one_bit == BILLING_WARN_OVERRIDE_GARBLED
        ? STR("the stored billing override is none of platform_managed, byok, disabled: "
              "the workspace is treated as platform_managed until an admin sets or clears "
              "it")
        : STR("the override says byok but the model is one the platform serves: "
              "no provider can be derived, so no inherited credential is stripped; "
              "choose a vendor's own model or clear the override");
}

static void
decide_override(const struct billing_facts *f, struct billing_decision *d)
{
    if (!billing_mode_from_name(f->override_raw, &d->mode)) {
        d->mode = BILLING_PLATFORM_MANAGED;
        d->source = BILLING_CONSTANT_FALLBACK;
        d->warnings |= BILLING_WARN_OVERRIDE_GARBLED;
        return;
    }
    d->source = BILLING_WORKSPACE_OVERRIDE;
    if (d->mode == BILLING_BYOK && d->provider != NULL && d->provider->is_platform) {
        d->provider = NULL;
        d->warnings |= BILLING_WARN_PLATFORM_MODEL_ON_BYOK;
    }
}

static void
decide_derived(struct billing_decision *d)
{
    if (d->derived.error != DERIVE_OK) {
        d->mode = BILLING_PLATFORM_MANAGED;
        d->source = BILLING_DERIVED_DEFAULT;
        return;
    }
    d->mode = d->provider->is_platform ? BILLING_PLATFORM_MANAGED : BILLING_BYOK;
    d->source = BILLING_DERIVED_PROVIDER;
}

struct billing_decision
billing_decide(const struct billing_facts *f, struct derive_trace *trace)
{
    struct billing_decision d = {.derived = derive(&f->derive, trace)};

    d.provider = d.derived.provider;
    if (f->store_failed) {
        d.mode = BILLING_PLATFORM_MANAGED;
        d.source = BILLING_CONSTANT_FALLBACK;
    } else if (f->override_present) {
        decide_override(f, &d);
    } else {
        decide_derived(&d);
    }
    return d;
}
