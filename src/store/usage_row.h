/*
 * Sums over the ledger: of all rows in a time, or grouped by one or two of their properties. A row
 * belongs to the time at which its call opened; corrections to that of the call they correct.
 */
#ifndef STORE_USAGE_ROW_H
#define STORE_USAGE_ROW_H

#include "store/ledger_row.h"

enum usage_group {
    USAGE_BY_NOTHING,
    USAGE_BY_ORG,
    USAGE_BY_WORKSPACE,
    USAGE_BY_MODEL, /* as asked for */
    USAGE_BY_PROVIDER,
    USAGE_BY_CERTAINTY,
    USAGE_BY_DAY, /* UTC; the key is its first millisecond, in decimal */
    USAGE_GROUP_COUNT
};

struct str usage_group_name(enum usage_group g); /* "", "org", "workspace" ... */
bool usage_group_from_name(struct str name, enum usage_group *ret);

/* Rows opened in [from_ms, to_ms); to_ms 0: no end. */
struct usage_filter {
    struct id org;       /* zero: of all orgs (for the admin) */
    struct id workspace; /* zero: of the whole org; only together with org */
    int64_t from_ms, to_ms;
};

struct usage_row {
    struct str key[2]; /* empty where nothing is grouped by */
    struct ledger_totals totals;
};

/* What people call a key: a workspace's name, an org's slug; otherwise the key itself. */
enum err usage_row_label(struct store_tx *tx, enum usage_group by, struct str key, struct arena *a,
    struct str *ret, struct error *e) MUST_CHECK;

enum { USAGE_ROWS_MAX = 10000 };

/* Ordered by the keys, bytewise; at most USAGE_ROWS_MAX rows. */
enum err usage_row_list(struct store_tx *tx, const struct usage_filter *f,
    const enum usage_group by[static 2], struct arena *a, struct usage_row **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;

#endif
