/*
 * Several nodes on one store: an agent runs on its workspace's own node, and any node may be asked.
 * What another one is asked of it is written down as what is wanted (desired, start_due_ms) and
 * told to its node, which acts on it as it does on its own: at once when it runs, else when its
 * purserd starts.
 */
#ifndef API_WISH_H
#define API_WISH_H

#include "api/impl.h"

/* Does its agent run on another node? Then its log, say, cannot be had here. */
bool wish_is_elsewhere(const struct api *a, const struct workspace_row *w);
/* ERR_CONFLICT: names the node that has to be asked for that. */
enum err wish_ask_there(
    const struct workspace_row *w, const char *what, struct error *e) MUST_CHECK;

struct wish {
    struct id org;
    struct id workspace;
    enum workspace_desired desired; /* running: it is to be started, or started anew */
    bool restart;                   /* one that runs is no conflict */
    bool when_running;              /* only if it is meant to run: something changed for it */
};

/*
 * *ret_sent: it is another node's workspace, which was told; otherwise nothing was done. ERR_GONE,
 * ERR_NOT_FOUND; ERR_CONFLICT when it runs already.
 */
enum err wish_send(struct api *a, const struct wish *w, bool *ret_sent, struct error *e) MUST_CHECK;

#endif
