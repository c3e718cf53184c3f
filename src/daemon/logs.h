/* The age of logs: nginx's access.log, and what agents printed. */
#ifndef DAEMON_LOGS_H
#define DAEMON_LOGS_H

#include "base/error.h"

/*
 * Puts access.log aside as access.log.<today, UTC> when it holds something and none was put aside
 * today; *ret_rotated: nginx must open it anew. Removes those put aside that were last written
 * before. ERR_IO.
 */
enum err logs_rotate(const char *state_dir, int64_t now_ms, int64_t before_ms, bool *ret_rotated,
    struct error *e) MUST_CHECK;
/*
 * What an agent printed, STATE/agents/<workspace>/log and log.1, is dropped when it has printed
 * nothing since. An agent that is silent goes on with its emptied log. Returns how many files.
 */
int logs_drop_agents(const char *state_dir, int64_t before_ms);

#endif
