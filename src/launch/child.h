/* The forked child between the shim and the agent's program: gives everything up, then execs. */
#ifndef LAUNCH_CHILD_H
#define LAUNCH_CHILD_H

#include "launch/order.h"

enum child_step {
    CHILD_STEP_SESSION,
    CHILD_STEP_LIMITS,
    CHILD_STEP_USER,
    CHILD_STEP_PRIVILEGES,
    CHILD_STEP_HOME,
    CHILD_STEP_WORK_DIR,
    CHILD_STEP_OUTPUT,
    CHILD_STEP_EXEC,
    CHILD_STEP_CONTAINER,
};

/* Written to the report pipe when a step fails; the pipe closes without one when the program runs.
 */
struct child_failure {
    int step;
    int error; /* errno */
};

/* Follows a CHILD_STEP_CONTAINER: the sentence. */
enum { CHILD_TEXT_BYTES = 400 };

struct child_pipes {
    int go;     /* read end: a byte comes when the start is on record; end of file: do not start */
    int report; /* write end, close-on-exec */
    int output; /* write end: the agent's stdout and stderr */
};

/* memory holds what the order points into. */
_Noreturn void child_run(
    const struct order *order, const struct child_pipes *pipes, struct secret *memory);
/* The sentence for a failure; text is what followed it, NUL-terminated. */
enum err child_explain(const struct order *order, const struct child_failure *failure,
    const char *text, struct error *e) MUST_CHECK;

#endif
