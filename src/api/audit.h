/*
 * What was decided and booked, as JSON: one form for the routes and for `purser audit` on a state
 * directory.
 */
#ifndef API_AUDIT_H
#define API_AUDIT_H

#include "api/json.h"
#include "store/audit_row.h"

/* A decision record: {id, type, kind, code, mode ... hash, record}. */
json_t *audit_decision_json(const struct decision_row *d);
/*
 * Records, newest first: {decisions: [..], next: id | null}; next is given as "before" to get the
 * next page.
 */
json_t *audit_page_json(const struct decision_row *rows, size_t n, size_t max);
/* {valid, chains: [{chain, org_id, org_slug, node_id, entries, head, valid, why}], cannot_show}. */
json_t *audit_chains_json(const struct audit_chain *chains, size_t n);

#endif
