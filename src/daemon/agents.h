/* All agents at once, when the server that runs them goes away for good. */
#ifndef DAEMON_AGENTS_H
#define DAEMON_AGENTS_H

#include "api/api.h"

/*
 * Stops every running agent, several at a time, as if somebody had stopped its workspace: usage
 * tokens end, rows say stopped. What does not stop is logged. The API takes no requests any more.
 */
void agents_stop_all(struct api *a, struct launcher *l, struct store *s);

#endif
