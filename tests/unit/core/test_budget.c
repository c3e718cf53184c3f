#include "unit.h"

#include "core/recorder.h"

#include <pthread.h>

static const int64_t usd = 1000000000;
/* 2026-11-22 10:00 UTC, a Sunday. */
static const int64_t now = 1795341600000;
static const int64_t hour = 3600 * 1000, day = 24 * 3600 * 1000;

static struct budget_slot slots[4];
static const uint32_t ids[] = {0, 1, 2, 3};

static struct budget_slot
make(enum budget_period period, bool hard, int64_t limit)
{
    struct budget_slot b;
    uint8_t id[16] = {7};

    memset(&b, 0, sizeof(b));
    budget_put(&b, id, BUDGET_ORG, period, hard, limit);
    return b;
}

struct call {
    struct budget_ref refs[4];
    uint16_t tags[4];
    int64_t reserved;
};

static struct budget_answer
reserve(struct call *c, unsigned n, int64_t bound, int64_t at)
{
    budget_refs(slots, ids, n, c->refs);
    c->reserved = bound;
    return budget_reserve(slots, c->refs, n, bound, at, c->tags);
}

static void
settle(struct call *c, unsigned n, int64_t cost)
{
    budget_settle(slots, c->refs, c->tags, n, c->reserved, cost);
}

static void
periods_begin_and_end_when_the_calendar_says(void **state)
{
    static const struct {
        const char *name;
        enum budget_period period;
        int64_t at, start, end;
    } cases[] = {
        {"hour", BUDGET_HOUR, 1795341600000 + 5, 1795341600000, 1795345200000},
        {"day", BUDGET_DAY, 1795341600000, 1795305600000, 1795392000000},
        {"a week begins on Monday", BUDGET_WEEK, 1795341600000, 1794787200000, 1795392000000},
        {"month", BUDGET_MONTH, 1795341600000, 1793491200000, 1796083200000},
        {"February of a leap year", BUDGET_MONTH, 1709164800000, 1706745600000, 1709251200000},
        {"the last instant of a year", BUDGET_MONTH, 1798761599999, 1796083200000, 1798761600000},
        {"the beginning of time", BUDGET_MONTH, 0, 0, 2678400000},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t number = budget_period_number(cases[i].period, cases[i].at);

        if (budget_period_start(cases[i].period, number) != cases[i].start ||
            budget_period_start(cases[i].period, number + 1) != cases[i].end)
            fail_msg("%s: %lld .. %lld", cases[i].name,
                (long long)budget_period_start(cases[i].period, number),
                (long long)budget_period_start(cases[i].period, number + 1));
    }
    assert_int_equal(budget_period_number(BUDGET_TOTAL, now), 0);
}

/* Each instant of two hundred years lies in the period that it is said to lie in. */
static void
no_instant_is_between_two_periods(void **state)
{
    for (int p = 0; p < BUDGET_TOTAL; p++) {
        for (int64_t at = 0; at < 73000 * day; at += 11 * day + 7777777) {
            int64_t number = budget_period_number((enum budget_period)p, at);

            assert_true(budget_period_start((enum budget_period)p, number) <= at);
            assert_true(budget_period_start((enum budget_period)p, number + 1) > at);
        }
    }
}

static void
three_bounds_fit_and_the_fourth_is_busy(void **state)
{
    struct call calls[4];
    struct budget_answer a;

    slots[0] = make(BUDGET_DAY, true, 3 * usd);
    for (int i = 0; i < 3; i++)
        assert_int_equal(reserve(&calls[i], 1, usd, now).verdict, BUDGET_FITS);
    a = reserve(&calls[3], 1, usd, now);
    assert_int_equal(a.verdict, BUDGET_BUSY);
    assert_int_equal(a.committed_nano, 3 * usd);
    settle(&calls[0], 1, usd / 2);
    assert_int_equal(budget_settled(&slots[0], now), usd / 2);
    assert_int_equal(reserve(&calls[3], 1, usd / 2, now).verdict, BUDGET_FITS);
    a = reserve(&calls[0], 1, 3 * usd, now);
    assert_int_equal(a.verdict, BUDGET_EXHAUSTED);
    assert_int_equal(a.settled_nano, usd / 2);
    assert_int_equal(a.resets_ms, 1795392000000);
}

static void
a_bound_larger_than_the_limit_is_refused_for_good(void **state)
{
    struct call c;

    slots[0] = make(BUDGET_TOTAL, true, usd);
    assert_int_equal(reserve(&c, 1, usd + 1, now).verdict, BUDGET_EXHAUSTED);
    assert_int_equal(reserve(&c, 1, usd + 1, now).resets_ms, 0);
    assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
}

