/*
 * Prometheus metrics on a listener of their own. What is counted comes from booked rows: calls,
 * tokens, cost, certainty, latency; beside it the state of recorder, drain, policy and budgets. No
 * secret, and a bounded number of series: providers and models beyond the first METRICS_SERIES_MAX
 * are counted together as "other".
 */
#ifndef DAEMON_METRICS_H
#define DAEMON_METRICS_H

#include "base/buf.h"
#include "core/ledger.h"

enum { METRICS_SERIES_MAX = 256, METRICS_BUCKETS = 12 };

struct metrics;

/* Writes what is not counted here: gauges of the daemon. Called for each scrape. */
typedef void metrics_gauges_fn(void *ctx, struct buf *out);

/* Counting can begin. */
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* drain_booked_fn; ctx is the struct metrics. */
void metrics_count(void *ctx, const struct ledger_entry *entry);
/* The whole text (exposition format 0.0.4), without the gauges. */
void metrics_render(struct metrics *m, struct buf *out);

/* "127.0.0.1:9464"; empty: no listener. ERR_PORT_IN_USE. */
enum err metrics_listen(struct metrics *m, struct str address, metrics_gauges_fn *gauges, void *ctx,
    struct error *e) MUST_CHECK;
/* No scrape is answered any more. */
void metrics_unlisten(struct metrics *m);

/* "# HELP", "# TYPE" and, for one number without labels, its line. */
void metrics_head(struct buf *out, const char *name, const char *type, const char *help);
/* A label's value with what would leave the quotes escaped. */
void metrics_label(struct buf *out, struct str value);

#endif
