/*
 * The one mover: every change of a workspace's status and of what is wanted of it goes through
 * here, inside the caller's transaction, by the table of core/lifecycle.h; and what changes is told
 * by an event in the same transaction.
 */
#ifndef API_MOVE_H
#define API_MOVE_H

#include "api/impl.h"

struct move {
    struct id org;
    struct id workspace;
    enum lifecycle_event event;
    struct str code; /* the last error afterwards; empty: none */
    struct str text;
    struct str details; /* of the event: a JSON object; empty: {} */
    bool counts_on;     /* LIFECYCLE_START: one of several in a row; their number is kept */
    int64_t restarts;   /* LIFECYCLE_END_AGAIN: that number */
    int64_t due_ms;     /* LIFECYCLE_END_AGAIN: when it is to be started again */
};

/*
 * ERR_CONFLICT when that cannot happen to a workspace in its status, ERR_GONE when it is removed.
 * *ret_effect (may be NULL) says whether something changed.
 */
enum err move_tx(struct store_tx *tx, struct arena *arena, const struct move *m,
    enum lifecycle_effect *ret_effect, struct error *e) MUST_CHECK;
/*
 * What is wanted from now on; the status follows when it is so. start_due_ms: it is to be started
 * (again) at that time, whatever happens to us meanwhile; 0: it is not. Cannot be told by an event:
 * nothing has happened yet.
 */
enum err move_wish_tx(struct store_tx *tx, struct arena *arena, struct id org, struct id workspace,
    enum workspace_desired desired, int64_t start_due_ms, struct error *e) MUST_CHECK;
/* For details: compact text of j in the arena. Takes over j. */
struct str move_details(struct arena *arena, json_t *j);

#endif
