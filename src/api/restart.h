/*
 * Restarts that a changed model or secret asks for: put off by two seconds, so that a handful of
 * writes makes one restart. What is meant to run is restarted, also when its last start was refused
 * or it has failed: the change may be the cure. Not restarted: what is paused, stopped, removed or
 * external, and what was started after the change.
 */
#ifndef API_RESTART_H
#define API_RESTART_H

#include "api/later.h"

/* Nothing comes of it before api_start() and after api_stop(). */
void restart_soon(struct api *a, struct id org, struct id workspace);
/* later_fn: its time has come. */
void restart_due(struct api *a, const struct later_entry *entry);

#endif
