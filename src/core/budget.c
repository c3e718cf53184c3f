#include "core/budget.h"

static const struct str period_names[BUDGET_PERIOD_COUNT] = {
    [BUDGET_HOUR] = STR_INIT("hour"),
    [BUDGET_DAY] = STR_INIT("day"),
    [BUDGET_WEEK] = STR_INIT("week"),
    [BUDGET_MONTH] = STR_INIT("month"),
    [BUDGET_TOTAL] = STR_INIT("total"),
};

enum { TAG_MASK = (1 << BUDGET_TAG_BITS) - 1 };
static const int64_t hour_ms = 3600 * 1000, day_ms = 24 * 3600 * 1000;

struct str
budget_period_name(enum budget_period p)
{
    return period_names[p];
}

bool
budget_period_from_name(struct str name, enum budget_period *ret)
{
    for (int p = 0; p < BUDGET_PERIOD_COUNT; p++) {
        if (str_equal(name, period_names[p])) {
            *ret = (enum budget_period)p;
            return true;
        }
    }
    return false;
}

/*
 * Days since 1970-01-01 of the first of a month, and back. A year is counted from March, so that
 * the day that is not always there comes last.
 */
static int64_t
days_of_month_start(int64_t month_number)
{
    int64_t year = 1970 + month_number / 12, month = month_number % 12 + 1; /* 1..12 */
    int64_t y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;
    int64_t day_of_year = (153 * m + 2) / 5;

    return y * 365 + y / 4 - y / 100 + y / 400 + day_of_year - 719468;
}

static int64_t
month_number(int64_t days)
{
    /* A guess that is at most one month too small, then right. */
    int64_t month = days / 31;

    while (days_of_month_start(month + 1) <= days)
        month++;
    return month;
}

int64_t
budget_period_number(enum budget_period p, int64_t now_ms)
{
    int64_t days = now_ms / day_ms;

    switch (p) {
    case BUDGET_HOUR:
        return now_ms / hour_ms;
    case BUDGET_DAY:
        return days;
    case BUDGET_WEEK:
        return (days + 3) / 7; /* 1970-01-01 was a Thursday */
    case BUDGET_MONTH:
        return month_number(days);
    default:
        return 0;
    }
}

int64_t
budget_period_start(enum budget_period p, int64_t number)
{
    switch (p) {
    case BUDGET_HOUR:
        return number * hour_ms;
    case BUDGET_DAY:
        return number * day_ms;
    case BUDGET_WEEK:
        return (number * 7 - 3) * day_ms;
    case BUDGET_MONTH:
        return days_of_month_start(number) * day_ms;
    default:
        return 0;
    }
}

uint16_t
budget_tag(enum budget_period p, int64_t now_ms)
{
    return (uint16_t)(budget_period_number(p, now_ms) & TAG_MASK);
}

static uint16_t
tag_of(uint64_t word)
{
    return (uint16_t)(word >> BUDGET_SUM_BITS);
}

static int64_t
sum_of(uint64_t word)
{
    return (int64_t)(word & (uint64_t)BUDGET_SUM_MAX);
}

static uint64_t
make_word(uint16_t tag, int64_t sum)
{
    if (sum < 0)
        sum = 0;
    if (sum > BUDGET_SUM_MAX)
        sum = BUDGET_SUM_MAX;
    return (uint64_t)tag << BUDGET_SUM_BITS | (uint64_t)sum;
}

/* Is other a later period than tag, in a world where numbers come round again? */
static bool
is_later(uint16_t other, uint16_t tag)
{
    unsigned ahead = (unsigned)(other - tag) & TAG_MASK;

    return ahead != 0 && ahead <= TAG_MASK / 2;
}

/* sum + delta, delta of any size. */
static int64_t
add(int64_t sum, int64_t delta)
{
    int64_t total;

    if (__builtin_add_overflow(sum, delta, &total))
        return delta > 0 ? BUDGET_SUM_MAX : 0;
    return total;
}

/*
 * Does the word belong to a later period than tag's? Somebody's clock is a little ahead of ours then.
 * A word without a sum belongs to no period.
 */
static bool
leads(uint64_t word, uint16_t tag)
{
    return sum_of(word) > 0 && is_later(tag_of(word), tag);
}

static uint64_t
load(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_seq_cst);
}

/* What the word says for the period, or for the one that has begun meanwhile. */
static int64_t
sum_in(uint64_t word, uint16_t tag)
{
    return tag_of(word) == tag || leads(word, tag) ? sum_of(word) : 0;
}

int64_t
budget_committed(const struct budget_slot *b, int64_t now_ms)
{
    return sum_in(load(&b->committed), budget_tag((enum budget_period)b->period, now_ms));
}

