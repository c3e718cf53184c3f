/* The inside of a launcher: what launcher.c (table, thread) and launch.c (what callers do) share.
 */
#ifndef LAUNCH_LAUNCHER_H
#define LAUNCH_LAUNCHER_H

#include "launch/settle.h"

#include <pthread.h>
#include <sys/types.h>

/* What is known of a workspace. Only the thread closes fd, only launch_forget() frees. */
struct entry {
    struct id workspace;
    struct launch_status status;
    int fd;     /* ends with the shim; -1: nothing runs, or no connection yet */
    pid_t shim; /* our child, or 0 */
};

/* An end that on_exit is to hear of. */
struct report {
    struct id workspace;
    struct launch_status status;
};

struct launcher {
    struct launch_options options; /* point into the texts below */
    char *program;
    char *run_dir;
    char *state_dir;
    char *engine;
    char *init;
    char *shim;
    char *sandbox;
    launch_exit_fn *on_exit;
    void *ctx;
    int shims;
    int epoll;
    int wake;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t mutex; /* for all below; never held across anything that waits */
    pthread_cond_t changed;
    bool closing;
    struct entry **entries;
    size_t entries_n;
    struct report *reports; /* oldest first */
    size_t reports_n;
};

/* All but the locking is called with the lock held. */
void launcher_lock(struct launcher *l);
void launcher_unlock(struct launcher *l);
/* NULL when nothing is known of the workspace. */
struct entry *launcher_find(struct launcher *l, struct id workspace);
/* Out of memory ends the process: agents go on, and a new purserd finds them. */
struct entry *launcher_find_or_add(struct launcher *l, struct id workspace);
/*
 * Takes over what settle() found, and the connection: the one place where an entry's state changes
 * to what is true. Tells the thread and whoever waits for a change.
 */
void launcher_adopt(struct launcher *l, struct entry *entry, enum settle_result result,
    const struct record *r, int fd);

/* An agent is there, or on its way. */
static inline bool
entry_is_active(const struct entry *entry)
{
    return entry != NULL &&
        (entry->status.state == LAUNCH_STARTING || entry->status.state == LAUNCH_RUNNING);
}

#endif
