/* What the two halves of runs share: how they begin (run.c) and how they live and end (run_life.c). */
#ifndef API_RUN_H
#define API_RUN_H

#include "api/impl.h"
#include "store/run_row.h"

/* Missing, another org's: ERR_NOT_FOUND; removed: ERR_GONE. */
enum err run_check_workspace(struct store_tx *tx, struct call *c, struct error *e) MUST_CHECK;
/* Appends an event of the call's workspace. */
enum err run_event(struct store_tx *tx, const struct call *c, struct str type, struct str json,
    struct error *e) MUST_CHECK;
/* {"run_id": ...}: what the events of a run say. */
struct str run_json(struct arena *arena, struct id run);

#endif
