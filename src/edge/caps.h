/*
 * Caps: the budgets and rate limits that hold for a usage token, as places in the counters file.
 * Not safe for threads; edge has the lock.
 */
#ifndef EDGE_CAPS_H
#define EDGE_CAPS_H

#include "core/policy.h"
#include "edge/counters_file.h"
#include "edge/edge.h"

struct caps {
    struct counters_file file;
    struct cap *budgets; /* ordered by org and workspace */
    size_t budgets_n;
    struct edge_limit *limits; /* ordered by workspace */
    size_t limits_n;
};

/*
 * In the place of those before. *ret_changed: some token's places may be others now. Budgets that
 * are new in the file are marked is_new in the input.
 */
enum err caps_set(struct caps *c, struct edge_budget *budgets, size_t budgets_n,
    const struct edge_limit *limits, size_t limits_n, bool *ret_changed,
    struct error *e) MUST_CHECK;
/* Fills in the token's places. ERR_STATE_UNUSABLE when they cannot be had: do not publish it. */
enum err caps_token(struct caps *c, struct policy_token *t, struct error *e) MUST_CHECK;
/* The token is gone, and its own limit with it. */
void caps_token_gone(struct caps *c, const struct policy_token *t);
void caps_done(struct caps *c);

#endif
