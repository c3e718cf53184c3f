/* What a scrape of the metrics shows of the daemon's state just then. */
#ifndef DAEMON_METRICS_GAUGES_H
#define DAEMON_METRICS_GAUGES_H

#include "core/registry.h"
#include "daemon/budgets.h"
#include "daemon/metrics.h"

struct metrics_sources {
    struct store *store;
    struct edge *edge;
    struct drain *drain;
    struct budgets *budgets;
    const struct registry *const *registry;
};

/* metrics_gauges_fn; ctx is a struct metrics_sources. */
void metrics_gauges(void *ctx, struct buf *out);

#endif
