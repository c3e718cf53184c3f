/* Finding out what is true of a workspace, from its lock, its run file and its control socket. */
#ifndef LAUNCH_SETTLE_H
#define LAUNCH_SETTLE_H

#include "launch/record.h"

enum settle_result {
    SETTLE_NONE,  /* never started, or nothing known of it */
    SETTLE_RUNS,  /* there is a shim (or an agent that cannot be killed) */
    SETTLE_ENDED, /* the record says how */
};

/*
 * With SETTLE_RUNS *ret_fd is a connection to the shim, which ends when the shim does; or -1 when
 * it does not take one: ask again later. An agent without its shim is killed first, and recorded as
 * ended with 137. May take a few seconds when processes do not die. engine: the container engine's
 * socket, empty for none; an agent's container that cannot be taken away counts as running.
 */
enum settle_result settle(
    int shims, const char *engine, struct id workspace, struct record *ret, int *ret_fd);
/* Notes that the end of this start was reported; a newer start's record is left alone. */
void settle_mark_reported(int shims, struct id workspace, struct id start);

#endif
