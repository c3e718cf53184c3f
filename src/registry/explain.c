#include "registry/explain.h"

#include "base/cleanup.h"

#define TEXT_BYTES_MAX (256 * 1024)

static const struct str action_names[] = {
    [ENV_SET] = STR_INIT("set"), [ENV_KEEP] = STR_INIT("keep"), [ENV_STRIP] = STR_INIT("strip")};
static const struct str scope_names[] = {
    [ENV_SCOPE_ORG] = STR_INIT("org"), [ENV_SCOPE_WORKSPACE] = STR_INIT("workspace")};
static const struct str plan_sources[ENV_SOURCE_COUNT] = {
    [ENV_FROM_SECRET] = STR_INIT("secret"),
    [ENV_FROM_MODE] = STR_INIT("mode"),
    [ENV_FROM_USAGE_TOKEN] = STR_INIT("usage_token"),
    [ENV_FROM_GATEWAY] = STR_INIT("gateway"),
    [ENV_FROM_MODEL] = STR_INIT("model"),
    [ENV_FROM_IDENTITY] = STR_INIT("identity"),
    [ENV_FROM_BASE] = STR_INIT("base"),
};
static const char *const step_names[DERIVE_STEP_COUNT] = {
    [DERIVE_STEP_INPUT] = "runtime",
    [DERIVE_STEP_EXACT] = "exact_id",
    [DERIVE_STEP_EXACT_AUTH] = "exact_id_auth",
    [DERIVE_STEP_EXACT_FIRST] = "exact_id_first",
    [DERIVE_STEP_PREFIX] = "prefix",
    [DERIVE_STEP_PREFIX_AUTH] = "prefix_auth",
};

struct str
env_action_name(enum env_action a)
{
    return action_names[a];
}

struct str
env_scope_name(enum env_scope s)
{
    return scope_names[s];
}

struct str
env_source_name(enum env_source s)
{
    return plan_sources[s];
}

/* Texts from outside need not be UTF-8. */
static json_t *
json_of(struct str s)
{
    json_t *text = json_stringn(s.n == 0 ? "" : s.p, s.n);

    return text == NULL ? json_string("(not UTF-8)") : text;
}

static json_t *
json_or_null(struct str s)
{
    return s.n == 0 ? json_null() : json_of(s);
}

static json_t *
code_and_text(struct str code, struct str text)
{
    return json_pack("{so so}", "code", json_of(code), "text", json_of(text));
}

/* What follows from not knowing who pays. */
static const char no_key[] = "it counts as platform_managed: no vendor key is handed out";

/* --- the derivation's trace in words --------------------------------------------------------- */

struct view {
    const struct registry *r;
    const struct billing_facts *f;
    const struct billing_decision *d;
    const struct derive_trace *trace;
};

static struct str
arm_name(const struct view *v, unsigned arm)
{
    const struct registry_arm *arms = registry_arms(v->r, v->d->derived.runtime);

    return registry_str(v->r, registry_provider_at(v->r, arms[arm].provider)->name);
}

static void
add_arms(struct buf *out, const struct view *v, uint64_t arms)
{
    const char *separator = "";

    for (unsigned i = 0; i < DERIVE_ARMS_MAX; i++) {
        if ((arms & (UINT64_C(1) << i)) == 0)
            continue;
        buf_addf(out, "%s%.*s", separator, STR_ARG(arm_name(v, i)));
        separator = ", ";
    }
    if (arms == 0)
        buf_add(out, STR("none"));
}

static void
add_auth_names(struct buf *out, const struct view *v)
{
    const struct derive_input *in = &v->f->derive;
    const char *separator = "";

    for (size_t i = 0; i < in->auth_names_n; i++) {
        if (!registry_is_auth_name(v->r, in->auth_names[i]))
            continue;
        buf_addf(out, "%s%.*s", separator, STR_ARG(str_trim(in->auth_names[i])));
        separator = ", ";
    }
    if (separator[0] == '\0')
        buf_add(out, STR("none"));
}

static void
add_input_text(struct buf *out, const struct view *v)
{
    struct str runtime = str_trim(v->f->derive.runtime);

    if (v->d->derived.error == DERIVE_MODEL_REQUIRED)
        buf_add(out, STR("there is no model, so nothing can be derived"));
    else if (v->d->derived.runtime == NULL)
        buf_addf(out, "the registry has no runtime \"%.*s\"", STR_ARG(runtime));
    else
        buf_addf(
            out, "only the providers that the registry lists for %.*s take part", STR_ARG(runtime));
}

static const char *
by_count(int n, const char *none, const char *one, const char *several)
{
    if (n == 0)
        return none;
    return n == 1 ? one : several;
}

