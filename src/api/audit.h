/*
 * What was decided and booked, as JSON: one form for the routes and for `purser audit` on a state
 * directory.
 */
#ifndef API_AUDIT_H
#define API_AUDIT_H

#include "api/json.h"
#include "store/checkpoint_row.h"

/* A decision record: {id, type, kind, code, mode ... hash, record}. */
json_t *audit_decision_json(const struct decision_row *d);
/*
 * Records, newest first: {decisions: [..], next: id | null}; next is given as "before" to get the
 * next page.
 */
json_t *audit_page_json(const struct decision_row *rows, size_t n, size_t max);
/*
 * {valid, chains: [{chain, org_id, org_slug, node_id, entries, head, pruned: null | {entries,
 * until_ms, pruned_ms, checkpoint}, valid, why}], checkpoints: {count, valid, why, keys}, cannot_show}.
 */
json_t *audit_chains_json(
    const struct audit_chain *chains, size_t n, const struct checkpoint_summary *checkpoints);
/* {checkpoints: [{node_id, number, org_id, chain, seq, hash, created_ms, public_key, signature}]}. */
json_t *audit_checkpoints_json(const struct checkpoint_row *rows, size_t n);
/* One of these, as it was exported. ERR_INVALID_REQUEST. */
enum err audit_checkpoint_read(json_t *j, struct checkpoint_row *ret, struct error *e) MUST_CHECK;

#endif
