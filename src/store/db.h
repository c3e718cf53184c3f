/*
 * One connection to an engine, below SQL: open, exec, prepare, bind, step, column, begin, commit,
 * rollback. The driver files are the only ones that include an engine's header. A connection
 * belongs to one thread at a time.
 *
 * After any result but OK, ROW and DONE inside a transaction the transaction must be rolled back:
 * one engine would go on, the other would not.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdint.h>

enum db_result {
    DB_OK,
    DB_ROW,      /* step: a row is there */
    DB_DONE,     /* step: no more rows */
    DB_BUSY,     /* busy or serialization failure: run the transaction again */
    DB_CONFLICT, /* a unique key is taken */
    DB_MISSING,  /* a foreign key points nowhere */
    DB_FAILED
};

enum db_mode { DB_READ, DB_WRITE };
enum { DB_PARAMETERS_MAX = 64 }; /* of one statement */
/* How to open: commits survive a power cut; refuse rather than make what is not there. */
enum { DB_DURABLE = 1, DB_EXISTING = 2 };
enum db_type { DB_NULL, DB_INT, DB_TEXT, DB_BLOB };

struct db_value {
    enum db_type type;
    int64_t i;
    struct str s; /* of a column: valid until the next step or reset */
};

struct db;
struct db_stmt; /* each driver has its own */

struct db_driver {
    const char *name;
    /* What {BLOB}, {TEXT}, {INT} and {STRICT} become in a migration. */
    const char *blob_type, *text_type, *int_type, *table_suffix;
    /* Gives 1 when the table schema_migrations is there, else 0. */
    const char *has_migrations_sql;
    /* Gives the names of table $1's columns, by name; and of all tables but schema_*, by name. */
    const char *columns_sql, *tables_sql;
    /* Makes a second migrator wait until this connection is closed; NULL: its transactions do. */
    const char *migration_lock_sql;
    /*
     * Sends the text $1 to who listens when the transaction commits; and listens. NULL: it cannot.
     */
    const char *notify_sql, *listen_sql;
    /* Gives 1 when the number $1 is this connection's while it lives, 0: another's. NULL: no need. */
    const char *claim_sql;
    /* Writes a consistent copy to the file $1; NULL: the engine has tools of its own. */
    const char *backup_sql;
    const char *check_sql; /* gives 'ok', or what is broken */
    const char *clock_sql; /* gives the time as the engine sees it, in Unix ms */
    bool one_writer; /* the engine lets one writer in at a time: queue before it, not inside */

    enum err (*open)(struct str url, unsigned how, struct db **ret, struct error *e);
    /*
     * Marks the store as served (shared) or as ours alone (exclusive) for the life of the
     * connection. False in *ret when somebody else's mark forbids it.
     */
    enum err (*hold)(struct db *db, bool exclusive, bool *ret, struct error *e);
    /* What becomes readable when a notice comes. The next one: ROW, DONE (none), FAILED (lost). */
    int (*notice_fd)(struct db *db);
    enum db_result (*notice)(struct db *db, char *ret, size_t ret_bytes);
    void (*close)(struct db *db);
    enum db_result (*exec)(struct db *db, const char *sql); /* several statements, no parameters */
    enum db_result (*begin)(struct db *db, enum db_mode mode);
    enum db_result (*commit)(struct db *db);
    enum db_result (*rollback)(struct db *db);
    enum db_result (*prepare)(struct db *db, const char *sql, struct db_stmt **ret);
    enum db_result (*bind)(struct db *db, struct db_stmt *stmt, unsigned parameter,
        const struct db_value *v); /* parameter: the number behind the $ */
    enum db_result (*step)(struct db *db, struct db_stmt *stmt);
    /*
     * Runs a statement whose rows do not matter. An engine behind a socket does not wait for its
     * end: a failure may be told by any later call of this transaction, at the latest its commit.
     */
    enum db_result (*send)(struct db *db, struct db_stmt *stmt);
    enum db_result (*column)(
        struct db *db, struct db_stmt *stmt, unsigned column, struct db_value *ret); /* from 0 */
    void (*reset)(struct db *db, struct db_stmt *stmt); /* ready for other parameters */
    void (*finish)(struct db *db, struct db_stmt *stmt);
    const char *(*message)(struct db *db); /* what the engine said last */
};

/* Tests: the call that brings countdown from 1 to 0 fails. */
struct db_fault {
    atomic_long countdown;
    atomic_long calls;
};

/*
 * Statements stay prepared for the life of the connection; sql texts are literals, known by
 * address.
 */
struct db_cached {
    const char *sql;
    struct db_stmt *stmt;
};

/* What every driver's connection begins with. */
struct db {
    const struct db_driver *driver;
    struct db_fault *fault; /* NULL: none */
    struct db_cached *cached;
    size_t cached_n, cached_capacity;
    bool fault_hit; /* the last failure was injected */
};

extern const struct db_driver db_sqlite, db_pg;

/* The driver for a store's URL and what it should be opened with. */
const struct db_driver *db_driver_for(struct str url, struct str *ret_target);

enum err db_open(const struct db_driver *driver, struct str target, unsigned how,
    struct db_fault *fault, struct db **ret, struct error *e) MUST_CHECK;
void db_close(struct db *db);
void db_close_at(struct db **db); /* for AUTO() */
enum db_result db_exec(struct db *db, const char *sql) MUST_CHECK;
enum db_result db_begin(struct db *db, enum db_mode mode) MUST_CHECK;
enum db_result db_commit(struct db *db) MUST_CHECK;
enum db_result db_rollback(struct db *db) MUST_CHECK;
/* As driver->hold. */
enum err db_hold(struct db *db, bool exclusive, bool *ret, struct error *e) MUST_CHECK;
/* sql must be a literal: the prepared statement is kept under its address. */
enum db_result db_prepare(struct db *db, const char *sql, struct db_stmt **ret) MUST_CHECK;
/* For a text that is made up; db_finish() it before db_close(). */
enum db_result db_prepare_fresh(struct db *db, const char *sql, struct db_stmt **ret) MUST_CHECK;
void db_finish(struct db *db, struct db_stmt *stmt);
enum db_result db_bind(
    struct db *db, struct db_stmt *stmt, unsigned parameter, const struct db_value *v) MUST_CHECK;
enum db_result db_step(struct db *db, struct db_stmt *stmt) MUST_CHECK;
enum db_result db_send(struct db *db, struct db_stmt *stmt) MUST_CHECK; /* OK, or what failed */
enum db_result db_column(
    struct db *db, struct db_stmt *stmt, unsigned column, struct db_value *ret) MUST_CHECK;
void db_reset(struct db *db, struct db_stmt *stmt);
/* The one place where an engine's result becomes an error. Only for results that are failures. */
enum err db_fail(struct db *db, enum db_result result, struct error *e);

#endif