static void
add_narrowing_text(struct buf *out, const struct view *v, const char *outcome)
{
    buf_add(out, STR("credentials present ("));
    add_auth_names(out, v);
    buf_addf(out, ") %s", outcome);
}

static void
add_step_text(struct buf *out, const struct view *v, const struct derive_trace_step *s)
{
    struct str model = v->d->derived.model;
    int kept = __builtin_popcountll(s->kept);

    switch (s->step) {
    case DERIVE_STEP_INPUT:
        add_input_text(out, v);
        break;
    case DERIVE_STEP_EXACT:
        if (kept == 1)
            buf_addf(out, "only %.*s lists exactly this id",
                STR_ARG(arm_name(v, (unsigned)__builtin_ctzll(s->kept))));
        else
            buf_addf(out, "%s exactly the id \"%.*s\"%s",
                kept == 0 ? "none of them lists" : "several of them list", STR_ARG(model),
                kept == 0 ? ": patterns decide" : "");
        break;
    case DERIVE_STEP_EXACT_AUTH:
        add_narrowing_text(out, v, kept == 1 ? "single one out: it wins" : "do not single one out");
        break;
    case DERIVE_STEP_EXACT_FIRST:
        buf_add(out, STR("the first declared of those that list the id wins"));
        break;
    case DERIVE_STEP_PREFIX:
        buf_addf(out, "%s \"%.*s\"%s",
            by_count(kept, "no pattern matches", "one pattern matches", "several patterns match"),
            STR_ARG(model),
            by_count(kept, ": no provider of this runtime serves it", ": it wins", ""));
        break;
    case DERIVE_STEP_PREFIX_AUTH:
        add_narrowing_text(out, v,
            kept == 1 ? "single one out: it wins"
                      : "do not single one out, and patterns know no default");
        break;
    case DERIVE_STEP_COUNT:
        break;
    }
}

static void
add_override_text(struct buf *out, const struct view *v)
{
    if (v->f->store_failed)
        buf_addf(out, "the store could not be read, so %s", no_key);
    else if (!v->f->override_present)
        buf_add(out, STR("none: the derivation decides"));
    else if (v->d->source == BILLING_WORKSPACE_OVERRIDE)
        buf_addf(out, "\"%.*s\": it decides; the derivation below only says whose keys fit",
            STR_ARG(v->f->override_raw));
    else
        buf_addf(out, "\"%.*s\" is no mode, so %s", STR_ARG(v->f->override_raw), no_key);
}

static void
add_mode_text(struct buf *out, const struct view *v)
{
    struct str error = derive_error_name(v->d->derived.error);

    buf_addf(out, "%.*s (%.*s)", STR_ARG(billing_mode_name(v->d->mode)),
        STR_ARG(billing_source_name(v->d->source)));
    switch (v->d->source) {
    case BILLING_DERIVED_PROVIDER:
        buf_addf(out, ": provider %.*s is %s", STR_ARG(registry_str(v->r, v->d->provider->name)),
            v->d->mode == BILLING_BYOK ? "not the platform, so the org pays its vendor itself"
                                       : "the platform, so the call is metered and paid by it");
        break;
    case BILLING_DERIVED_DEFAULT:
        buf_addf(out, ": the derivation failed (%.*s), so %s", STR_ARG(error), no_key);
        break;
    case BILLING_WORKSPACE_OVERRIDE:
        buf_add(out, STR(": the workspace's override says so"));
        break;
    case BILLING_CONSTANT_FALLBACK:
    case BILLING_SOURCE_COUNT:
        buf_addf(out, ": the %s, so %s",
            v->f->store_failed ? "store could not be read" : "override is no mode", no_key);
        break;
    }
}

/* --- JSON ------------------------------------------------------------------------------------ */

static json_t *
arms_json(const struct view *v, uint64_t arms)
{
    json_t *array = json_array();

    for (unsigned i = 0; i < DERIVE_ARMS_MAX; i++) {
        if ((arms & (UINT64_C(1) << i)) != 0)
            json_array_append_new(array, json_of(arm_name(v, i)));
    }
    return array;
}

static void
append_step(json_t *steps, const struct view *v, const char *name, uint64_t considered,
    uint64_t kept, const struct buf *text)
{
    json_array_append_new(steps,
        json_pack("{ss so so so so}", "step", name, "considered", arms_json(v, considered), "kept",
            arms_json(v, kept), "dropped", arms_json(v, considered & ~kept), "text",
            json_of(buf_str(text))));
}

static json_t *
trace_json(const struct view *v)
{
    json_t *steps = json_array();
    AUTO_BUF struct buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    add_override_text(&text, v);
    append_step(steps, v, "override", 0, 0, &text);
    for (size_t i = 0; i < v->trace->n; i++) {
        const struct derive_trace_step *s = &v->trace->steps[i];

        buf_clear(&text);
        add_step_text(&text, v, s);
        append_step(steps, v, step_names[s->step], s->considered, s->kept, &text);
    }
    buf_clear(&text);
    add_mode_text(&text, v);
    append_step(steps, v, "mode", 0, 0, &text);
    return steps;
}

