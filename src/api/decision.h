/* Decision records: what was decided, from what, and why, as text that stays. Names only, never
 * values. */
#ifndef API_DECISION_H
#define API_DECISION_H

#include "api/plan.h"
#include "store/decision_row.h"

/* The record's layout; api/replay.c reads what decision_record() writes. */
enum { DECISION_RECORD_VERSION = 1 };

/*
 * The row to append: inputs, result, trace and plan in canonical JSON (sorted keys). plan is what
 * the gathered inputs led to; NULL when they could not be read. refusal ERR_OK: none. The record
 * alone, with a registry, is enough to decide and to plan again.
 */
void decision_record(struct arena *arena, const struct registry *r, const struct gathered *g,
    const struct plan *plan, enum decision_kind kind, enum err refusal, struct id id,
    struct decision_row *ret);

#endif
