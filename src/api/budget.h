/* Budgets with what is spent and left, as answers show them. */
#ifndef API_BUDGET_H
#define API_BUDGET_H

#include "api/impl.h"
#include "store/budget_row.h"

/* [{id, scope, workspace_id, period, mode, limit_nano_usd, spent_.., open_.., left_.. ...}]. */
struct budget_view {
    struct budget_row row;
    int64_t spent; /* nano-USD in the period that runs */
    int64_t open;  /* reserved by calls under way */
};
enum err budget_views(struct store_tx *tx, struct call *c, struct id workspace,
    struct budget_view **ret, size_t *ret_n, struct error *e) MUST_CHECK;
json_t *budget_views_json(const struct budget_view *views, size_t n);

/* The new budgets are in force in the gateway when this returns. */
enum err budgets_changed(struct api *a, struct error *e) MUST_CHECK;

/*
 * Puts (limit_cents >= 0) or removes the workspace's monthly budget, which is its "budget_limit".
 * For the transaction that writes the workspace.
 */
enum err budget_put_monthly(
    struct store_tx *tx, const struct workspace_row *w, struct error *e) MUST_CHECK;

enum { BUDGET_NANO_PER_CENT = 10000000 };

#endif