static json_t *
warnings_json(const struct billing_decision *d)
{
    json_t *array = json_array();

    for (unsigned bit = 1; bit < 1u << BILLING_WARN_COUNT_BITS; bit <<= 1) {
        if ((d->warnings & bit) != 0)
            json_array_append_new(
                array, code_and_text(billing_warning_code(bit), billing_warning_text(bit)));
    }
    return array;
}

json_t *
explain_json(const struct billing_facts *f, const struct billing_decision *d,
    const struct derive_trace *trace)
{
    const struct registry *r = f->derive.registry;
    struct view v = {.r = r, .f = f, .d = d, .trace = trace};
    char fingerprint[65];
    json_t *object = json_object();

    registry_fingerprint_hex(r, fingerprint);
    json_object_set_new(object, "resolved_mode", json_of(billing_mode_name(d->mode)));
    json_object_set_new(object, "source", json_of(billing_source_name(d->source)));
    json_object_set_new(object, "provider_selection",
        d->provider == NULL ? json_null() : json_of(registry_str(r, d->provider->name)));
    json_object_set_new(object, "error", json_or_null(derive_error_name(d->derived.error)));
    json_object_set_new(object, "model", json_or_null(d->derived.model));
    json_object_set_new(object, "runtime", json_or_null(str_trim(f->derive.runtime)));
    json_object_set_new(
        object, "workspace_override", f->override_present ? json_of(f->override_raw) : json_null());
    json_object_set_new(object, "registry_fingerprint", json_string(fingerprint));
    json_object_set_new(object, "warnings", warnings_json(d));
    if (trace != NULL)
        json_object_set_new(object, "trace", trace_json(&v));
    return object;
}

/* --- text ------------------------------------------------------------------------------------ */

static void
add_step(struct buf *out, const struct view *v, const struct derive_trace_step *s)
{
    buf_addf(out, "|  +- %s: ", step_names[s->step]);
    add_step_text(out, v, s);
    buf_add_char(out, '\n');
    if (v->d->derived.runtime == NULL || s->considered == 0)
        return;
    buf_add(out, STR("|  |    kept:    "));
    add_arms(out, v, s->kept);
    if ((s->considered & ~s->kept) != 0) {
        buf_add(out, STR("\n|  |    dropped: "));
        add_arms(out, v, s->considered & ~s->kept);
    }
    buf_add_char(out, '\n');
}

static void
add_provider(struct buf *out, const struct view *v)
{
    const struct registry_provider *p = v->d->provider;

    if (p == NULL) {
        buf_addf(out, "+- provider: none%s%.*s\n", v->d->derived.error == DERIVE_OK ? "" : ", ",
            STR_ARG(derive_error_name(v->d->derived.error)));
        return;
    }
    buf_addf(out, "+- provider: %.*s (%.*s)\n", STR_ARG(registry_str(v->r, p->name)),
        STR_ARG(registry_str(v->r, p->display_name)));
    buf_add(out, STR("|    accepts: "));
    for (uint32_t i = 0; i < p->auth_env.n; i++)
        buf_addf(out, "%s%.*s", i == 0 ? "" : ", ",
            STR_ARG(registry_str(v->r, registry_strs(v->r, p->auth_env)[i])));
    buf_add_char(out, '\n');
}

void
explain_text(struct buf *out, const struct billing_facts *f, const struct billing_decision *d,
    const struct derive_trace *trace)
{
    struct view v = {.r = f->derive.registry, .f = f, .d = d, .trace = trace};
    struct str model = d->derived.model;

    buf_addf(out, "%.*s on %.*s\n", model.n == 0 ? 10 : (int)model.n,
        model.n == 0 ? "(no model)" : model.p, STR_ARG(str_trim(f->derive.runtime)));
    buf_add(out, STR("+- override: "));
    add_override_text(out, &v);
    buf_add(out, STR("\n+- derivation\n"));
    for (size_t i = 0; trace != NULL && i < trace->n; i++)
        add_step(out, &v, &trace->steps[i]);
    add_provider(out, &v);
    for (unsigned bit = 1; bit < 1u << BILLING_WARN_COUNT_BITS; bit <<= 1) {
        if ((d->warnings & bit) != 0)
            buf_addf(out, "+- warning %.*s: %.*s\n", STR_ARG(billing_warning_code(bit)),
                STR_ARG(billing_warning_text(bit)));
    }
    buf_add(out, STR("+- mode: "));
    add_mode_text(out, &v);
    buf_add_char(out, '\n');
}
