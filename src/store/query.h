/*
 * One statement inside a transaction, for the typed queries of this folder and nobody else.
 * Parameters are bound and columns are read in order; the first error sticks, later calls do
 * nothing, and query_end() tells it. So a query reads top to bottom without a check per line:
 *
 *     struct query q = query_start(tx, "SELECT name FROM orgs WHERE id = $1");
 *     query_id(&q, org);
 *     found = query_row(&q);
 *     if (found)
 *         o.name = query_get_text(&q, a);
 *     return query_end_found(&q, found, "org", e);
 *
 * Every query_start() is followed by exactly one query_end*(), query_run() or query_send().
 */
#ifndef STORE_QUERY_H
#define STORE_QUERY_H

#include "store/db.h"
#include "store/store.h"

struct store_tx {
    struct store *store;
    struct db *db;
    bool busy;            /* the engine asked for another try */
    bool failed;          /* a statement failed: the transaction must not be committed */
    bool events;          /* an event was appended */
    struct id events_org; /* whose; zero: several orgs' */
};

/* For event_row_append(): store_on_event()'s function is called when this transaction is through. */
void store_tx_note_event(struct store_tx *tx, struct id org);

struct query {
    struct store_tx *tx;
    struct db_stmt *stmt;
    unsigned parameters; /* bound so far */
    unsigned columns;    /* read so far of this row */
    bool garbled;        /* the error is the row's, not the engine's */
    enum err err;
    struct error e;
};

/* sql must be a literal. */
struct query query_start(struct store_tx *tx, const char *sql);

void query_int(struct query *q, int64_t v);
void query_int_or_null(struct query *q, bool present, int64_t v);
void query_text(struct query *q, struct str v);
void query_text_or_null(struct query *q, bool present, struct str v);
void query_blob(struct query *q, const void *p, size_t n);
void query_id(struct query *q, struct id v);
void query_id_or_null(struct query *q, struct id v); /* zero: NULL */

/* The next row; false at the end and on an error. */
bool query_row(struct query *q);

/* NULL or another type than asked for is an error. */
int64_t query_get_int(struct query *q);
int64_t query_get_int_or(struct query *q, int64_t when_null, bool *ret_present); /* may be NULL */
bool query_get_bool(struct query *q);
struct str query_get_text(struct query *q, struct arena *a);
struct str query_get_text_or_null(struct query *q, struct arena *a, bool *ret_present);
struct str query_get_blob(struct query *q, struct arena *a);
void query_get_bytes(struct query *q, void *ret, size_t n); /* exactly n */
struct id query_get_id(struct query *q);
struct id query_get_id_or_zero(struct query *q);
/* A column holds what it must not: garbled. */
void query_garbled(struct query *q, const char *what);

/* Reads a name and finds the enum value v for which name_of(v) is that name. */
#define QUERY_GET_ENUM(q, name_of, count, ret)                                                     \
    do {                                                                                           \
        struct arena arena_ = {0};                                                                 \
        struct str text_ = query_get_text((q), &arena_);                                           \
        int value_ = 0;                                                                            \
        while (value_ < (int)(count) && !str_equal(text_, name_of((__typeof__(*(ret)))value_)))    \
            value_++;                                                                              \
        if (value_ < (int)(count))                                                                 \
            *(ret) = (__typeof__(*(ret)))value_;                                                   \
        else                                                                                       \
            query_garbled((q), #name_of);                                                          \
        arena_done(&arena_);                                                                       \
    } while (0)

enum err query_end(struct query *q, struct error *e) MUST_CHECK;
/* As query_end, and ERR_NOT_FOUND "no such WHAT" when there was no row. */
enum err query_end_found(struct query *q, bool found, const char *what, struct error *e) MUST_CHECK;
/* For statements whose rows do not matter. */
enum err query_run(struct query *q, struct error *e) MUST_CHECK;
/*
 * The same for one of many writes in a row: whether it failed may be told by a later call of this
 * transaction only. So nothing that follows may rest on its success but the commit.
 */
enum err query_send(struct query *q, struct error *e) MUST_CHECK;
/* For writes that end in RETURNING: ERR_NOT_FOUND when no row was hit. */
enum err query_run_found(struct query *q, const char *what, struct error *e) MUST_CHECK;

/* Room for element n of an array in the arena that grows as rows come; returns the array. */
void *query_array(struct arena *a, void *array, size_t n, size_t bytes);

#endif
