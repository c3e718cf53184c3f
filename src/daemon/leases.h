/*
 * This node's leases of hard budgets, when other nodes may spend of them, too: asks the store for
 * more before the gateway runs short, gives back what it does not need, and stops the gateway's
 * spending when the store was out of reach for too long. Not safe for threads.
 */
#ifndef DAEMON_LEASES_H
#define DAEMON_LEASES_H

#include "store/budget_lease.h"

/* What is remembered of one budget's lease; zero to begin with. */
struct lease {
    bool known;                 /* the store has told it since we run */
    int64_t since_ms;           /* monotonic: when we heard of the budget, or of its new limit */
    int64_t asked_ms;           /* monotonic */
    int64_t wish_ends_ms;       /* monotonic; a refused call is to come again until then */
    bool waits;                 /* and would be refused again */
    int64_t granted_ms;         /* monotonic: when there was more for it */
    int64_t committed, settled; /* as it was then */
};

struct leases;

/* NULL where nobody else can spend: everything below does nothing then. away_ms: policy_max_age. */
struct leases *leases_new(struct store *s, int64_t away_ms);
void leases_free(struct leases *l);

/*
 * One look at every budget: begin(), then see() for each, then end(). What is asked for is in force
 * after end(). row and slot stay valid until then; slot's budget is shared (edge.h).
 */
void leases_begin(struct leases *l);
void leases_see(
    struct leases *l, const struct budget_row *row, struct budget_slot *slot, struct lease *lease);
void leases_end(struct leases *l);

#endif
