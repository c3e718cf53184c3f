/* Workspaces that stand below one another: removal, pause and resume take those below along. */
#ifndef API_FAMILY_H
#define API_FAMILY_H

#include "api/impl.h"

struct family {
    struct workspace_row *rows; /* the one it is of, then those below it, parents first */
    size_t n;
};

/* Removed ones are no members. ERR_NOT_FOUND when the top is not there. Loops of parents end. */
enum err family_load(struct api *a, struct arena *arena, struct id org, struct id top,
    struct family *ret, struct error *e) MUST_CHECK;
/* The nearest one above w that is paused; id zero: none. */
enum err family_paused_above(struct store_tx *tx, struct arena *arena,
    const struct workspace_row *w, struct workspace_row *ret, struct error *e) MUST_CHECK;
/* Would w, with w->parent, stand below itself? Then ERR_INVALID_REQUEST. */
enum err family_check(struct store_tx *tx, struct arena *arena, const struct workspace_row *w,
    struct error *e) MUST_CHECK;

#endif
