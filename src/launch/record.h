/*
 * What is known of a workspace's latest start, as a fixed record in RUN/shims/<workspace>.run.
 * Whoever holds the file's lock (open file description, so that it ends with the last process that
 * has it and pids do not matter) may write it: the shim while the agent exists, the launcher after.
 */
#ifndef LAUNCH_RECORD_H
#define LAUNCH_RECORD_H

#include "launch/launch.h"

enum { RECORD_BYTES = 128 };

struct record {
    enum launch_state state;
    bool container; /* the agent is in a container named after the workspace */
    bool reported;  /* the end was given to on_exit (or to the caller of launch_start) */
    struct id workspace;
    struct id start;
    struct id boot;     /* pid and ticks mean something only during this boot */
    int32_t pid;        /* the agent: also its process group and session. 0: not forked yet */
    uint64_t pid_ticks; /* its start time, from /proc */
    uint32_t uid;       /* 0: not switched */
    int32_t exit_code;
    int64_t started_ms;
    int64_t ended_ms;
};

void record_encode(const struct record *r, unsigned char ret[static RECORD_BYTES]);
/* False when length, form or checksum do not hold. */
bool record_decode(const unsigned char *bytes, size_t n, struct record *ret);
struct launch_status record_status(const struct record *r);

/* "<workspace>.run", "<workspace>.sock" */
enum { RECORD_NAME_BYTES = ID_TEXT_BYTES + 8 };
void record_name(struct id workspace, const char *suffix, char ret[static RECORD_NAME_BYTES]);

/* Opens, made when create. The descriptor, or -1 with errno. */
int record_open(int dir, struct id workspace, bool create);
/* Takes the lock without waiting; false when somebody has it or the file was removed meanwhile. */
bool record_lock(int dir, struct id workspace, int file);
/*
 * Opens and locks, waiting a second for somebody who only marks the record: the descriptor, or -1
 * with errno; EAGAIN when a shim has it.
 */
int record_claim(int dir, struct id workspace, bool create);
void record_unlock(int file);
/* False when the file holds no valid record (a new file, say). */
bool record_read(int file, struct record *ret);
/* Safe from the death of any process when it returns; an end also from that of the machine. */
enum err record_write(int file, const struct record *r, struct error *e) MUST_CHECK;

#endif
