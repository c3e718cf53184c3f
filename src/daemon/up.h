/*
 * `purser up`: purserd and nginx as one command. Starts purserd, then nginx with the configuration
 * purserd wrote, waits until /health answers through nginx, restarts what dies, and on Ctrl-C or
 * SIGTERM stops agents, purserd and nginx, in this order. Should it die itself, both end with it.
 */
#ifndef DAEMON_UP_H
#define DAEMON_UP_H

#include "daemon/paths.h"

struct up;

/*
 * Called once everything serves. An error ends `up` with exit code 1; *ret_stop true ends it with
 * success. It must spend its waiting in up_wait().
 */
typedef enum err up_serving_fn(void *ctx, struct up *u, bool *ret_stop, struct error *e);

struct up_options {
    const struct settings *settings;
    const char *const *serve_arguments; /* flags handed on to `purser serve`; NULL-ended */
    up_serving_fn *serving;             /* may be NULL */
    void *serving_ctx;
};

/* Returns the exit code; errors are printed. */
int up_run(const struct up_options *o);

/* Supervises for ms milliseconds. True: somebody asked us to stop, return soon. */
bool up_wait(struct up *u, int ms);
/* "http://127.0.0.1:8080" */
const char *up_url(const struct up *u);
const struct paths *up_paths(const struct up *u);

#endif
