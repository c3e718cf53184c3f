/*
 * Leases: which part of a hard budget each node on a shared store may commit by itself. A lease is
 * an amount per period, whichever period runs, so that nothing has to be agreed when one begins. The
 * leases of a budget together are never more than its limit.
 *
 * A node that is away keeps its leases until the first period that begins after the time until
 * which it may spend of them (nodes.leases_until_ms): only then is it certain that it has spent
 * nothing of the limit. Those of a budget in total are never taken away.
 */
#ifndef STORE_BUDGET_LEASE_H
#define STORE_BUDGET_LEASE_H

#include "store/budget_row.h"

/* Several nodes may spend of one limit here: the engine is one for many machines. */
bool store_is_shared(const struct store *s);

/* Somebody on another node waits for more of this budget. */
struct budget_lease_wanted {
    struct id budget;
    struct id node; /* the one that waits */
};

/* What a node does not know of the others by itself. */
struct budget_lease_others {
    struct budget_lease_wanted *wanted; /* asked for lately; ordered by budget and node */
    size_t wanted_n;
    bool alone;  /* no other node was seen lately */
    bool lapsed; /* the time until which we might spend is over: others may have our leases */
};

/*
 * How far a node's clock may be from the store's. Nodes whose clocks differ by more disagree about
 * the period in which an amount is spent.
 */
enum { BUDGET_LEASE_CLOCK_OFF_MS = 2000 };

/*
 * Says that this node may spend of its leases for that long from now, and asks about the others;
 * "lately" is since recent_ms ago. ERR_STATE_UNUSABLE, and nothing is said, when this node's clock
 * is too far from the store's.
 */
enum err budget_lease_renew(struct store_tx *tx, int64_t for_ms, int64_t recent_ms, struct arena *a,
    struct budget_lease_others *ret, struct error *e) MUST_CHECK;

/* Amounts in nano-USD. */
struct budget_lease_ask {
    const struct budget_row *budget;
    int64_t now_ms;
    int64_t lease;     /* what the gateway may commit at the moment */
    int64_t committed; /* and has; looked at after lease was lowered to that */
    int64_t settled;
    int64_t wished; /* as much as there is, up to this */
    bool wanted;    /* somebody waits for it */
    /* Nodes that were seen so lately must have settled this budget, too: see below. 0: none must. */
    int64_t recent_ms;
};

/*
 * A node that has not heard of a budget yet spends of it without a lease. Until each that was seen
 * lately has told what that was, nobody gets more than this part of the limit, 1/SHARE.
 */
enum { BUDGET_LEASE_SHARE = 8 };
/* budget_leases.wanted_ms of a node that has not told that: what it holds is what is known of it. */
#define BUDGET_LEASE_UNHEARD "-1"

/*
 * Does this node still hold that much, and do all leases together fit the limit as it is now? Then
 * its gateway may go on with what it has. False when this node's part may be another one.
 */
enum err budget_lease_stands(struct store_tx *tx, const struct budget_row *b, int64_t lease,
    bool *ret, struct error *e) MUST_CHECK;

/*
 * *ret_held: this node's lease from now on, never less than what is committed, and not less than
 * lease unless that was taken from it. *ret_elsewhere: what others have settled in this period.
 */
enum err budget_lease_settle(struct store_tx *tx, const struct budget_lease_ask *ask,
    int64_t *ret_held, int64_t *ret_elsewhere, struct error *e) MUST_CHECK;

#endif
