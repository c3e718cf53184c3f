/*
 * The shim's long part: watches one running agent until nothing of it is left. Keeps its log,
 * answers the control socket, stops it when asked, collects its exit status.
 */
#ifndef LAUNCH_GUARD_H
#define LAUNCH_GUARD_H

#include "launch/agentlog.h"
#include "launch/record.h"
#include "launch/scrub.h"

enum { GUARD_MAX_CONNECTIONS = 16 };

struct guard {
    int shims; /* RUN/shims */
    int file;  /* the run file, locked */
    int listen;
    int signals; /* signalfd: SIGCHLD, SIGTERM */
    int output;  /* read end, non-blocking */
    struct record record;
    struct scrub *scrub;
    struct agentlog log;
    char *engine; /* of the agent's container, ours; NULL: it is in none */
    int connections[GUARD_MAX_CONNECTIONS];
    int64_t kill_at_ms; /* monotonic; 0: no stop asked for */
    bool ending;        /* the agent's process is gone or is to go at once */
};

/* Nothing open. */
void guard_init(struct guard *g);
/* Closes everything, the lock before the connections: who sees its connection end may start anew.
 */
void guard_done(struct guard *g);
/* Returns when all of the agent's processes are gone and the final record is written. */
void guard_run(struct guard *g);
/* Writes the final record and takes the control socket away. */
void guard_end(struct guard *g, int exit_code);

#endif
