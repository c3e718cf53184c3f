/*
 * The file that budgets and rate limits live in: purserd makes it, every worker maps it and counts
 * in it. Two arrays of fixed slots behind a header. Slots keep their numbers as long as the file
 * lives; its generation tells a new file from the old one, since numbers of one mean nothing in
 * another. A policy names the generation its tokens were published for.
 *
 * The file is made large (a page that was never touched costs nothing in tmpfs); purserd allocates
 * the part it uses before it names a slot to anybody. This header works on memory that somebody
 * else mapped; it does no I/O.
 */
#ifndef CORE_COUNTERS_H
#define CORE_COUNTERS_H

#include "core/budget.h"
#include "core/limit.h"

enum { COUNTERS_VERSION = 2, COUNTERS_SLOTS_MAX = 1 << 22 };
enum counters_state { COUNTERS_LIVE = 1, COUNTERS_SUPERSEDED };

struct counters_header {
    char magic[8]; /* "PSRCNTR\0" */
    uint32_t version;
    _Atomic uint32_t state; /* enum counters_state */
    uint64_t generation;
    uint32_t budgets_n; /* slots of each kind */
    uint32_t limits_n;
    uint64_t budgets_off;
    uint64_t limits_off;
    uint64_t bytes;
};

struct counters {
    struct counters_header *header;
    struct budget_slot *budgets;
    struct limit_slot *limits;
};

/* Bytes of a file with so many slots; 0 when the numbers make no sense. */
size_t counters_bytes(uint32_t budgets, uint32_t limits);
/* purserd: lays out zeroed memory; readers may attach from here on. generation is never 0. */
void counters_format(
    void *memory, uint32_t budgets, uint32_t limits, uint64_t generation, struct counters *ret);
/* False when the memory is not a whole file of this version. */
bool counters_attach(void *memory, size_t bytes, struct counters *ret);

static inline bool
counters_is_live(const struct counters *c)
{
    return atomic_load_explicit(&c->header->state, memory_order_acquire) == COUNTERS_LIVE;
}

#endif
