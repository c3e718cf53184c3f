/*
 * The keeper of budgets: brings what the store says to the gateway's counters, adds sums up anew
 * where a dead worker left them unsure, and tells when a budget passes 50, 75, 90 and 100 per cent.
 * A thread of its own.
 */
#ifndef DAEMON_BUDGETS_H
#define DAEMON_BUDGETS_H

#include "edge/edge.h"
#include "ledger/drain.h"
#include "store/budget_row.h"

struct budgets;

/* A threshold was passed. The store has it already; must not block. */
struct budgets_alert {
    struct budget_row budget;
    int percent;
    int64_t settled_nano;
    int64_t at_ms;
    int64_t resets_ms; /* 0: never */
};
typedef void budgets_alert_fn(void *ctx, const struct budgets_alert *a);

struct budgets_options {
    struct store *store;
    struct edge *edge;
    struct drain *drain;
    struct budget_default fallback;
    int64_t policy_max_age_ms; /* so long the gateway, and we, go on without the store */
    budgets_alert_fn *alert;   /* may be NULL */
    void *alert_ctx;
};

/* Every budget is in force when this returns. */
enum err budgets_open(
    const struct budgets_options *o, struct budgets **ret, struct error *e) MUST_CHECK;
/* The gateway goes on with the counters as they are. NULL is fine. */
void budgets_close(struct budgets *b);

/* The store's budgets or limits changed (api_budgets_changed_fn; ctx is the struct budgets). */
enum err budgets_refresh(void *ctx, struct error *e) MUST_CHECK;
/* Another node changed them: soon, not now. */
void budgets_refresh_soon(struct budgets *b);
/* The org's sums are to be added up anew from the ledger (a call was corrected); soon, not now. */
void budgets_recount(void *ctx, struct id org);
/* api_budget_sums_fn. */
bool budgets_sums(void *ctx, struct id budget, int64_t *ret_settled, int64_t *ret_committed);

/* One budget of each row, for metrics. Called with a lock held: do not call back. */
typedef void budgets_each_fn(
    void *ctx, const struct budget_row *b, int64_t settled_nano, int64_t committed_nano);
void budgets_each(struct budgets *b, budgets_each_fn *each, void *ctx);

/*
 * "20 USD/day", "20 USD/day warn", "none". False when it is none of these forms. Pure.
 */
bool budget_default_parse(struct str text, struct budget_default *ret);

#endif
