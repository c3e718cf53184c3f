/*
 * Budgets: caps on what an org or one of its workspaces may spend in a period. An org without a
 * budget of its own has the deployment's default, unless it was exempted.
 */
#ifndef STORE_BUDGET_ROW_H
#define STORE_BUDGET_ROW_H

#include "core/budget.h"
#include "store/store.h"

struct budget_row {
    struct id id; /* set by the store; the org's own id for the default budget */
    struct id org;
    struct id workspace; /* zero: the whole org's */
    enum budget_period period;
    bool hard; /* otherwise it only warns */
    int64_t limit_nano_usd;
    bool is_default; /* the deployment's, not a row */
};

/* What orgs without a budget of their own have. limit_nano_usd negative: there is no default. */
struct budget_default {
    enum budget_period period;
    bool hard;
    int64_t limit_nano_usd;
};

/*
 * Puts or replaces the budget of that scope and period; it keeps its id, so what was spent counts.
 * ERR_NOT_FOUND without such an org or workspace.
 */
enum err budget_row_put(
    struct store_tx *tx, const struct budget_row *b, struct error *e) MUST_CHECK;
/* All of that scope; workspace zero: those of the org itself. */
enum err budget_row_clear(
    struct store_tx *tx, struct id org, struct id workspace, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND when there is none. */
enum err budget_row_remove(struct store_tx *tx, struct id org, struct id workspace,
    enum budget_period period, struct error *e) MUST_CHECK;

/* May the org do without? The default does not hold for it while this is set. */
enum err budget_row_exempt(
    struct store_tx *tx, struct id org, bool exempt, struct error *e) MUST_CHECK;
enum err budget_row_is_exempt(
    struct store_tx *tx, struct id org, bool *ret, struct error *e) MUST_CHECK;

/*
 * The budgets in force, the default among them: the org's and all its workspaces'; workspace not
 * zero: the org's and this one's. org zero: of all orgs (for the gateway's counters only).
 */
enum err budget_row_list(struct store_tx *tx, struct id org, struct id workspace,
    const struct budget_default *d, struct arena *a, struct budget_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;

/* What the ledger says was spent in the budget's period that holds now_ms. */
enum err budget_row_spent(struct store_tx *tx, const struct budget_row *b, int64_t now_ms,
    int64_t *ret_nano_usd, struct error *e) MUST_CHECK;

/* The same of what this node's gateway has spent: the lease of a shared hard budget covers it. */
enum err budget_row_spent_here(struct store_tx *tx, const struct budget_row *b, int64_t now_ms,
    int64_t *ret_nano_usd, struct error *e) MUST_CHECK;

/* Notes that a threshold was told. *ret_new false: it was told before, in the same period. */
enum err budget_alert_note(struct store_tx *tx, struct id budget, int64_t period_number,
    int percent, bool *ret_new, struct error *e) MUST_CHECK;

#endif
