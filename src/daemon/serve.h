/*
 * purserd: opens everything in the order of the layers, serves, and closes it in the reverse order.
 * Wiring only: decisions are made in core, requests answered in api.
 *
 * Signals: SIGTERM ends it and leaves the agents (setting on_shutdown), SIGINT ends it and them,
 * SIGHUP reads the registry and the reloadable settings anew. RUN/ready holds its pid once it
 * serves.
 */
#ifndef DAEMON_SERVE_H
#define DAEMON_SERVE_H

#include "daemon/paths.h"

/* input is what settings_load() was given: SIGHUP reads it again. Returns the exit code. */
int serve_run(const struct settings_input *input);

#endif