int64_t
budget_settled(const struct budget_slot *b, int64_t now_ms)
{
    return sum_in(load(&b->settled), budget_tag((enum budget_period)b->period, now_ms));
}

int64_t
budget_elsewhere(const struct budget_slot *b, int64_t now_ms)
{
    return sum_in(load(&b->elsewhere), budget_tag((enum budget_period)b->period, now_ms));
}

void
budget_set_elsewhere(struct budget_slot *b, int64_t now_ms, int64_t sum_nano)
{
    atomic_store(
        &b->elsewhere, make_word(budget_tag((enum budget_period)b->period, now_ms), sum_nano));
}

static struct budget_answer
refuse(const struct budget_slot *b, uint32_t slot, int64_t limit, int64_t committed,
    int64_t bound_nano, uint16_t tag, int64_t now_ms)
{
    enum budget_period period = (enum budget_period)b->period;
    int64_t elsewhere = sum_in(load(&b->elsewhere), tag);
    struct budget_answer a = {
        .slot = slot, .limit_nano = limit, .committed_nano = add(committed, elsewhere)};

    a.settled_nano = add(sum_in(load(&b->settled), tag), elsewhere);
    a.verdict = add(a.settled_nano, bound_nano) <= limit ? BUDGET_BUSY : BUDGET_EXHAUSTED;
    if (period != BUDGET_TOTAL)
        a.resets_ms = budget_period_start(period, budget_period_number(period, now_ms) + 1);
    return a;
}

static bool
is_in_place(const struct budget_slot *b, const struct budget_ref *ref)
{
    return ref->serial != 0 && atomic_load(&b->serial) == ref->serial;
}

void
budget_refs(const struct budget_slot *budgets, const uint32_t *slots, unsigned n,
    struct budget_ref *ret_refs)
{
    for (unsigned i = 0; i < n; i++) {
        const struct budget_slot *b = &budgets[slots[i]];
        uint32_t serial = atomic_load(&b->serial);
        bool is_gone = atomic_load_explicit(&b->limit_nano, memory_order_acquire) == BUDGET_GONE;

        ret_refs[i] = (struct budget_ref){slots[i], is_gone ? 0 : serial};
    }
}

/* Changes a sum of the call's own period; another period is none of its business. */
static void
change_word(_Atomic uint64_t *place, uint16_t tag, int64_t delta)
{
    uint64_t word = load(place);

    while (tag_of(word) == tag &&
        !atomic_compare_exchange_weak(place, &word, make_word(tag, add(sum_of(word), delta))))
        continue;
}

/* Where the limit alone would have had room, purserd is asked for a larger lease. */
static bool
exceeds_lease(struct budget_slot *b, uint16_t tag, int64_t committed, int64_t limit)
{
    if (committed <= atomic_load(&b->lease_nano))
        return false;
    if (add(committed, sum_in(load(&b->elsewhere), tag)) <= limit)
        atomic_store(&b->wanted, 1);
    return true;
}

static struct budget_answer
reserve_one(struct budget_slot *b, const struct budget_ref *ref, int64_t bound_nano, int64_t now_ms,
    uint16_t *ret_tag)
{
    int64_t limit = atomic_load_explicit(&b->limit_nano, memory_order_acquire);
    uint16_t tag = budget_tag((enum budget_period)b->period, now_ms);
    uint64_t word = load(&b->committed);

    *ret_tag = tag;
    if (!is_in_place(b, ref))
        return (struct budget_answer){BUDGET_FITS};
    for (;;) {
        /* The call belongs to the new period, too. */
        uint16_t in = leads(word, tag) ? tag_of(word) : tag;
        int64_t committed = sum_in(word, in);

        if (b->hard && limit != BUDGET_GONE &&
            exceeds_lease(b, in, add(committed, bound_nano), limit))
            return refuse(b, ref->slot, limit, committed, bound_nano, in, now_ms);
        if (!atomic_compare_exchange_weak(
                &b->committed, &word, make_word(in, add(committed, bound_nano))))
            continue;
        *ret_tag = in;
        /* Purserd may have given part of the lease away since: see budget_set_lease(). */
        if (b->hard && limit != BUDGET_GONE &&
            exceeds_lease(b, in, add(committed, bound_nano), limit)) {
            change_word(&b->committed, in, -bound_nano);
            return refuse(b, ref->slot, limit, committed, bound_nano, in, now_ms);
        }
        return (struct budget_answer){BUDGET_FITS};
    }
}

