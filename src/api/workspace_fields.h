/* What POST and PATCH of a workspace read from their bodies, checked field by field. */
#ifndef API_WORKSPACE_FIELDS_H
#define API_WORKSPACE_FIELDS_H

#include "api/gather.h"

/*
 * Another living workspace of w's org has w's name: ERR_CONFLICT. In the transaction that writes w.
 */
enum err workspace_name_check(struct store_tx *tx, struct arena *a, const struct workspace_row *w,
    struct error *e) MUST_CHECK;
/* Reads the describing fields that are there into w; what is absent stays. */
enum err workspace_fields_read(struct call *c, struct workspace_row *w, struct error *e) MUST_CHECK;

#endif
