/* All agents at once, when the server that runs them goes away for good. */
#ifndef DAEMON_AGENTS_H
#define DAEMON_AGENTS_H

#include "api/api.h"

/*
 * Stops every running agent, several at a time: usage tokens end, rows say offline. They stay meant
 * to run, so the next purserd starts them again. What does not stop is logged. The API takes no
 * requests any more.
 */
void agents_stop_all(struct api *a, struct launcher *l, struct store *s);

#endif
