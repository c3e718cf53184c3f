/* The machines on one store, for the operator who looks at them and gives one up. */
#ifndef STORE_NODE_ROW_H
#define STORE_NODE_ROW_H

#include "store/store.h"

struct node_row {
    struct id id;
    int64_t created_ms;
    int64_t last_seen_ms; /* its purserd said that it runs */
    int64_t workspaces;   /* that are not removed */
    int64_t up;           /* of these: whose agent is said to run */
};

/* Oldest first. */
enum err node_row_list(struct store_tx *tx, struct arena *a, struct node_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;
/*
 * Its workspaces become this node's, without a uid, and its row goes: what it held of budgets
 * beyond what it is known to have spent is free again. Its entries in the ledger and the chains they
 * are in stay as they are. *ret: the workspaces that are not removed.
 */
enum err node_row_take_over(struct store_tx *tx, struct id node, struct arena *a, struct id **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;

#endif
