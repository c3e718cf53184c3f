/* The process of `purser run`: started with an exact environment, given our signals, waited for. */
#ifndef CLI_RUN_CHILD_H
#define CLI_RUN_CHILD_H

#include "base/error.h"

#include <signal.h>
#include <sys/types.h>

struct run_child {
    pid_t pid;
    sigset_t before; /* the signals that were blocked when we came */
};

/*
 * Starts the program, which is looked up in our own PATH. From now on our signals are the child's,
 * until run_child_wait() is through. ERR_LAUNCH_FAILED when it cannot be executed.
 */
enum err run_child_start(
    char **argv, char **envp, struct run_child *ret, struct error *e) MUST_CHECK;
/* Passes signals on until the child is gone; returns the status that waitpid() gave. */
int run_child_wait(struct run_child *child);
/* Ends this process as the child ended: with its exit code, or by its signal. */
int run_child_exit_code(int status);

#endif
