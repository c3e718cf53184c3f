/*
 * Adds up what a budget's sums must be, from the ledger, from calls that are done but not booked
 * and from what is open; for a budget that is new, and for one whose sums nobody can be sure of
 * since a worker died in the act of counting.
 */
#ifndef LEDGER_TALLY_H
#define LEDGER_TALLY_H

#include "core/counters.h"
#include "core/recorder.h"
#include "store/budget_row.h"

enum tally_outcome {
    TALLY_DONE,
    /*
     * The sums are right, and hold the bounds of calls that do not count in them by themselves: those
     * that began before the budget had its place, or counted in counters that are lost. When they
     * have ended, nobody takes them away but the next tally.
     */
    TALLY_AGAIN,
    TALLY_FAILED, /* too much went on: the sums stay as they were, try again later */
};

/* Call it while the drain is paused. */
enum err tally_budget(struct store *s, const struct recorder *r, struct counters *c,
    const struct budget_row *b, uint32_t slot, enum tally_outcome *ret, struct error *e) MUST_CHECK;

/* The same for the calls that rate limits think are open: of every limit that nobody moves now. */
void tally_concurrent(const struct recorder *r, struct counters *c);

#endif
