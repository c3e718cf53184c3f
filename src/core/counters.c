#include "core/counters.h"

static const char magic[8] = "PSRCNTR";

enum { HEADER_BYTES = 4096 };

size_t
counters_bytes(uint32_t budgets, uint32_t limits)
{
    if (budgets == 0 || limits == 0 || budgets > COUNTERS_SLOTS_MAX || limits > COUNTERS_SLOTS_MAX)
        return 0;
    return HEADER_BYTES + budgets * sizeof(struct budget_slot) + limits * sizeof(struct limit_slot);
}

static struct counters
counters_at(void *memory, const struct counters_header *h)
{
    char *base = memory;

    return (struct counters){memory, (struct budget_slot *)(void *)(base + h->budgets_off),
        (struct limit_slot *)(void *)(base + h->limits_off)};
}

void
counters_format(
    void *memory, uint32_t budgets, uint32_t limits, uint64_t generation, struct counters *ret)
{
    struct counters_header *h = memory;

    memcpy(h->magic, magic, sizeof(h->magic));
    h->version = COUNTERS_VERSION;
    h->generation = generation;
    h->budgets_n = budgets;
    h->limits_n = limits;
    h->budgets_off = HEADER_BYTES;
    h->limits_off = HEADER_BYTES + budgets * sizeof(struct budget_slot);
    h->bytes = counters_bytes(budgets, limits);
    atomic_store_explicit(&h->state, COUNTERS_LIVE, memory_order_release);
    *ret = counters_at(memory, h);
}

bool
counters_attach(void *memory, size_t bytes, struct counters *ret)
{
    struct counters_header *h = memory;

    if (bytes < HEADER_BYTES || atomic_load_explicit(&h->state, memory_order_acquire) == 0)
        return false;
    if (memcmp(h->magic, magic, sizeof(magic)) != 0 || h->version != COUNTERS_VERSION ||
        h->bytes != bytes || counters_bytes(h->budgets_n, h->limits_n) != bytes ||
        h->budgets_off != HEADER_BYTES ||
        h->limits_off != HEADER_BYTES + h->budgets_n * sizeof(struct budget_slot))
        return false;
    *ret = counters_at(memory, h);
    return true;
}
