/* What several handlers need of a workspace. */
#ifndef API_WORKSPACE_H
#define API_WORKSPACE_H

#include "api/gather.h"

/* The row as people see it; no secret is in it. */
json_t *workspace_json(const struct call *c, const struct workspace_row *w);
/* One consistent read of the row of c->id; a removed one is ERR_GONE. */
enum err workspace_load(struct call *c, struct workspace_row *ret, struct error *e) MUST_CHECK;

#endif
