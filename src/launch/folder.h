/* The folders of launching: opened once, entered by descriptor, never followed through a link. */
#ifndef LAUNCH_FOLDER_H
#define LAUNCH_FOLDER_H

#include "launch/launch.h"

/* RUN/shims, made 0700. */
enum err folder_open_shims(const char *run_dir, int *ret_dir, struct error *e) MUST_CHECK;
/*
 * STATE/agents/<workspace>. Made when create, so that the agent can walk through to its HOME but
 * list nothing when it has a uid of its own; not there and not create: ERR_NOT_FOUND.
 */
enum err folder_open_agent(const char *state_dir, struct id workspace, bool create, uint32_t uid,
    int *ret_dir, struct error *e) MUST_CHECK;
/*
 * The agent's HOME: made with what is missing above it, given to uid and gid (0: left ours), 0700.
 * One that belongs to somebody else is refused.
 */
enum err folder_make_home(const char *path, uint32_t uid, uint32_t gid, struct error *e) MUST_CHECK;

#endif
