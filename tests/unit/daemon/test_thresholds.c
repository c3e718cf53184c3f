#include "unit.h"

#include "daemon/thresholds.h"

static const int64_t now = INT64_C(1795305600000), day = 24 * 3600 * 1000;

static int
told_at(struct thresholds_told *told, int64_t spent, int64_t at_ms)
{
    const struct budget_row row = {.period = BUDGET_DAY, .limit_nano_usd = 1000};
    struct budgets_alert a = {.percent = 0};

    return thresholds_look(&row, spent, at_ms, told, &a) ? a.percent : 0;
}

static void
each_threshold_is_told_once_and_only_the_highest_that_was_passed(void **state)
{
    static const struct {
        int64_t spent;
        int percent;
    } steps[] = {
        {0, 0}, {499, 0}, {500, 50}, {749, 0}, {750, 75}, {760, 0}, {1000, 100}, {5000, 0}};
    struct thresholds_told told = thresholds_untold;

    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
        assert_int_equal(told_at(&told, steps[i].spent, now), steps[i].percent);
    assert_int_equal(told_at(&told, 899, now + day), 75);
    assert_int_equal(told_at(&told, 900, now + day), 90);
    /* Spent less by a correction, and again. */
    assert_int_equal(told_at(&told, 100, now + day), 0);
    assert_int_equal(told_at(&told, 950, now + day), 0);
}

static void
what_could_not_be_written_down_is_told_again(void **state)
{
    struct thresholds_told told = thresholds_untold;

    assert_int_equal(told_at(&told, 800, now), 75);
    assert_int_equal(told_at(&told, 800, now), 0);
    told = thresholds_untold;
    assert_int_equal(told_at(&told, 800, now), 75);
}

static void
no_limit_and_large_numbers_are_no_trouble(void **state)
{
    struct thresholds_told told = thresholds_untold;
    struct budget_row row = {.period = BUDGET_TOTAL};
    struct budgets_alert a;

    assert_false(thresholds_look(&row, 5, now, &told, &a));
    row.limit_nano_usd = BUDGET_SUM_MAX;
    assert_true(thresholds_look(&row, BUDGET_SUM_MAX, now, &told, &a));
    assert_int_equal(a.percent, 100);
    assert_int_equal(a.resets_ms, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_threshold_is_told_once_and_only_the_highest_that_was_passed),
        TEST(what_could_not_be_written_down_is_told_again),
        TEST(no_limit_and_large_numbers_are_no_trouble),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
