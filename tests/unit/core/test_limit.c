#include "unit.h"

#include "core/counters.h"

static const int64_t now = 1795341600000;
static struct limit_slot slots[2];
static const uint32_t both[] = {0, 1}, first[] = {0, LIMIT_NONE};

static void
make(int i, uint32_t requests, uint32_t tokens, uint32_t concurrent)
{
    memset(&slots[i], 0, sizeof(slots[i]));
    limit_put(&slots[i], (const uint8_t[16]){(uint8_t)(i + 1)}, requests, tokens, concurrent);
}

static enum limit_verdict
enter(const uint32_t *which, int64_t at)
{
    return limit_enter(slots, which, 2, false, at).verdict;
}

static void
a_minutes_worth_comes_at_once_and_room_comes_back_evenly(void **state)
{
    struct limit_answer a;

    make(0, 6, 0, 0);
    for (int i = 0; i < 6; i++)
        assert_int_equal(enter(first, now), LIMIT_FITS);
    a = limit_enter(slots, first, 2, false, now);
    assert_int_equal(a.verdict, LIMIT_REQUESTS);
    assert_int_equal(a.limit, 6);
    assert_in_range(a.retry_after_ms, 10000, 10001);
    assert_int_equal(enter(first, now + 9999), LIMIT_REQUESTS);
    assert_int_equal(enter(first, now + 10000), LIMIT_FITS);
    assert_int_equal(enter(first, now + 10000), LIMIT_REQUESTS);
    for (int i = 0; i < 6; i++)
        assert_int_equal(enter(first, now + 200000), LIMIT_FITS);
}

static void
a_further_attempt_is_no_further_request(void **state)
{
    make(0, 1, 0, 0);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    assert_int_equal(limit_enter(slots, first, 2, true, now).verdict, LIMIT_FITS);
    assert_int_equal(enter(first, now), LIMIT_REQUESTS);
}

static void
tokens_are_charged_when_they_are_known(void **state)
{
    make(0, 0, 1000, 0);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    limit_leave(slots, first, 2, now, 900);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    limit_leave(slots, first, 2, now, 5000);
    assert_int_equal(enter(first, now), LIMIT_TOKENS);
    /* 5,900 tokens were used: 4,900 too many, and one must be free. */
    assert_in_range(
        limit_enter(slots, first, 2, false, now).retry_after_ms, 4900 * 60, 4900 * 60 + 1);
    assert_int_equal(enter(first, now + 4900 * 60 + 1), LIMIT_FITS);
    limit_leave(slots, first, 2, now + 4900 * 60, INT64_MAX);
    assert_int_equal(enter(first, now + 4900 * 60), LIMIT_TOKENS);
}

static void
calls_at_one_time_are_counted_and_given_back(void **state)
{
    make(0, 0, 0, 2);
    make(1, 0, 0, 3);
    assert_int_equal(enter(both, now), LIMIT_FITS);
    assert_int_equal(enter(both, now), LIMIT_FITS);
    assert_int_equal(enter(both, now), LIMIT_CONCURRENT);
    assert_int_equal(limit_look(&slots[0]), 2);
    assert_int_equal(limit_look(&slots[1]), 2);
    limit_leave(slots, both, 2, now, 0);
    assert_int_equal(enter(both, now), LIMIT_FITS);
    /* The second refuses: the first is left as it was. */
    limit_leave(slots, both, 2, now, 0);
    limit_put(&slots[1], slots[1].id, 0, 0, 1);
    assert_int_equal(enter(both, now), LIMIT_CONCURRENT);
    assert_int_equal(limit_look(&slots[0]), 1);
    assert_false(limit_set(&slots[0], 7, 0));
    assert_true(limit_set(&slots[0], 1, 0));
}

static void
what_another_limit_refuses_is_no_request(void **state)
{
    make(0, 3, 0, 0);
    make(1, 1, 0, 0);
    assert_int_equal(enter(both, now), LIMIT_FITS);
    for (int i = 0; i < 10; i++)
        assert_int_equal(enter(both, now), LIMIT_REQUESTS);
    /* Nor is a call that its budget refuses. */
    for (int i = 0; i < 10; i++) {
        assert_int_equal(enter(first, now), LIMIT_FITS);
        limit_cancel(slots, first, 2, false);
    }
    /* A further attempt was no request, so it gives none back. */
    assert_int_equal(limit_enter(slots, first, 2, true, now).verdict, LIMIT_FITS);
    limit_cancel(slots, first, 2, true);
    assert_int_equal(limit_look(&slots[0]), 1);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    assert_int_equal(enter(first, now), LIMIT_REQUESTS);
}

static void
a_clock_that_is_set_back_locks_nobody_out(void **state)
{
    const int64_t hour = 3600 * 1000;

    make(0, 2, 0, 0);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    assert_int_equal(enter(first, now), LIMIT_FITS);
    assert_int_equal(enter(first, now - hour), LIMIT_REQUESTS);
    assert_in_range(limit_enter(slots, first, 2, false, now - hour).retry_after_ms, 1, 30001);
    assert_int_equal(enter(first, now - hour + 30001), LIMIT_FITS);
    make(1, 0, 10, 0);
    limit_leave(slots + 1, first, 2, now, 20);
    assert_int_equal(limit_enter(slots + 1, first, 2, false, now - hour).verdict, LIMIT_TOKENS);
    limit_forget(&slots[1]);
    assert_int_equal(limit_enter(slots + 1, first, 2, false, now - hour).verdict, LIMIT_FITS);
}

/* However much is charged, and by how many: a day later it is over. */
static void
tokens_are_owed_for_a_day_at_most(void **state)
{
    const int64_t day = 24 * 3600 * 1000;

    make(0, 0, 1, 0);
    for (int i = 0; i < 200000; i++)
        limit_leave(slots, first, 2, now, INT64_MAX);
    atomic_store(&slots[0].concurrent, 0);
    assert_in_range(limit_enter(slots, first, 2, false, now).retry_after_ms, day - 60000, day);
    assert_int_equal(enter(first, now + day), LIMIT_FITS);
}

static void
without_numbers_nothing_is_refused(void **state)
{
    make(0, 0, 0, 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(enter(first, now), LIMIT_FITS);
}

static void
only_whole_counters_of_this_version_are_attached(void **state)
{
    size_t bytes = counters_bytes(4, 8);
    char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    struct counters made, found;

    memset(memory, 0, bytes);
    assert_false(counters_attach(memory, bytes, &found));
    counters_format(memory, 4, 8, 77, &made);
    assert_false(counters_attach(memory, bytes - 1, &found));
    assert_true(counters_attach(memory, bytes, &found));
    assert_ptr_equal(found.limits, made.limits);
    assert_ptr_equal((char *)(found.limits + 8), memory + bytes);
    assert_int_equal(found.header->generation, 77);
    made.header->limits_n = 9;
    assert_false(counters_attach(memory, bytes, &found));
    made.header->limits_n = 8;
    made.header->version++;
    assert_false(counters_attach(memory, bytes, &found));
    assert_int_equal(counters_bytes(0, 8), 0);
    free(memory);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_minutes_worth_comes_at_once_and_room_comes_back_evenly),
        TEST(a_further_attempt_is_no_further_request),
        TEST(tokens_are_charged_when_they_are_known),
        TEST(calls_at_one_time_are_counted_and_given_back),
        TEST(what_another_limit_refuses_is_no_request),
        TEST(a_clock_that_is_set_back_locks_nobody_out),
        TEST(tokens_are_owed_for_a_day_at_most),
        TEST(without_numbers_nothing_is_refused),
        TEST(only_whole_counters_of_this_version_are_attached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
