/* Decision records: what was decided, from what, and why, as text that stays. Names only, never
 * values. */
#ifndef API_DECISION_H
#define API_DECISION_H

#include "api/plan.h"
#include "store/decision_row.h"

/*
 * The row to append: inputs, result, trace and plan in canonical JSON (sorted keys). plan is what
 * the gathered inputs led to; NULL when they could not be read. refusal ERR_OK: none.
 */
void decision_record(struct arena *arena, const struct registry *r, const struct gathered *g,
    const struct plan *plan, enum decision_kind kind, enum err refusal, struct id id,
    struct decision_row *ret);

#endif
