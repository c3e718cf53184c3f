/* What a refused call is told about the budget. */
#include "core/budget.h"

static const struct str period_words[BUDGET_PERIOD_COUNT] = {
    [BUDGET_HOUR] = STR_INIT(" this hour "),
    [BUDGET_DAY] = STR_INIT(" today "),
    [BUDGET_WEEK] = STR_INIT(" this week "),
    [BUDGET_MONTH] = STR_INIT(" this month "),
    [BUDGET_TOTAL] = STR_INIT(" in total "),
};

struct out {
    char *p;
    size_t n;
};

static void
put(struct out *o, struct str s)
{
    size_t room = BUDGET_SENTENCE_MAX - o->n, n = s.n < room ? s.n : room;

    if (n > 0)
        memcpy(o->p + o->n, s.p, n);
    o->n += n;
}

/* At least so many digits. */
static void
put_number(struct out *o, int64_t number, unsigned digits)
{
    char text[20];
    size_t at = sizeof(text);

    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (at > 0 && (number > 0 || sizeof(text) - at < digits));
    put(o, (struct str){text + at, sizeof(text) - at});
}

/* To a hundredth of a cent: enough to see what is missing. */
static void
put_usd(struct out *o, int64_t nano, bool up)
{
    int64_t parts = nano <= 0 ? 0 : (nano + (up ? 99999 : 0)) / 100000;

    put_number(o, parts / 10000, 1);
    put(o, STR("."));
    put_number(o, parts % 10000, 4);
    put(o, STR(" USD"));
}

static void
put_time(struct out *o, int64_t ms)
{
    int64_t minutes = ms / 60000 % (24 * 60);
    int64_t month = budget_period_number(BUDGET_MONTH, ms);
    int64_t day = (ms - budget_period_start(BUDGET_MONTH, month)) / (24 * 3600 * 1000) + 1;

    put_number(o, 1970 + month / 12, 4);
    put(o, STR("-"));
    put_number(o, month % 12 + 1, 2);
    put(o, STR("-"));
    put_number(o, day, 2);
    put(o, STR(" "));
    put_number(o, minutes / 60, 2);
    put(o, STR(":"));
    put_number(o, minutes % 60, 2);
    put(o, STR(" UTC"));
}

size_t
budget_sentence(const struct budget_slot *b, const struct budget_answer *a, int64_t bound_nano,
    char ret[static BUDGET_SENTENCE_MAX])
{
    struct out o = {ret, 0};
    bool busy = a->verdict == BUDGET_BUSY;

    put(&o, STR("this call can cost up to "));
    put_usd(&o, bound_nano, true);
    put(&o, STR(", but of the "));
    put_usd(&o, a->limit_nano, false);
    put(&o,
        b->scope == BUDGET_ORG ? STR(" that the organisation may spend")
                               : STR(" that the workspace may spend"));
    put(&o, period_words[b->period]);
    put_usd(&o, a->limit_nano - (busy ? a->committed_nano : a->settled_nano), false);
    put(&o, busy ? STR(" is free while other calls run") : STR(" is left"));
    if (!busy && a->resets_ms != 0) {
        put(&o, STR(" until "));
        put_time(&o, a->resets_ms);
    }
    return o.n;
}
