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

/*
 * The rows in force now, one a tier: all that can price this call, none when it has no price. False
 * when there are too many.
 */
static bool
prices_in_force(const struct policy_target *t, int64_t now_ms, struct admit_decision *d)
{
    for (uint32_t i = 0; i < t->prices_n; i++) {
        const struct price *row = &t->prices[i];
        const struct price *found =
            price_find(t->prices, t->prices_n, now_ms, row->above_tokens + 1);
        bool known = false;

        if (found == NULL)
            continue;
        for (uint32_t k = 0; k < d->tiers_n; k++)
            known = known || memcmp(&d->tiers[k], found, sizeof(*found)) == 0;
        if (known)
            continue;
        if (d->tiers_n == RECORDER_TIERS_MAX)
            return false;
        d->tiers[d->tiers_n++] = *found;
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
    return r->by_reference && tokens < context ? context : tokens;
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
    return each * r->choices + (r->predicted ? (int64_t)r->bytes : 0);
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
        d.prompt_bound = prompt_bound(f->request, d.target);
        d.output_bound = output_bound(f, d.target);
    }
    if (!prices_in_force(d.target, f->now_ms, &d) ||
        !price_bound(
            d.tiers, d.tiers_n, f->now_ms, d.prompt_bound, d.output_bound, &d.bound_nano_usd))
        d.refusal = REFUSAL_MODEL_NOT_PRICED;
    else if (!d.endpoint->reachable)
        d.refusal = REFUSAL_UPSTREAM_UNKNOWN;
    return d;
}
