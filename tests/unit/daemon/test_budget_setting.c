#include "unit.h"

#include "daemon/budgets.h"

static void
a_default_budget_is_read_or_refused(void **state)
{
    static const struct {
        const char *text;
        bool good, hard;
        enum budget_period period;
        int64_t nano;
    } cases[] = {
        {"20 USD/day", true, true, BUDGET_DAY, 20000000000},
        {"0.50 USD/hour hard", true, true, BUDGET_HOUR, 500000000},
        {"500 USD/month warn", true, false, BUDGET_MONTH, 500000000000},
        {"0 USD/total", true, true, BUDGET_TOTAL, 0},
        {"none", true, true, BUDGET_HOUR, -1},
        {"", false},
        {"20", false},
        {"20 USD", false},
        {"20 EUR/day", false},
        {"20 USD/year", false},
        {"-1 USD/day", false},
        {"20. USD/day", false},
        {"20 USD/day soft", false},
        {"20USD/day", false},
        {"9999999 USD/day", false},
        {"1.0000000001 USD/day", false},
        {"/", false},
        {" USD/day", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct budget_default d = {0};

        if (budget_default_parse(str_from_cstr(cases[i].text), &d) != cases[i].good)
            fail_msg("\"%s\"", cases[i].text);
        if (!cases[i].good)
            continue;
        assert_int_equal(d.limit_nano_usd, cases[i].nano);
        assert_int_equal(d.hard, cases[i].hard);
        if (cases[i].nano >= 0)
            assert_int_equal(d.period, cases[i].period);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_default_budget_is_read_or_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
