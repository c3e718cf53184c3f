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

/*
 * The bound of a prompt, in tokens. A token is at least one byte of what stands in the body. What
 * does not stand there has an allowance: the vendor's own words about tools, an image (its tokens
 * follow from its size in pixels, not in bytes). What the vendor fetches by URL, file or response
 * id, and documents, are bounded by the model's context window alone.
 */
enum {
    ADMIT_TOOLS_TOKENS = 1024,       /* once, when there are tools */
    ADMIT_VENDOR_TOOL_TOKENS = 1024, /* for each tool that the vendor describes */
    ADMIT_IMAGE_TOKENS = 8192,
    ADMIT_SEARCH_TOKENS = 16384,    /* what one search of the vendor's adds to the prompt */
    ADMIT_CONTEXT_TOKENS = 1 << 20, /* of a model whose context window is not known */
};

struct admit_facts {
    const struct policy *policy;
    const struct policy_token *token; /* live when it was looked up */
    const struct request_scan *request;
    enum dialect dialect;
    unsigned target; /* which of the route's targets this attempt tries, 0 first */
    bool is_free;    /* a call the vendor bills nothing for: a price in force, but no bound */
    int64_t now_ms;
};

struct admit_decision {
    enum refusal refusal;             /* REFUSAL_NONE: go */
    const struct policy_route *route; /* NULL when the model is not granted */
    const struct policy_target *target;
    const struct policy_endpoint *endpoint;
    /* The bound, and the prices it was made of, as the recorder keeps them. */
    struct price_most most;
    int64_t bound_nano_usd;
    struct price tiers[RECORDER_TIERS_MAX];
    uint32_t tiers_n;
    struct recorder_billed billed[RECORDER_BILLED_MAX];
};

/* Is there a policy, and is it young enough? REFUSAL_NONE or REFUSAL_NO_POLICY. */
enum refusal admit_policy(const struct policy *p, int64_t now_ms);

struct admit_decision admit(const struct admit_facts *f);

#endif
