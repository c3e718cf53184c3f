/* The files behind "purser workspace": the table is in cmd_workspace.c. */
#ifndef CLI_CMD_WORKSPACE_H
#define CLI_CMD_WORKSPACE_H

#include "cli/session.h"

cmd_fn cmd_workspace_create, cmd_workspace_set, cmd_workspace_start, cmd_workspace_stop,
    cmd_workspace_restart, cmd_workspace_pause, cmd_workspace_resume, cmd_workspace_watch;

/*
 * Waits until the workspace of that id is online or will not be, with what happens meanwhile on
 * stderr; after is the number of the last event before. status, desired and last_error of row are
 * brought up to date. *ret_runs: it is online.
 */
enum err workspace_await(
    struct session *s, const char *id, long long after, json_t *row, bool *ret_runs) MUST_CHECK;

#endif
