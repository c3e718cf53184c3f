#include "core/admit.h"

enum refusal
admit_policy(const struct policy *p, int64_t now_ms)
{
    int64_t published;

    if (p->header == NULL)
        return REFUSAL_NO_POLICY;
    published = atomic_load_explicit(&p->header->published_ms, memory_order_relaxed);
    return now_ms - published > p->header->max_age_ms ? REFUSAL_NO_POLICY : REFUSAL_NONE;
}

/* Copies the rows in force now, one a tier; 0 when there are none, or too many. */
static uint32_t
copy_sheet(const struct price *rows, size_t n, int64_t now_ms, struct price *to, size_t max)
{
    size_t sheet_n;
    const struct price *sheet = price_sheet(rows, n, now_ms, &sheet_n);

    if (sheet == NULL || sheet_n > max)
        return 0;
    memcpy(to, sheet, sheet_n * sizeof(*sheet));
    return (uint32_t)sheet_n;
}

/* All that can price this call. False when something of it has no price. */
static bool
prices_in_force(const struct policy_target *t, int64_t now_ms, struct admit_decision *d)
{
    d->tiers_n = copy_sheet(t->prices, t->prices_n, now_ms, d->tiers, RECORDER_TIERS_MAX);
    for (uint32_t i = 0; i < t->billed_n; i++) {
        struct recorder_billed *b = &d->billed[i];

        b->model = recorder_model_number(str_from_cstr(t->billed[i].model));
        b->tiers_n = copy_sheet(t->billed[i].prices, t->billed[i].prices_n, now_ms, b->tiers,
            RECORDER_BILLED_TIERS_MAX);
        if (b->tiers_n == 0)
            return false;
    }
    return d->tiers_n > 0;
}

static bool
searches_are_priced(const struct admit_decision *d)
{
    for (uint32_t i = 0; i < d->tiers_n; i++) {
        if (d->tiers[i].web_search == 0)
            return false;
    }
    return true;
}

/* The dearest of what the vendor may bill. */
static bool
bound_all(const struct policy_target *t, int64_t now_ms, struct admit_decision *d)
{
    if (!price_bound(d->tiers, d->tiers_n, now_ms, &d->most, &d->bound_nano_usd))
        return false;
    for (uint32_t i = 0; i < t->billed_n; i++) {
        int64_t bound;

        if (!price_bound(d->billed[i].tiers, d->billed[i].tiers_n, now_ms, &d->most, &bound))
            return false;
        d->bound_nano_usd = bound > d->bound_nano_usd ? bound : d->bound_nano_usd;
    }
    return true;
}

static int64_t
prompt_bound(const struct request_scan *r, const struct policy_target *t)
{
    int64_t tokens = (int64_t)r->bytes;
    int64_t context = t->max_prompt > 0 ? t->max_prompt : ADMIT_CONTEXT_TOKENS;

    if (r->tools > 0)
        tokens += ADMIT_TOOLS_TOKENS + (int64_t)r->vendor_tools * ADMIT_VENDOR_TOOL_TOKENS;
    tokens += (int64_t)r->images * ADMIT_IMAGE_TOKENS;
    tokens = r->by_reference && tokens < context ? context : tokens;
    /* The history is read twice: to be compacted, and what is left of it to be answered. */
    if (r->compacts)
        tokens *= 2;
    /* The prompt is read once more behind each search, with all that was found so far. */
    return tokens * (r->web_searches + 1) +
        ADMIT_SEARCH_TOKENS * (r->web_searches * (r->web_searches + 1) / 2);
}

static int64_t
output_bound(const struct admit_facts *f, const struct policy_target *t)
{
    const struct request_scan *r = f->request;
    int64_t each =
        r->has_max_output && r->max_output < t->max_output ? r->max_output : t->max_output;

    if (f->dialect == DIALECT_OPENAI_EMBEDDINGS)
        return 0;
    /* Of a prediction every token may be rejected, and is billed as output then. */
    return each * r->choices + (r->predicted ? (int64_t)r->bytes : 0) +
        (r->compacts ? t->max_output : 0);
}

struct admit_decision
admit(const struct admit_facts *f)
{
    struct admit_decision d = {0};
    int route;

    route = policy_route_find(f->policy, (struct str){f->request->model, f->request->model_n});
    if (route < 0 || !policy_grant_has(f->token, route)) {
        d.refusal = REFUSAL_MODEL_NOT_GRANTED;
        return d;
    }
    d.route = &f->policy->routes[route];
    d.target = f->target < d.route->targets_n ? &d.route->targets[f->target] : NULL;
    d.endpoint = d.target != NULL ? &d.target->endpoint[f->dialect] : NULL;
    if (d.endpoint == NULL || !d.endpoint->present) {
        d.refusal = REFUSAL_DIALECT_NOT_SERVED;
        return d;
    }
    if (!f->is_free) {
        d.most = (struct price_most){prompt_bound(f->request, d.target), output_bound(f, d.target),
            f->request->web_searches};
    }
    if (!prices_in_force(d.target, f->now_ms, &d) || !bound_all(d.target, f->now_ms, &d))
        d.refusal = REFUSAL_MODEL_NOT_PRICED;
    else if (f->request->web_searches > 0 && !searches_are_priced(&d))
        d.refusal = REFUSAL_TOOL_NOT_PRICED;
    else if (!d.endpoint->reachable)
        d.refusal = REFUSAL_UPSTREAM_UNKNOWN;
    return d;
}
