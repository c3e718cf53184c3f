/* default_org_budget: an amount below what adds up safely, a known period; all else is refused. */
#include "daemon/budgets.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct budget_default before = {.limit_nano_usd = 7}, d = before;
    struct str text = {(const char *)data, n};

    if (!budget_default_parse(text, &d)) {
        ENSURE(memcmp(&d, &before, sizeof(d)) == 0);
        return 0;
    }
    if (str_equal(text, STR("none"))) {
        ENSURE(d.limit_nano_usd == -1);
        return 0;
    }
    ENSURE(d.limit_nano_usd >= 0 && d.limit_nano_usd < INT64_MAX / 2);
    ENSURE(budget_period_name(d.period).n > 0);
    ENSURE(d.hard || str_equal(str_slice(text, n - 5, n), STR(" warn")));
    return 0;
}
