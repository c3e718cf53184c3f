#include "daemon/thresholds.h"

#include "base/cleanup.h"
#include "store/event_row.h"

static const int percents[] = {50, 75, 90, 100};

enum { THRESHOLDS = sizeof(percents) / sizeof(percents[0]) };

bool
thresholds_look(const struct budget_row *row, int64_t settled_nano, int64_t now_ms,
    struct thresholds_told *told, struct budgets_alert *ret)
{
    int64_t period = budget_period_number(row->period, now_ms);
    int passed = 0;

    if (told->period != period)
        *told = (struct thresholds_told){.period = period};
    while (passed < THRESHOLDS && row->limit_nano_usd > 0 &&
        (__int128)settled_nano * 100 >= (__int128)row->limit_nano_usd * percents[passed])
        passed++;
    if (passed <= told->n)
        return false;
    told->n = passed;
    *ret = (struct budgets_alert){.budget = *row,
        .percent = percents[passed - 1],
        .settled_nano = settled_nano,
        .at_ms = now_ms,
        .resets_ms =
            row->period == BUDGET_TOTAL ? 0 : budget_period_start(row->period, period + 1)};
    return true;
}

struct noting {
    const struct budgets_alert *alert;
    bool is_new;
};

static enum err
note_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct noting *n = ctx;
    const struct budgets_alert *x = n->alert;
    const struct budget_row *r = &x->budget;
    AUTO_ARENA struct arena a = {0};
    struct event_row event = {.org = r->org,
        .workspace = r->workspace,
        .type = STR("budget.alert"),
        .created_ms = x->at_ms};
    enum err err = budget_alert_note(
        tx, r->id, budget_period_number(r->period, x->at_ms), x->percent, &n->is_new, e);

    if (err != ERR_OK || !n->is_new)
        return err;
    event.json = arena_printf(&a,
        "{\"percent\":%d,\"period\":\"%.*s\",\"mode\":\"%s\",\"limit_nano_usd\":%lld,"
        "\"spent_nano_usd\":%lld}",
        x->percent, STR_ARG(budget_period_name(r->period)), r->hard ? "hard" : "warn",
        (long long)r->limit_nano_usd, (long long)x->settled_nano);
    return event_row_append(tx, &event, NULL, e);
}

enum err
thresholds_note(struct store *s, const struct budgets_alert *alert, bool *ret_new, struct error *e)
{
    struct noting n = {.alert = alert};
    enum err err = store_tx(s, note_tx, &n, e);

    if (err == ERR_OK)
        *ret_new = n.is_new;
    return err;
}
