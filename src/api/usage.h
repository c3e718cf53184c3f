/* How sums over the ledger look in answers. */
#ifndef API_USAGE_H
#define API_USAGE_H

#include "api/json.h"
#include "store/anchor_row.h"
#include "store/usage_row.h"

/* calls, failed, inexact, the tokens by kind, cost_nano_usd. */
void usage_totals_fields(json_t *j, const struct ledger_totals *t);
/*
 * pruned_before_ms: calls that were booked before may be gone from the ledger, and so from the sums;
 * null when none of the time from from_ms on is concerned.
 */
void usage_pruned_field(json_t *j, int64_t until_ms, int64_t from_ms);
/* What a group is called: workspace_id and workspace_name, model, day_ms ... */
void usage_group_fields(json_t *j, enum usage_group by, struct str key, struct str label);

#endif
