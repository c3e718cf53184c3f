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

/*
 * Call it while the drain is paused. *ret_done false: too much went on, the sums stay as they were;
 * try again later.
 */
enum err tally_budget(struct store *s, const struct recorder *r, struct counters *c,
    const struct budget_row *b, uint32_t slot, bool *ret_done, struct error *e) MUST_CHECK;

/* The same for the calls that rate limits think are open: of every limit that nobody moves now. */
void tally_concurrent(const struct recorder *r, struct counters *c);

#endif