static void
a_new_period_begins_at_zero_and_old_calls_do_not_touch_it(void **state)
{
    struct call old, young;

    slots[0] = make(BUDGET_HOUR, true, usd);
    assert_int_equal(reserve(&old, 1, usd, now).verdict, BUDGET_FITS);
    assert_int_equal(reserve(&young, 1, usd, now + hour).verdict, BUDGET_FITS);
    settle(&old, 1, usd);
    assert_int_equal(budget_committed(&slots[0], now + hour), usd);
    assert_int_equal(budget_settled(&slots[0], now + hour), 0);
    budget_change(slots, old.refs, old.tags, 1, -usd);
    assert_int_equal(budget_committed(&slots[0], now + hour), usd);
    settle(&young, 1, usd / 4);
    assert_int_equal(budget_settled(&slots[0], now + hour), usd / 4);
    assert_int_equal(budget_committed(&slots[0], now + hour), usd / 4);
}

static void
a_clock_that_is_behind_does_not_bring_the_old_period_back(void **state)
{
    struct call ahead, behind;

    slots[0] = make(BUDGET_HOUR, true, usd);
    assert_int_equal(reserve(&ahead, 1, usd, now + hour).verdict, BUDGET_FITS);
    assert_int_equal(reserve(&behind, 1, usd, now + hour - 1).verdict, BUDGET_BUSY);
    assert_int_equal(budget_committed(&slots[0], now + hour), usd);
}

static void
what_is_refused_by_one_budget_is_taken_from_none(void **state)
{
    struct call c;

    slots[0] = make(BUDGET_DAY, true, 10 * usd);
    slots[1] = make(BUDGET_DAY, true, usd);
    slots[2] = make(BUDGET_TOTAL, true, usd / 2);
    assert_int_equal(reserve(&c, 2, usd, now).verdict, BUDGET_FITS);
    /* The second is busy, the third can never hold it: that is what the agent must hear. */
    assert_int_equal(reserve(&c, 3, usd, now).verdict, BUDGET_EXHAUSTED);
    assert_int_equal(reserve(&c, 3, usd, now).slot, 2);
    assert_int_equal(budget_committed(&slots[0], now), usd);
    assert_int_equal(budget_committed(&slots[1], now), usd);
    assert_int_equal(budget_committed(&slots[2], now), 0);
}

static void
a_warning_budget_counts_and_never_refuses(void **state)
{
    struct call c;

    slots[0] = make(BUDGET_DAY, false, usd);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
        settle(&c, 1, usd);
    }
    assert_int_equal(budget_settled(&slots[0], now), 5 * usd);
}

static void
a_budget_that_took_the_place_of_another_is_not_touched(void **state)
{
    struct call c;

    slots[0] = make(BUDGET_DAY, true, usd);
    assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
    budget_remove(&slots[0]);
    budget_put(&slots[0], (const uint8_t[16]){9}, BUDGET_ORG, BUDGET_DAY, true, usd);
    settle(&c, 1, usd);
    assert_int_equal(budget_settled(&slots[0], now), 0);
    assert_int_equal(budget_committed(&slots[0], now), 0);
}

static void
sums_stop_at_the_ends(void **state)
{
    struct call c;

    slots[0] = make(BUDGET_DAY, false, usd);
    for (int i = 0; i < 3; i++)
        assert_int_equal(reserve(&c, 1, INT64_MAX, now).verdict, BUDGET_FITS);
    assert_int_equal(budget_committed(&slots[0], now), BUDGET_SUM_MAX);
    budget_change(slots, c.refs, c.tags, 1, INT64_MIN);
    assert_int_equal(budget_committed(&slots[0], now), 0);
    slots[0] = make(BUDGET_DAY, true, BUDGET_SUM_MAX);
    assert_int_equal(reserve(&c, 1, INT64_MAX, now).verdict, BUDGET_EXHAUSTED);
}

static void
a_rebuild_changes_nothing_when_somebody_counted_meanwhile(void **state)
{
    struct call c;
    struct budget_seen seen;

    slots[0] = make(BUDGET_DAY, true, 10 * usd);
    seen = budget_look(&slots[0]);
    assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
    assert_false(budget_set(&slots[0], seen, now, 0, 0));
    assert_int_equal(budget_committed(&slots[0], now), usd);
    seen = budget_look(&slots[0]);
    assert_true(budget_set(&slots[0], seen, now, 3 * usd, 2 * usd));
    assert_int_equal(budget_committed(&slots[0], now), 3 * usd);
    assert_int_equal(budget_settled(&slots[0], now), 2 * usd);
}

