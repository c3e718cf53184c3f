/* Facts about processes from /proc, and killing only what is proven to be the agent's. */
#ifndef LAUNCH_PROCESS_H
#define LAUNCH_PROCESS_H

#include "launch/record.h"

struct process {
    int pid;
    int parent;
    int group;
    int session;
    uint64_t ticks; /* start time since boot */
    bool zombie;
};

/* False when there is no such process. */
bool process_look(int pid, struct process *ret);
/* Differs from boot to boot. Zero when the kernel does not say. */
struct id process_boot(void);
/* The agent's own process, as recorded, still exists. */
bool process_is_alive(const struct record *r);

/* For the shim, a subreaper: SIGKILL to all its children. */
void process_kill_children(void);
/* SIGKILL to everything of a private uid at once, which a fork bomb cannot outrun. As root only. */
void process_kill_uid(uint32_t uid);
/*
 * For an agent whose shim is gone: kills its process, its session, its descendants and, with a
 * private uid, all that runs under it; false when some of it is still there after wait_ms.
 */
bool process_kill_agent(const struct record *r, int64_t wait_ms);

#endif
