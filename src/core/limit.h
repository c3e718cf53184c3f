/*
 * Rate limits as every worker sees them: requests a minute, tokens a minute, calls at one time.
 * Atomics only, as in core/budget.h.
 *
 * Requests and tokens are metered by one "theoretical arrival time" each (GCRA): a whole minute's
 * worth may come at once, and room comes back evenly. A request is charged when it enters; tokens
 * are charged when they are known, so a call is refused while earlier ones have used up the minute.
 */
#ifndef CORE_LIMIT_H
#define CORE_LIMIT_H

#include "core/str.h"

#include <stdatomic.h>
#include <stdint.h>

enum { LIMITS_PER_CALL = 2 }; /* the token's own and its workspace's */
#define LIMIT_NONE UINT32_MAX

struct limit_slot {
    uint8_t id[16]; /* of the token or workspace */
    _Atomic uint32_t serial;
    /* 0: no such limit */
    _Atomic uint32_t requests_per_min;
    _Atomic uint32_t tokens_per_min;
    _Atomic uint32_t concurrent_max;
    _Atomic int64_t requests_tat_ns; /* Unix time */
    _Atomic int64_t tokens_tat_ns;
    _Atomic int32_t concurrent;
    uint8_t reserved[12];
};

_Static_assert(sizeof(struct limit_slot) == 64, "one cache line each");

enum limit_verdict { LIMIT_FITS, LIMIT_REQUESTS, LIMIT_TOKENS, LIMIT_CONCURRENT };

struct limit_answer {
    enum limit_verdict verdict;
    uint32_t slot;          /* which one refused */
    uint32_t limit;         /* its number */
    int64_t retry_after_ms; /* at least 1 when it refused */
};

/*
 * Lets a call in by every one of n limits (LIMIT_NONE is skipped), or by none of them. again: a
 * further attempt of a call that was counted as a request already.
 */
struct limit_answer limit_enter(
    struct limit_slot *limits, const uint32_t *slots, unsigned n, bool again, int64_t now_ms);
/* A call that was let in is not made after all: it was no request. */
void limit_cancel(struct limit_slot *limits, const uint32_t *slots, unsigned n, bool again);
/* The call ended, after so many tokens of all kinds. */
void limit_leave(
    struct limit_slot *limits, const uint32_t *slots, unsigned n, int64_t now_ms, int64_t tokens);

/* purserd: new numbers, in a place nobody uses or in the one that is in use. */
void limit_put(struct limit_slot *l, const uint8_t id[static 16], uint32_t requests_per_min,
    uint32_t tokens_per_min, uint32_t concurrent_max);

/* purserd: somebody set the clock back; what was metered by it means nothing any more. */
void limit_forget(struct limit_slot *l);

/* purserd's rebuild: see budget_look() and budget_set(). */
static inline int32_t
limit_look(const struct limit_slot *l)
{
    return atomic_load_explicit(&l->concurrent, memory_order_seq_cst);
}
static inline bool
limit_set(struct limit_slot *l, int32_t looked, int32_t concurrent)
{
    return atomic_compare_exchange_strong(&l->concurrent, &looked, concurrent);
}

#endif