/* A call that costs all of its bound moves only one of the two sums. */
static void
a_rebuild_does_not_lose_a_call_that_cost_its_bound(void **state)
{
    struct call c;
    struct budget_seen seen;

    slots[0] = make(BUDGET_DAY, true, 10 * usd);
    assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
    seen = budget_look(&slots[0]);
    settle(&c, 1, usd);
    assert_false(budget_set(&slots[0], seen, now, usd, 0));
    assert_int_equal(budget_settled(&slots[0], now), usd);
}

static void
sums_of_long_ago_are_forgotten(void **state)
{
    struct call c;
    int64_t around = now + 4096 * hour;

    slots[0] = make(BUDGET_HOUR, true, usd);
    assert_int_equal(reserve(&c, 1, usd, now).verdict, BUDGET_FITS);
    settle(&c, 1, usd);
    budget_roll(&slots[0], now);
    assert_int_equal(budget_settled(&slots[0], now), usd);
    budget_roll(&slots[0], now + hour);
    /* The same number in the top bits, another hour. */
    assert_int_equal(reserve(&c, 1, usd, around).verdict, BUDGET_FITS);
}

static void
the_sentence_names_bound_rest_and_reset(void **state)
{
    char text[BUDGET_SENTENCE_MAX];
    struct call c;
    struct budget_answer a;
    size_t n;

    slots[0] = make(BUDGET_DAY, true, 20 * usd);
    assert_int_equal(reserve(&c, 1, 19 * usd, now).verdict, BUDGET_FITS);
    a = reserve(&c, 1, 2 * usd, now);
    n = budget_sentence(&slots[0], &a, 2 * usd, text);
    assert_str(((struct str){text, n}),
        "this call can cost up to 2.0000 USD, but of the 20.0000 USD that the organisation may "
        "spend today 1.0000 USD is free while other calls run");
    budget_settle(slots, c.refs, c.tags, 1, 0, 19 * usd + usd / 2);
    a = reserve(&c, 1, 2 * usd, now);
    n = budget_sentence(&slots[0], &a, 2 * usd, text);
    assert_str(((struct str){text, n}),
        "this call can cost up to 2.0000 USD, but of the 20.0000 USD that the organisation may "
        "spend today 0.5000 USD is left until 2026-11-23 00:00 UTC");
}

/* ---- many at once ---- */

enum { THREADS = 8, ROUNDS = 4000 };
static _Atomic int64_t admitted_now, most_admitted, spent_in_all;
static _Atomic unsigned admitted_in_all, busy_in_all, exhausted_in_all;

static void *
one_bound(void *arg)
{
    struct call c;

    if (reserve(&c, 2, usd, now).verdict == BUDGET_FITS)
        atomic_fetch_add(&admitted_in_all, 1);
    return NULL;
}

static void
of_forty_at_once_exactly_three_are_admitted(void **state)
{
    for (int round = 0; round < 40; round++) {
        pthread_t threads[40];

        slots[0] = make(BUDGET_DAY, true, 100 * usd);
        slots[1] = make(BUDGET_MONTH, true, 3 * usd);
        atomic_store(&admitted_in_all, 0);
        for (int i = 0; i < 40; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, one_bound, NULL), 0);
        for (int i = 0; i < 40; i++)
            pthread_join(threads[i], NULL);
        assert_int_equal(atomic_load(&admitted_in_all), 3);
        assert_int_equal(budget_committed(&slots[0], now), 3 * usd);
        assert_int_equal(budget_committed(&slots[1], now), 3 * usd);
    }
}

/* Open bounds and spending together, as the truth has them: never above the cap. */
static void
note_more(int64_t by)
{
    int64_t sum = atomic_fetch_add(&admitted_now, by) + by, most = atomic_load(&most_admitted);

    while (sum > most && !atomic_compare_exchange_weak(&most_admitted, &most, sum))
        continue;
}

