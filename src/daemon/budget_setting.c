/* default_org_budget as it is written in the settings. */
#include "core/num.h"
#include "daemon/budgets.h"

/* "20" or "20.50" in nano-USD. */
static bool
usd_parse(struct str text, int64_t *ret)
{
    size_t dot = str_find_char(text, '.');
    struct str fraction = str_slice(text, dot < text.n ? dot + 1 : dot, text.n);
    uint64_t whole = 0, part = 0;

    if (!num_parse_u64(str_slice(text, 0, dot), &whole) || whole > 4500000 || fraction.n > 9 ||
        (dot < text.n && !num_parse_u64(fraction, &part)))
        return false;
    for (size_t i = fraction.n; i < 9; i++)
        part *= 10;
    *ret = (int64_t)(whole * 1000000000 + part);
    return true;
}

bool
budget_default_parse(struct str text, struct budget_default *ret)
{
    struct budget_default d = {.hard = true, .limit_nano_usd = -1};
    size_t space = str_find_char(text, ' '), slash = str_find_char(text, '/'), end;
    struct str rest;

    if (str_equal(text, STR("none"))) {
        *ret = d;
        return true;
    }
    if (slash == text.n || space > slash ||
        !str_equal(str_slice(text, space, slash), STR(" USD")) ||
        !usd_parse(str_slice(text, 0, space), &d.limit_nano_usd))
        return false;
    rest = str_slice(text, slash + 1, text.n);
    end = str_find_char(rest, ' ');
    if (!budget_period_from_name(str_slice(rest, 0, end), &d.period))
        return false;
    rest = str_slice(rest, end, rest.n);
    d.hard = rest.n == 0 || str_equal(rest, STR(" hard"));
    if (!d.hard && !str_equal(rest, STR(" warn")))
        return false;
    *ret = d;
    return true;
}
