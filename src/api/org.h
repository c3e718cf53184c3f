/* Orgs: what their handlers share. */
#ifndef API_ORG_H
#define API_ORG_H

#include "api/impl.h"
#include "store/org_deletion_row.h"
#include "store/org_row.h"

json_t *org_json(const struct org_row *o);
/* The org of the path, by id or slug. ERR_NOT_FOUND names what was asked for. */
enum err org_find_tx(
    struct store_tx *tx, struct call *c, struct org_row *ret, struct error *e) MUST_CHECK;

/*
 * What suspends an org: from the moment the store says so its tokens are refused and nothing of it
 * starts. Then the gateway forgets its usage tokens, its agents are stopped, and the gateway is told
 * once more, for a start that was under way. Again on an org that is suspended: what was left
 * undone. *ret_stopped: agents that were stopped.
 */
enum err org_suspend_now(
    struct api *a, struct id org, size_t *ret_stopped, struct error *e) MUST_CHECK;
/* When purserd starts: agents of suspended orgs that a crash left running. */
enum err org_suspended_settle(struct api *a, struct error *e) MUST_CHECK;

/* What an export gave: rows by table, and the digest of its lines. */
struct org_export {
    json_t *rows; /* the caller's */
    uint8_t digest[EXPORT_DIGEST_BYTES];
};
/*
 * Writes the org's export to fd, which is emptied first; fd -1: only counts and digests. One line of
 * JSON per row, the last one with the counts and the digest of all before it. Memory is bounded.
 */
enum err org_export_write(
    struct store_tx *tx, struct id org, int fd, struct org_export *ret, struct error *e) MUST_CHECK;

#endif
