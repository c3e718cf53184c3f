/*
 * Retention: removes what is older than the settings say it is to be kept, at the start and once an
 * hour, in small portions. On a store that several nodes share each prunes its own chains; what is
 * in no chain, whoever comes first. A thread of its own.
 */
#ifndef DAEMON_RETENTION_H
#define DAEMON_RETENTION_H

#include "daemon/checkpoints.h"
#include "edge/edge.h"

struct retention;

/* Days of 0: for ever. */
struct retention_options {
    struct store *store;
    struct edge *edge;
    struct checkpoints *checkpoints; /* signs anchors */
    int64_t ledger_days, decisions_days, events_days, logs_days;
    const char *state_dir; /* access.log and agents' logs; stays valid */
};

struct retention *retention_start(const struct retention_options *o);
/* Ends the round that runs, portion by portion. NULL is fine. */
void retention_stop(struct retention *r);

#endif
