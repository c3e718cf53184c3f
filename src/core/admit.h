/*
 * Admission: may this call be made, and what can it cost at most? Pure: the gateway gathers the
 * facts, this decides, the gateway obeys.
 */
#ifndef CORE_ADMIT_H
#define CORE_ADMIT_H

#include "core/policy.h"
#include "core/recorder.h"
#include "core/refusal.h"
#include "core/request.h"

struct admit_facts {
    const struct policy *policy;
    const struct policy_token *token; /* live when it was looked up */
    const struct request_scan *request;
    enum dialect dialect;
    int64_t now_ms;
};

struct admit_decision {
    enum refusal refusal; /* REFUSAL_NONE: go */
    const struct policy_route *route;
    const struct policy_endpoint *endpoint;
    /* The bound, and the prices it was made of, as the recorder keeps them. */
    int64_t prompt_bound;
    int64_t output_bound;
    int64_t bound_nano_usd;
    struct price tiers[RECORDER_TIERS_MAX];
    uint32_t tiers_n;
};

/* Is there a policy, and is it young enough? REFUSAL_NONE or REFUSAL_NO_POLICY. */
enum refusal admit_policy(const struct policy *p, int64_t now_ms);

struct admit_decision admit(const struct admit_facts *f);

#endif
