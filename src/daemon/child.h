/*
 * A long-running program that the supervisor keeps alive: started in a process group of its own (so
 * that Ctrl-C reaches only the supervisor), told to end when the supervisor dies, started again
 * when it ends by itself: at once, with pauses that grow to ten seconds when it dies within two
 * seconds of its starts.
 */
#ifndef DAEMON_CHILD_H
#define DAEMON_CHILD_H

#include "base/cleanup.h"
#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

struct child {
    const char *name;        /* for people: "purserd" */
    const char *const *argv; /* NULL-ended; argv[0] is searched in PATH and the sbin folders */
    pid_t pid;               /* 0: not running */
    int exit_status;         /* as wait(2) says, of the last one that ended */
    int64_t started_ms;      /* monotonic */
    int64_t restart_ms;      /* monotonic: when it is to be started again; 0: not planned */
    int pause_ms;            /* before the next restart */
};

/* stdout becomes our stderr (ours belongs to what people asked for), stdin is empty. */
enum err child_start(struct child *c, struct error *e) MUST_CHECK;
/* It ended (status from wait). */
void child_ended(struct child *c, int status);
/* Says in the log how it ended and plans when it is started again. */
void child_plan_restart(struct child *c);
/* To its whole process group. */
void child_signal(const struct child *c, int signal);
/* "ended with code 1", "was killed by signal 9". Room for 64 bytes. */
void child_status_text(int status, char ret[static 64]);

#endif
