/*
 * All rows of a table, whichever it is, in the order of its key: counted, hashed and handed on.
 * Internal to this folder.
 */
#ifndef STORE_TABLE_WALK_H
#define STORE_TABLE_WALK_H

#include "base/arena.h"
#include "store/copy.h"
#include "store/db.h"

enum { TABLE_COLUMNS_MAX = 64, TABLE_KEYS_MAX = 4 };

struct table {
    const char *name;
    const char *key;    /* the columns of its primary key */
    const char *parent; /* NULL: none */
};

/* One table of one connection. */
struct table_reader {
    struct db *db;
    const struct table *table;
    struct arena *arena;
    struct str columns[TABLE_COLUMNS_MAX]; /* by name */
    size_t columns_n;
    size_t keys_n;
};

/* Asks the engine for the columns. */
enum db_result table_reader_init(
    struct table_reader *r, struct db *db, const struct table *t, struct arena *a) MUST_CHECK;
/* "id, name" of the columns, and "$1, $2" for n parameters. */
struct str table_columns(const struct table_reader *r);
struct str table_places(struct arena *a, size_t n);

/* Values in the order of the columns, valid during the call. */
typedef enum db_result table_row_fn(void *ctx, const struct db_value *values, size_t n);

/* fn NULL: only counted and hashed. */
enum db_result table_walk(
    const struct table_reader *r, table_row_fn *fn, void *ctx, struct copy_table *ret) MUST_CHECK;

#endif