static void *
random_calls(void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg;

    for (int i = 0; i < ROUNDS; i++) {
        int64_t bound = 1 + rand_r(&seed) % 1000, cost = rand_r(&seed) % (bound + 1);
        int64_t rest = cost + rand_r(&seed) % (bound - cost + 1);
        struct call c;
        struct budget_answer a = reserve(&c, 2, bound, now);

        if (a.verdict != BUDGET_FITS) {
            atomic_fetch_add(a.verdict == BUDGET_BUSY ? &busy_in_all : &exhausted_in_all, 1);
            continue;
        }
        note_more(bound);
        /* The truth shrinks before the counters do. */
        atomic_fetch_sub(&admitted_now, bound - rest);
        budget_change(slots, c.refs, c.tags, 2, rest - bound);
        c.reserved = rest;
        atomic_fetch_sub(&admitted_now, rest - cost);
        atomic_fetch_add(&spent_in_all, cost);
        settle(&c, 2, cost);
    }
    return NULL;
}

static void
random_calls_never_go_above_the_cap_and_add_up(void **state)
{
    for (int round = 0; round < 4; round++) {
        pthread_t threads[THREADS];
        int64_t cap = round % 2 == 0 ? 200000 : 3000;

        slots[0] = make(BUDGET_DAY, true, cap);
        slots[1] = make(BUDGET_WEEK, false, cap);
        atomic_store(&admitted_now, 0);
        atomic_store(&most_admitted, 0);
        atomic_store(&spent_in_all, 0);
        for (uintptr_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, random_calls,
                                 (void *)(i * 7919 + (uintptr_t)round)),
                0);
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        assert_true(atomic_load(&most_admitted) <= cap);
        assert_int_equal(budget_settled(&slots[0], now), atomic_load(&spent_in_all));
        assert_int_equal(budget_committed(&slots[0], now), atomic_load(&spent_in_all));
        assert_int_equal(budget_settled(&slots[1], now), atomic_load(&spent_in_all));
    }
    assert_true(atomic_load(&exhausted_in_all) > 0);
}

/* Small costs against large bounds: as long as the money is there, nobody is refused for good. */
static void *
patient_calls(void *arg)
{
    for (int done = 0; done < 50;) {
        struct call c;
        struct budget_answer a = reserve(&c, 1, 4000, now);

        if (a.verdict == BUDGET_EXHAUSTED)
            atomic_fetch_add(&exhausted_in_all, 1);
        if (a.verdict == BUDGET_EXHAUSTED)
            return NULL;
        if (a.verdict == BUDGET_FITS) {
            settle(&c, 1, 3);
            done++;
        }
    }
    return NULL;
}

static void
nobody_is_refused_for_good_while_there_is_money(void **state)
{
    pthread_t threads[THREADS];

    slots[0] = make(BUDGET_DAY, true, 10000);
    atomic_store(&exhausted_in_all, 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, patient_calls, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&exhausted_in_all), 0);
    assert_int_equal(budget_committed(&slots[0], now), THREADS * 50 * 3);
}

/* ---- a worker dies ---- */

enum { BOUND = 1000, SHRUNK = 400, COST = 150, OTHERS = 77 };

static char memory[1 << 14] __attribute__((aligned(64)));

/*
 * A call that is cut off after so many steps, in the order that the gateway takes them. Returns
 * whether there was one more.
 */
static bool
call_until(struct recorder *r, struct recorder_open *open, int steps)
{
    const struct price tier = {.input = 1000, .output = 1000};
    struct recorder_progress p = {.vendor_status = 200};

    open->bound_nano_usd = BOUND;
    open->prompt_bound = 600;
    open->output_bound = 400;
    open->tiers_n = 1;
    open->tiers[0] = tier;
    open->budgets_n = 1;
    open->limits[0] = open->limits[1] = LIMIT_NONE;
    open->opened_ms = now;
    budget_refs(slots, ids, 1, open->budgets);
#define STEP                                                                                       \
    if (steps-- == 0)                                                                              \
    return true
    STEP;
    recorder_slot_open(r, 0, open);
    STEP;
    assert_int_equal(
        budget_reserve(slots, open->budgets, 1, BOUND, now, p.budget_tags).verdict, BUDGET_FITS);
    STEP;
    p.counted = RECORDER_RESERVED;
    p.reserved_nano = BOUND;
    recorder_slot_progress(r, 0, &p);
    STEP;
    p.counts.input = 100;
    p.counts.output = 1;
    p.flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN;
    p.reserved_nano = recorder_remaining_bound(open, &p.counts, p.flags);
    recorder_slot_progress(r, 0, &p);
    STEP;
    budget_change(slots, open->budgets, p.budget_tags, 1, p.reserved_nano - BOUND);
    STEP;
    p.counts.output = 50;
    p.flags |= USAGE_FINAL | USAGE_COMPLETE;
    p.end = RECORDER_ENDED;
    p.counted = RECORDER_SETTLING;
    recorder_slot_progress(r, 0, &p);
    STEP;
    budget_settle(slots, open->budgets, p.budget_tags, 1, p.reserved_nano, recorder_cost(open, &p));
    STEP;
    p.counted = RECORDER_SETTLED;
    recorder_slot_close(r, 0, &p);
#undef STEP
    return false;
}

