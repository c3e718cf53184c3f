/*
 * Everything a store holds, read by table: to move it to another engine and to compare two stores.
 * Table and column names come from one list (copy.c), which a test compares with what the engine
 * has.
 */
#ifndef STORE_COPY_H
#define STORE_COPY_H

#include "base/arena.h"
#include "store/store.h"

enum { COPY_DIGEST_BYTES = 32 };

struct copy_table {
    const char *name;
    int64_t rows;
    /* SHA-256 over the rows in the order of their key: the same in both engines. */
    uint8_t digest[COPY_DIGEST_BYTES];
};

/* The tables that are copied, in an order in which they can be filled. NULL behind the last. */
const char *const *copy_tables(void);

/* Called when a table is done; may be NULL. */
typedef void copy_progress_fn(void *ctx, const struct copy_table *table);

/*
 * Copies all rows of the store at from to the one at to, in one transaction: all of it or nothing,
 * and only when what was written reads back with equal counts and digests. An empty target is
 * migrated up first. ERR_STATE_LOCKED when one of the two is in use, ERR_CONFLICT when the target
 * holds something or the versions differ, ERR_STORE_TOO_NEW.
 */
enum err store_copy(struct str from, struct str to, copy_progress_fn *progress, void *ctx,
    struct error *e) MUST_CHECK;

/* Counts and digests of every table, from one snapshot; in the arena, in the order of the list. */
enum err store_digest(struct store *s, struct arena *a, struct copy_table **ret, size_t *ret_n,
    struct error *e) MUST_CHECK;

#endif
