/* Rate limits of a workspace as a whole, and of each of its usage tokens. 0 means no limit. */
#ifndef STORE_LIMIT_ROW_H
#define STORE_LIMIT_ROW_H

#include "store/store.h"

enum limit_per { LIMIT_PER_WORKSPACE, LIMIT_PER_TOKEN, LIMIT_PER_COUNT };

struct str limit_per_name(enum limit_per per); /* "workspace", "token" */

struct limit_row {
    struct id org;
    struct id workspace;
    enum limit_per per;
    int64_t requests_per_minute;
    int64_t tokens_per_minute;
    int64_t concurrent;
};

/* Puts or replaces; all three zero: removes. ERR_NOT_FOUND without such a workspace. */
enum err limit_row_put(struct store_tx *tx, const struct limit_row *l, struct error *e) MUST_CHECK;
/* workspace zero: of all orgs' workspaces (for the gateway's counters only). */
enum err limit_row_list(struct store_tx *tx, struct id org, struct id workspace, struct arena *a,
    struct limit_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;

#endif
