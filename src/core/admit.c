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
prices_in_force(const struct policy_route *route, int64_t now_ms, struct admit_decision *d)
{
    for (uint32_t i = 0; i < route->prices_n; i++) {
        const struct price *row = &route->prices[i];
        const struct price *found =
            price_find(route->prices, route->prices_n, now_ms, row->above_tokens + 1);
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
    d.endpoint = &d.route->endpoint[f->dialect];
    if (!d.endpoint->present) {
        d.refusal = REFUSAL_DIALECT_NOT_SERVED;
        return d;
    }
    /*
     * A token is at least one byte of the body; what the vendor fetches itself no gateway can
     * bound.
     */
    d.prompt_bound = (int64_t)f->request->bytes;
    d.output_bound = f->request->has_max_output && f->request->max_output < d.route->max_output
        ? f->request->max_output
        : d.route->max_output;
    if (!prices_in_force(d.route, f->now_ms, &d) ||
        !price_bound(
            d.tiers, d.tiers_n, f->now_ms, d.prompt_bound, d.output_bound, &d.bound_nano_usd))
        d.refusal = REFUSAL_MODEL_NOT_PRICED;
    else if (!d.endpoint->reachable)
        d.refusal = REFUSAL_UPSTREAM_UNKNOWN;
    return d;
}
