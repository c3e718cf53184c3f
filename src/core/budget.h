/*
 * Budgets as every worker sees them: counters in memory that all of them share, changed by atomic
 * operations only, so there is nothing that a dead writer could hold.
 *
 * A budget has two sums for the period that runs: settled, what calls have cost, and committed,
 * that plus the bounds of the calls that are open. Each sum is one word: the number of its period
 * in the top bits, nano-USD below. A sum of an older period counts as zero, and whoever comes
 * first in a new period replaces it: nobody resets anything.
 *
 * Order of a call: reserve its bound; shrink to what is known at the first sign of usage; settle.
 * A call belongs to the period in which it reserved; what becomes of it later changes no other.
 */
#ifndef CORE_BUDGET_H
#define CORE_BUDGET_H

#include "core/str.h"

#include <stdatomic.h>
#include <stdint.h>

enum budget_period {
    BUDGET_HOUR,
    BUDGET_DAY,
    BUDGET_WEEK, /* from Monday, UTC */
    BUDGET_MONTH,
    BUDGET_TOTAL, /* never starts anew */
    BUDGET_PERIOD_COUNT
};

enum budget_scope { BUDGET_ORG, BUDGET_WORKSPACE };

enum {
    BUDGET_TAG_BITS = 12,
    BUDGET_SUM_BITS = 52,
    BUDGETS_PER_CALL_MAX = 8,
};

/* The largest sum, about 4.5 million USD: a larger limit means nothing. Sums stop there. */
#define BUDGET_SUM_MAX (((int64_t)1 << BUDGET_SUM_BITS) - 1)
#define BUDGET_GONE ((int64_t)-1)

struct budget_slot {
    uint8_t id[16];
    /* Grows with each budget that gets this place; 0: never used. */
    _Atomic uint32_t serial;
    uint8_t scope;          /* enum budget_scope */
    uint8_t period;         /* enum budget_period */
    uint8_t hard;           /* 0: only warns, never refuses */
    _Atomic uint8_t wanted; /* a call was refused that the limit, but not the lease, had room for */
    _Atomic int64_t limit_nano; /* BUDGET_GONE: no budget here any more; skipped */
    _Atomic uint64_t committed;
    _Atomic uint64_t settled;
    /* How much of the limit may be committed here: all of it, unless other nodes spend of it, too. */
    _Atomic int64_t lease_nano;
    _Atomic uint64_t
        elsewhere; /* a sum as the others: what other nodes are known to have settled */
};

_Static_assert(sizeof(struct budget_slot) == 64, "one cache line each");

/* Which budget a call counts against, as its recorder slot keeps it. */
struct budget_ref {
    uint32_t slot;
    uint32_t serial;
};

/* "hour", "day", "week", "month", "total". */
struct str budget_period_name(enum budget_period p);
bool budget_period_from_name(struct str name, enum budget_period *ret);
/* Number of the period that holds now_ms; 0 for BUDGET_TOTAL. */
int64_t budget_period_number(enum budget_period p, int64_t now_ms);
/* When period number begins (Unix ms); that of number + 1 is its end. 0 for BUDGET_TOTAL. */
int64_t budget_period_start(enum budget_period p, int64_t number);
/* What a sum carries for that period. */
uint16_t budget_tag(enum budget_period p, int64_t now_ms);

/* The sums of the period that runs at now_ms, in nano-USD. */
int64_t budget_committed(const struct budget_slot *b, int64_t now_ms);
int64_t budget_settled(const struct budget_slot *b, int64_t now_ms);
int64_t budget_elsewhere(const struct budget_slot *b, int64_t now_ms);

enum budget_verdict {
    BUDGET_FITS,
    BUDGET_BUSY,      /* only open reservations are in the way: the same call may fit soon */
    BUDGET_EXHAUSTED, /* this bound does not fit into what is left of the period */
};

struct budget_answer {
    enum budget_verdict verdict;
    /* Of the budget that refuses: */
    uint32_t slot;
    int64_t limit_nano;
    int64_t settled_nano;
    int64_t committed_nano;
    int64_t resets_ms; /* 0: never */
};

/* What a call keeps of the places it counts against. A budget that is gone is skipped from now on.
 */
void budget_refs(const struct budget_slot *budgets, const uint32_t *slots, unsigned n,
    struct budget_ref *ret_refs);

/*
 * Reserves bound_nano in each of n budgets (at most BUDGETS_PER_CALL_MAX), or in none of them.
 * ret_tags holds n: the periods that the call belongs to.
 */
struct budget_answer budget_reserve(struct budget_slot *budgets, const struct budget_ref *refs,
    unsigned n, int64_t bound_nano, int64_t now_ms, uint16_t *ret_tags);

/* Changes a reservation by delta_nano: negative to shrink it. */
void budget_change(struct budget_slot *budgets, const struct budget_ref *refs, const uint16_t *tags,
    unsigned n, int64_t delta_nano);

/* Ends a reservation: what it held is given back, what the call cost is spent. */
void budget_settle(struct budget_slot *budgets, const struct budget_ref *refs, const uint16_t *tags,
    unsigned n, int64_t reserved_nano, int64_t cost_nano);

/* purserd: puts a budget into a place nobody uses (never used, or gone), with both sums at zero. */
void budget_put(struct budget_slot *b, const uint8_t id[static 16], enum budget_scope scope,
    enum budget_period period, bool hard, int64_t limit_nano);
static inline void
budget_remove(struct budget_slot *b)
{
    atomic_store_explicit(&b->limit_nano, BUDGET_GONE, memory_order_release);
}

/*
 * purserd: how much may be committed here from now on. Whoever looks at committed afterwards sees
 * every reservation that the lease before let pass: it sees this one, or gives back what it took.
 */
static inline void
budget_set_lease(struct budget_slot *b, int64_t lease_nano)
{
    atomic_store(&b->lease_nano, lease_nano);
}
/* purserd: what other nodes have settled in the period that runs. */
void budget_set_elsewhere(struct budget_slot *b, int64_t now_ms, int64_t sum_nano);

/*
 * purserd's rebuild. First look(), then add up what store and recorder say, then set(): it changes
 * the sums only when nobody moved them in between, so nothing is lost. False: again.
 */
struct budget_seen {
    uint64_t committed, settled;
};
static inline struct budget_seen
budget_look(const struct budget_slot *b)
{
    return (struct budget_seen){atomic_load(&b->committed), atomic_load(&b->settled)};
}
bool budget_set(struct budget_slot *b, struct budget_seen seen, int64_t now_ms,
    int64_t committed_nano, int64_t settled_nano);

/*
 * purserd, now and then: sums of long ago are replaced by zero, since a tag comes round again after
 * 4,096 periods.
 */
void budget_roll(struct budget_slot *b, int64_t now_ms);

enum { BUDGET_SENTENCE_MAX = 320 };
/* What is wrong and until when, for the client. Returns its length; b is the budget that refused.
 */
size_t budget_sentence(const struct budget_slot *b, const struct budget_answer *a,
    int64_t bound_nano, char ret[static BUDGET_SENTENCE_MAX]);

#endif