/* Does it refuse for good? Asked of the budgets behind one that is only busy. */
static bool
is_exhausted(const struct budget_slot *b, const struct budget_ref *ref, int64_t bound_nano,
    int64_t now_ms, struct budget_answer *ret)
{
    int64_t limit = atomic_load_explicit(&b->limit_nano, memory_order_acquire);
    struct budget_answer a;

    if (!b->hard || limit == BUDGET_GONE || !is_in_place(b, ref))
        return false;
    a = refuse(b, ref->slot, limit, budget_committed(b, now_ms), bound_nano,
        budget_tag((enum budget_period)b->period, now_ms), now_ms);
    if (a.verdict != BUDGET_EXHAUSTED)
        return false;
    *ret = a;
    return true;
}

struct budget_answer
budget_reserve(struct budget_slot *budgets, const struct budget_ref *refs, unsigned n,
    int64_t bound_nano, int64_t now_ms, uint16_t *ret_tags)
{
    struct budget_answer a = {BUDGET_FITS};

    for (unsigned i = 0; i < n; i++) {
        a = reserve_one(&budgets[refs[i].slot], &refs[i], bound_nano, now_ms, &ret_tags[i]);
        if (a.verdict == BUDGET_FITS)
            continue;
        budget_change(budgets, refs, ret_tags, i, -bound_nano);
        while (a.verdict == BUDGET_BUSY && ++i < n)
            (void)is_exhausted(&budgets[refs[i].slot], &refs[i], bound_nano, now_ms, &a);
        break;
    }
    return a;
}

void
budget_change(struct budget_slot *budgets, const struct budget_ref *refs, const uint16_t *tags,
    unsigned n, int64_t delta_nano)
{
    for (unsigned i = 0; i < n; i++) {
        struct budget_slot *b = &budgets[refs[i].slot];

        if (is_in_place(b, &refs[i]))
            change_word(&b->committed, tags[i], delta_nano);
    }
}

/* The first that settles in a period replaces the sum of the one before. */
static void
spend(_Atomic uint64_t *place, uint16_t tag, int64_t cost)
{
    uint64_t word = load(place);

    while (!leads(word, tag)) {
        int64_t sum = tag_of(word) == tag ? sum_of(word) : 0;

        if (atomic_compare_exchange_weak(place, &word, make_word(tag, add(sum, cost))))
            return;
    }
}

void
budget_settle(struct budget_slot *budgets, const struct budget_ref *refs, const uint16_t *tags,
    unsigned n, int64_t reserved_nano, int64_t cost_nano)
{
    for (unsigned i = 0; i < n; i++) {
        struct budget_slot *b = &budgets[refs[i].slot];

        if (!is_in_place(b, &refs[i]))
            continue;
        /* Spent first: in between the call counts twice rather than not at all. */
        spend(&b->settled, tags[i], cost_nano);
        change_word(&b->committed, tags[i], cost_nano - reserved_nano);
    }
}

void
budget_put(struct budget_slot *b, const uint8_t id[static 16], enum budget_scope scope,
    enum budget_period period, bool hard, int64_t limit_nano)
{
    atomic_store(&b->limit_nano, BUDGET_GONE);
    /* Calls that still hold the old number give nothing back to the new budget. */
    if (atomic_fetch_add(&b->serial, 1) == UINT32_MAX)
        atomic_store(&b->serial, 1);
    memcpy(b->id, id, sizeof(b->id));
    b->scope = (uint8_t)scope;
    b->period = (uint8_t)period;
    b->hard = hard;
    atomic_store(&b->wanted, 0);
    atomic_store(&b->lease_nano, limit_nano);
    atomic_store(&b->elsewhere, 0);
    atomic_store(&b->committed, 0);
    atomic_store(&b->settled, 0);
    atomic_store_explicit(&b->limit_nano, limit_nano, memory_order_release);
}

bool
budget_set(struct budget_slot *b, struct budget_seen seen, int64_t now_ms, int64_t committed_nano,
    int64_t settled_nano)
{
    uint16_t tag = budget_tag((enum budget_period)b->period, now_ms);

    /*
     * In the order in which a call is settled: one that is in between afterwards still stands in
     * what was added up as a reservation, and takes it away from the new sum.
     */
    return atomic_compare_exchange_strong(
               &b->settled, &seen.settled, make_word(tag, settled_nano)) &&
        atomic_compare_exchange_strong(
            &b->committed, &seen.committed, make_word(tag, committed_nano));
}

static void
roll_word(_Atomic uint64_t *place, uint16_t tag)
{
    uint64_t word = load(place);

    while (tag_of(word) != tag && !leads(word, tag) &&
        !atomic_compare_exchange_weak(place, &word, make_word(tag, 0)))
        continue;
}

void
budget_roll(struct budget_slot *b, int64_t now_ms)
{
    uint16_t tag = budget_tag((enum budget_period)b->period, now_ms);

    roll_word(&b->committed, tag);
    roll_word(&b->settled, tag);
    roll_word(&b->elsewhere, tag);
}
