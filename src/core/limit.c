#include "core/limit.h"

static const int64_t minute_ns = (int64_t)60 * 1000 * 1000 * 1000;

/* How long it takes until so many units are there again. Saturates at a day. */
static int64_t
units_ns(int64_t units, uint32_t per_min)
{
    __int128 ns = (__int128)units * minute_ns / per_min;
    __int128 most = (__int128)minute_ns * 60 * 24;

    return (int64_t)(ns > most ? most : ns);
}

static int64_t
max_i64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Charges one request. Returns 0, or the nanoseconds to wait. */
static int64_t
take_request(struct limit_slot *l, uint32_t per_min, int64_t now_ns)
{
    int64_t step = units_ns(1, per_min);
    int64_t tat = atomic_load_explicit(&l->requests_tat_ns, memory_order_relaxed);

    for (;;) {
        int64_t next = max_i64(tat, now_ns) + step;

        if (next - now_ns > minute_ns)
            return next - now_ns - minute_ns;
        if (atomic_compare_exchange_weak(&l->requests_tat_ns, &tat, next))
            return 0;
    }
}

static void
charge_tokens(struct limit_slot *l, uint32_t per_min, int64_t now_ns, int64_t tokens)
{
    int64_t cost = units_ns(tokens, per_min);
    int64_t tat = atomic_load_explicit(&l->tokens_tat_ns, memory_order_relaxed);

    while (!atomic_compare_exchange_weak(&l->tokens_tat_ns, &tat, max_i64(tat, now_ns) + cost))
        continue;
}

static uint32_t
number(const _Atomic uint32_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

/* One limit; what it took is given back by leave_one() when another refuses. */
static struct limit_answer
enter_one(struct limit_slot *l, uint32_t slot, bool again, int64_t now_ns)
{
    struct limit_answer a = {.slot = slot};
    uint32_t requests = number(&l->requests_per_min), tokens = number(&l->tokens_per_min);
    int64_t wait = 0;

    a.limit = number(&l->concurrent_max);
    if (atomic_fetch_add(&l->concurrent, 1) >= (int64_t)a.limit && a.limit > 0) {
        a.verdict = LIMIT_CONCURRENT;
        wait = minute_ns / 60;
    } else if (tokens > 0 &&
        (wait = atomic_load_explicit(&l->tokens_tat_ns, memory_order_relaxed) - now_ns - minute_ns +
                1) > 0) {
        a.verdict = LIMIT_TOKENS;
        a.limit = tokens;
    } else if (requests > 0 && !again && (wait = take_request(l, requests, now_ns)) > 0) {
        a.verdict = LIMIT_REQUESTS;
        a.limit = requests;
    }
    if (a.verdict != LIMIT_FITS) {
        atomic_fetch_sub(&l->concurrent, 1);
        a.retry_after_ms = wait / 1000000 + 1;
    }
    return a;
}

struct limit_answer
limit_enter(
    struct limit_slot *limits, const uint32_t *slots, unsigned n, bool again, int64_t now_ms)
{
    struct limit_answer a = {0};

    for (unsigned i = 0; i < n; i++) {
        if (slots[i] == LIMIT_NONE)
            continue;
        a = enter_one(&limits[slots[i]], slots[i], again, now_ms * 1000000);
        if (a.verdict != LIMIT_FITS) {
            limit_leave(limits, slots, i, now_ms, 0);
            return a;
        }
    }
    return a;
}

void
limit_leave(
    struct limit_slot *limits, const uint32_t *slots, unsigned n, int64_t now_ms, int64_t tokens)
{
    for (unsigned i = 0; i < n; i++) {
        struct limit_slot *l = &limits[slots[i]];
        uint32_t per_min;

        if (slots[i] == LIMIT_NONE)
            continue;
        atomic_fetch_sub(&l->concurrent, 1);
        per_min = number(&l->tokens_per_min);
        if (per_min > 0 && tokens > 0)
            charge_tokens(l, per_min, now_ms * 1000000, tokens);
    }
}

void
limit_put(struct limit_slot *l, const uint8_t id[static 16], uint32_t requests_per_min,
    uint32_t tokens_per_min, uint32_t concurrent_max)
{
    if (memcmp(l->id, id, sizeof(l->id)) != 0) {
        memcpy(l->id, id, sizeof(l->id));
        atomic_store(&l->requests_tat_ns, 0);
        atomic_store(&l->tokens_tat_ns, 0);
        atomic_store(&l->concurrent, 0);
        atomic_fetch_add(&l->serial, 1);
    }
    atomic_store(&l->requests_per_min, requests_per_min);
    atomic_store(&l->tokens_per_min, tokens_per_min);
    atomic_store(&l->concurrent_max, concurrent_max);
}
