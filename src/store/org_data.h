/*
 * All that an org owns, whatever the table: for its export and its end. The tables stand in
 * org_tables.def. Values of secrets and digests of credentials are not among what is shown.
 */
#ifndef STORE_ORG_DATA_H
#define STORE_ORG_DATA_H

#include "store/db.h"
#include "store/store.h"

enum { ORG_DATA_COLUMNS_MAX = 48 };

struct org_data_row {
    const char *table;
    size_t columns_n;
    struct str names[ORG_DATA_COLUMNS_MAX];
    struct db_value values[ORG_DATA_COLUMNS_MAX]; /* valid until the function returns */
};

typedef enum err org_data_fn(void *ctx, const struct org_data_row *row, struct error *e);

/* The tables' names, in the order in which they are walked. NULL behind the last. */
const char *org_data_table(size_t i);

/*
 * Calls fn for every row, tables and rows in a fixed order; an error of fn ends the walk. At most a
 * few hundred rows are in memory at a time, whatever the engine.
 */
enum err org_data_walk(
    struct store_tx *tx, struct id org, org_data_fn *fn, void *ctx, struct error *e) MUST_CHECK;

/*
 * Deletes it all, the row of the org last; with keep_ledger the ledger and the ends of its chains
 * stay. Stop its agents and tell the gateway first.
 */
enum err org_data_delete(
    struct store_tx *tx, struct id org, bool keep_ledger, struct error *e) MUST_CHECK;

#endif