/* What purserd does for a slot whose worker died, and then with all sums. */
static void
recover(struct recorder *r)
{
    struct recorder_hold hold = {0};
    struct ledger_entry entry;
    int64_t booked = OTHERS;

    recorder_lane_reap(r, 0);
    if (recorder_slot_state(r, 0) == RECORDER_DONE) {
        assert_true(recorder_slot_hold(r, 0, &hold));
        assert_true(recorder_slot_read(r, 0, &entry));
        booked += entry.cost_nano_usd;
        if (hold.counted == RECORDER_RESERVED)
            budget_settle(slots, hold.budgets, hold.budget_tags, hold.budgets_n, hold.reserved_nano,
                entry.cost_nano_usd);
    }
    /* Whatever was ambiguous, the sums are never too small before the rebuild ... */
    assert_true(budget_committed(&slots[0], now) >= booked);
    /* ... which makes them what the ledger says. */
    assert_true(budget_set(&slots[0], budget_look(&slots[0]), now, booked, booked));
    assert_int_equal(budget_committed(&slots[0], now), booked);
    assert_int_equal(budget_settled(&slots[0], now), booked);
}

static void
after_a_death_at_any_step_the_sums_are_the_ledgers(void **state)
{
    bool more = true;

    for (int steps = 0; more; steps++) {
        struct recorder_open open = {0};
        struct recorder r;
        struct call other;

        memset(memory, 0, sizeof(memory));
        recorder_format(memory, 1, 1, (const uint8_t[16]){1});
        assert_true(recorder_attach(memory, recorder_bytes(1, 1), &r));
        slots[0] = make(BUDGET_DAY, true, 1000000);
        assert_int_equal(reserve(&other, 1, OTHERS, now).verdict, BUDGET_FITS);
        settle(&other, 1, OTHERS);
        more = call_until(&r, &open, steps);
        if (!more)
            assert_int_equal(budget_settled(&slots[0], now), OTHERS + COST);
        recover(&r);
    }
}

static void
a_reservation_shrinks_to_the_input_and_what_may_still_come(void **state)
{
    struct recorder_open open = {.bound_nano_usd = BOUND, .output_bound = 300, .tiers_n = 1};
    struct usage counts = {.input = 100};

    open.tiers[0] = (struct price){.input = 1000, .output = 1000};
    assert_int_equal(recorder_remaining_bound(&open, &counts, USAGE_INPUT_SEEN), SHRUNK);
    assert_int_equal(recorder_remaining_bound(&open, &counts, 0), BOUND);
    counts.input = 5000; /* more than can be: nothing is given back */
    assert_int_equal(recorder_remaining_bound(&open, &counts, USAGE_INPUT_SEEN), BOUND);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(periods_begin_and_end_when_the_calendar_says),
        TEST(no_instant_is_between_two_periods),
        TEST(three_bounds_fit_and_the_fourth_is_busy),
        TEST(a_bound_larger_than_the_limit_is_refused_for_good),
        TEST(a_new_period_begins_at_zero_and_old_calls_do_not_touch_it),
        TEST(a_clock_that_is_behind_does_not_bring_the_old_period_back),
        TEST(what_is_refused_by_one_budget_is_taken_from_none),
        TEST(a_warning_budget_counts_and_never_refuses),
        TEST(a_budget_that_took_the_place_of_another_is_not_touched),
        TEST(sums_stop_at_the_ends),
        TEST(a_rebuild_changes_nothing_when_somebody_counted_meanwhile),
        TEST(a_rebuild_does_not_lose_a_call_that_cost_its_bound),
        TEST(sums_of_long_ago_are_forgotten),
        TEST(the_sentence_names_bound_rest_and_reset),
        TEST(of_forty_at_once_exactly_three_are_admitted),
        TEST(random_calls_never_go_above_the_cap_and_add_up),
        TEST(nobody_is_refused_for_good_while_there_is_money),
        TEST(after_a_death_at_any_step_the_sums_are_the_ledgers),
        TEST(a_reservation_shrinks_to_the_input_and_what_may_still_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
