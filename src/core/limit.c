#include "core/limit.h"

static const int64_t minute_ns = (int64_t)60 * 1000 * 1000 * 1000;
static const int64_t day_ns = (int64_t)24 * 60 * 60 * 1000 * 1000 * 1000;

/* How long it takes until so many units are there again. Saturates at a day. */
static int64_t
units_ns(int64_t units, uint32_t per_min)
{
    __int128 ns = (__int128)units * minute_ns / per_min;

    return (int64_t)(ns > day_ns ? day_ns : ns);
}

/*
 * A time of arrival that lies between now and most ahead of it. None is further ahead, unless the
 * clock was set back.
 */
static int64_t
arrival(int64_t tat, int64_t now_ns, int64_t most_ns)
{
    if (tat < now_ns)
        return now_ns;
    return tat < now_ns + most_ns ? tat : now_ns + most_ns;
}

static int64_t
load(const _Atomic int64_t *tat)
{
    return atomic_load_explicit(tat, memory_order_relaxed);
}

/* Charges one request. Returns 0, or the nanoseconds to wait. */
static int64_t
take_request(struct limit_slot *l, uint32_t per_min, int64_t now_ns)
{
    int64_t step = units_ns(1, per_min);

    int64_t tat = load(&l->requests_tat_ns);

    for (;;) {
        int64_t next = arrival(tat, now_ns, minute_ns) + step;

        /* It would go on being too far ahead as time passes. */
        if (tat > now_ns + minute_ns &&
            !atomic_compare_exchange_strong(&l->requests_tat_ns, &tat, now_ns + minute_ns))
            continue;
        if (next - now_ns > minute_ns)
            return next - now_ns - minute_ns;
        if (atomic_compare_exchange_weak(&l->requests_tat_ns, &tat, next))
            return 0;
    }
}

static void
charge_tokens(struct limit_slot *l, uint32_t per_min, int64_t now_ns, int64_t tokens)
{
    int64_t cost = units_ns(tokens, per_min), tat = load(&l->tokens_tat_ns), next;

    do
        next = arrival(arrival(tat, now_ns, day_ns) + cost, now_ns, day_ns);
    while (!atomic_compare_exchange_weak(&l->tokens_tat_ns, &tat, next));
}

static uint32_t
number(const _Atomic uint32_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

/* One limit; what it took is given back by limit_cancel() when another refuses. */
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
        (wait = arrival(load(&l->tokens_tat_ns), now_ns, day_ns) - now_ns - minute_ns + 1) > 0) {
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
            limit_cancel(limits, slots, i, again);
            return a;
        }
    }
    return a;
}

void
limit_cancel(struct limit_slot *limits, const uint32_t *slots, unsigned n, bool again)
{
    for (unsigned i = 0; i < n; i++) {
        struct limit_slot *l = &limits[slots[i]];
        uint32_t per_min;

        if (slots[i] == LIMIT_NONE)
            continue;
        atomic_fetch_sub(&l->concurrent, 1);
        per_min = number(&l->requests_per_min);
        if (per_min > 0 && !again)
            atomic_fetch_sub(&l->requests_tat_ns, units_ns(1, per_min));
    }
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
limit_forget(struct limit_slot *l)
{
    atomic_store(&l->requests_tat_ns, 0);
    atomic_store(&l->tokens_tat_ns, 0);
}

void
limit_put(struct limit_slot *l, const uint8_t id[static 16], uint32_t requests_per_min,
    uint32_t tokens_per_min, uint32_t concurrent_max)
{
    if (memcmp(l->id, id, sizeof(l->id)) != 0) {
        memcpy(l->id, id, sizeof(l->id));
        limit_forget(l);
        atomic_store(&l->concurrent, 0);
        atomic_fetch_add(&l->serial, 1);
    }
    atomic_store(&l->requests_per_min, requests_per_min);
    atomic_store(&l->tokens_per_min, tokens_per_min);
    atomic_store(&l->concurrent_max, concurrent_max);
}
