/*
 * What an agent printed: STATE/agents/<workspace>/log and log.1, of at most AGENTLOG_MAX_BYTES
 * each, mode 0600. Written by the shim, after scrubbing; read by purserd. A log that cannot be
 * written is dropped: the agent must not wait for a full disk.
 */
#ifndef LAUNCH_AGENTLOG_H
#define LAUNCH_AGENTLOG_H

#include "base/buf.h"

enum { AGENTLOG_MAX_BYTES = 1024 * 1024 };

struct agentlog {
    int dir;
    int file;
    size_t bytes;
};

/* Appends to what is there. Takes over dir, also on failure. */
enum err agentlog_open(int dir, struct agentlog *ret, struct error *e) MUST_CHECK;
void agentlog_done(struct agentlog *l);
void agentlog_write(struct agentlog *l, struct str piece);
/* Appends at most max_bytes of the end of the log in dir; nothing when there is none. */
enum err agentlog_tail(int dir, size_t max_bytes, struct buf *out, struct error *e) MUST_CHECK;
/* Removes both files; fine when there are none. */
void agentlog_remove(int dir);

#endif
