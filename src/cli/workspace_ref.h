/* People name workspaces by id or by name; the API wants ids. */
#ifndef CLI_WORKSPACE_REF_H
#define CLI_WORKSPACE_REF_H

#include "base/ids.h"
#include "cli/client.h"

/* text: an id, or a name that exactly one workspace of the org has. ERR_NOT_FOUND, ERR_CONFLICT. */
enum err workspace_ref(
    struct client *c, const char *text, char ret[static ID_TEXT_BYTES], struct error *e) MUST_CHECK;

#endif
