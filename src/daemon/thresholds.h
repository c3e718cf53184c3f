/*
 * The thresholds of a budget: 50, 75, 90 and 100 per cent of its limit. Each is told once a period,
 * by whichever node sees it first.
 */
#ifndef DAEMON_THRESHOLDS_H
#define DAEMON_THRESHOLDS_H

#include "daemon/budgets.h"

/* What was told of a budget, as far as we remember. */
struct thresholds_told {
    int64_t period; /* -1: nothing was looked at yet */
    int n;          /* so many in that period */
};

static const struct thresholds_told thresholds_untold = {.period = -1};

/*
 * True when settled_nano passes a threshold that was not told. Only the highest is: those below it
 * are old news. Pure.
 */
bool thresholds_look(const struct budget_row *row, int64_t settled_nano, int64_t now_ms,
    struct thresholds_told *told, struct budgets_alert *ret);

/*
 * Writes the event, unless the threshold was told before (*ret_new false): by an earlier purserd, or
 * by another node.
 */
enum err thresholds_note(
    struct store *s, const struct budgets_alert *alert, bool *ret_new, struct error *e) MUST_CHECK;

#endif
