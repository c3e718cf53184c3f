/*
 * "launch" of a workspace: in what its agent runs and what it may use. Kept as a JSON object:
 * {"image", "network", "memory_mb", "cpus", "processes", "files"}, all optional. With an image it
 * is a container, without one a process of this machine.
 */
#ifndef API_LAUNCH_HINTS_H
#define API_LAUNCH_HINTS_H

#include "api/impl.h"

/* Reads the body's "launch" into w when it is there; null clears. ERR_INVALID_REQUEST. */
enum err launch_hints_read(struct call *c, struct workspace_row *w, struct error *e) MUST_CHECK;
/*
 * Puts what is kept into spec; container is the room for spec->container. Texts live in arena. What
 * cannot be read is ERR_STORE_UNAVAILABLE: an agent must not run with other walls than asked for.
 */
enum err launch_hints_apply(struct arena *arena, struct str kept, struct launch_spec *spec,
    struct launch_container *container, struct error *e) MUST_CHECK;

/*
 * Fetches the container's image when it is not there; what the engine says becomes events
 * "workspace.image" of the workspace, one in a while. Minutes may pass.
 */
enum err launch_hints_fetch(struct api *a, struct id org, struct id workspace,
    const struct launch_container *container, struct error *e) MUST_CHECK;

#endif
