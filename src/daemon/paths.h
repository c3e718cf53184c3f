/*
 * Where things are: STATE (kept, 0711: agents' homes may be below it, files in it are 0600), RUN
 * (sockets and shared memory, gone after a reboot) and the agents' homes. Directories are made with
 * their modes and refused when somebody else owns or could write them.
 */
#ifndef DAEMON_PATHS_H
#define DAEMON_PATHS_H

#include "daemon/settings.h"

struct paths {
    char state[1024]; /* resolved: no symbolic links */
    char run[128];    /* short: socket paths below it have at most 107 bytes */
    char homes[1280];
    bool homes_in_run;  /* other uids cannot reach STATE/homes, and homes do not outlive a reboot */
    char program[1024]; /* this binary */
    char module[1280];  /* ngx_http_purser_module.so */
    char init[1280];    /* purser-init; empty: not found */
    char shim[1280];    /* purser-shim; empty: not found */
    char sandbox[32];   /* bubblewrap; empty: not installed */
};

/* Finds and makes them. ERR_STATE_UNUSABLE or ERR_GATEWAY_UNUSABLE (no module) with a sentence. */
enum err paths_open(const struct settings *s, struct paths *ret, struct error *e) MUST_CHECK;

/*
 * The lock that makes a purserd the only one on its STATE; it holds as long as the descriptor is
 * open. What a killed purserd left behind is waited for. ERR_STATE_LOCKED names the pid that has it.
 */
enum err paths_lock(const struct paths *p, int *ret_fd, struct error *e) MUST_CHECK;

/* RUN for a resolved state path when no run_dir is set. Same state, same RUN. */
void paths_run_default(
    const char *state, unsigned uid, const char *xdg_runtime_dir, char *ret, size_t ret_bytes);
/* May any uid reach what is in this directory: is every directory of its path o+x? */
bool paths_open_to_all(const char *directory);

#endif
