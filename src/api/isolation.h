/* The warning that agents have no walls, wherever somebody looks who could put them up. */
#ifndef API_ISOLATION_H
#define API_ISOLATION_H

#include "api/impl.h"

#define ISOLATION_NONE_TEXT                                                                        \
    "agents run with purser's own rights and can read its keys: run purser as root, or install "   \
    "bubblewrap and drop isolation: none"

/* Appends {code: NO_ISOLATION, text} to list when agents that are processes run like that. */
void isolation_warn(const struct api *a, json_t *list);
/* The same for one workspace: not when its agent runs elsewhere or in a container. */
void isolation_warn_of(const struct api *a, const struct workspace_row *w, json_t *list);

#endif
