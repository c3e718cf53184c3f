/*
 * Events of a workspace or an org as they happen, for commands that wait or watch. Comes back by
 * itself, without a gap, when the connection breaks or the server is away for a while.
 */
#ifndef CLI_FOLLOW_H
#define CLI_FOLLOW_H

#include "cli/client.h"

/* event: {id, type, workspace_id, at, details}. False: that is enough. */
typedef bool follow_fn(void *ctx, const json_t *event);

/*
 * path: "/events" or "/workspaces/ID/events". Begins behind the event with the number after;
 * negative: with what happens from now on. Returns ERR_OK once fn has enough, otherwise why there
 * is nothing (more) to follow; a server that cannot be reached is tried again for patience_s.
 */
enum err follow(struct client *c, const char *path, long long after, int patience_s, follow_fn *fn,
    void *ctx, struct error *e) MUST_CHECK;
/* The number of the last event under path. */
enum err follow_last(
    struct client *c, const char *path, long long *ret, struct error *e) MUST_CHECK;
/* One line about an event, for people: what happened, and why if it says so. */
void follow_print(const json_t *event, bool with_workspace, FILE *out);

#endif
