/*
 * What we remember. One SQL text for every engine; the driver vtable (db.h) sits below SQL. Every
 * query takes the org; another org's row is ERR_NOT_FOUND. Rows are decoded into the caller's
 * arena. A failed read is ERR_STORE_UNAVAILABLE, never an empty answer.
 *
 * The typed queries are in one file per noun: org_row.h, workspace_row.h, secret_row.h,
 * token_row.h, platform_key.h, ledger_row.h, decision_row.h, event_row.h, idempotency_row.h.
 * Secrets' values never get here: the store keeps sealed bytes and does not know the key.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/arena.h"
#include "base/ids.h"
#include "core/ledger.h"
#include "core/token.h"

struct store;    /* a pool of connections; safe for threads */
struct store_tx; /* one transaction on one connection; one thread's */

/*
 * url: a SQLite path, sqlite:PATH, or postgresql://... Makes a new SQLite file with mode 0600 and
 * migrates up. ERR_STORE_TOO_NEW when it was made by a later purser; nothing is changed then.
 */
enum err store_open(struct str url, struct store **ret, struct error *e) MUST_CHECK;
/*
 * The same for a purserd: its node's id is kept in node_file (made when it is not there; an SQLite
 * store's only node moves in), and the store is marked as served until store_close(), so that
 * nobody migrates or copies it meanwhile. ERR_STATE_LOCKED when somebody does.
 */
enum err store_open_node(
    struct str url, struct str node_file, struct store **ret, struct error *e) MUST_CHECK;
/* No transaction may be running. NULL is fine. */
void store_close(struct store *s);

/*
 * Runs fn in one transaction; retries it a bounded number of times when the engine says busy or
 * serialization failure, so fn must have no effect outside the transaction (outputs are set anew by
 * each run) and must not open another transaction. An error that fn returns rolls back.
 */
typedef enum err store_tx_fn(struct store_tx *tx, void *ctx, struct error *e);
enum err store_tx(struct store *s, store_tx_fn *fn, void *ctx, struct error *e) MUST_CHECK;
/* As store_tx, but the commit is durable against a power cut when it returns. */
enum err store_tx_durable(struct store *s, store_tx_fn *fn, void *ctx, struct error *e) MUST_CHECK;
/* A read-only snapshot: a write in it fails. */
enum err store_read(struct store *s, store_tx_fn *fn, void *ctx, struct error *e) MUST_CHECK;

/*
 * fn is called after each commit that appended events, with their org (zero: several orgs), by the
 * thread that committed: it must only wake others. Set before the store is used by several threads.
 */
typedef void store_event_fn(void *ctx, struct id org);
void store_on_event(struct store *s, store_event_fn *fn, void *ctx);

/* This node's id: what is in node_file, or with store_open() the store's first node. */
struct id store_node(const struct store *s);
struct id store_tx_node(const struct store_tx *tx);

/*
 * The number of the last migration this purser knows, and the one the store at url is at (0:
 * empty). ERR_STORE_UNAVAILABLE when there is no SQLite file: none is made.
 */
int store_version_known(void);
enum err store_version(struct str url, int *ret, struct error *e) MUST_CHECK;
/* Migrates up or down to version, one transaction a step. Down loses what the step had added. */
enum err store_migrate(struct str url, int version, struct error *e) MUST_CHECK;
/* The same for a person: ERR_STATE_LOCKED while a purserd serves the store. */
enum err store_migrate_alone(struct str url, int version, struct error *e) MUST_CHECK;

struct store_migration {
    int version;
    struct str name;
    int64_t applied_ms; /* 0: not applied */
};
/* All that this purser knows or the store has, by version. */
enum err store_migration_list(struct str url, struct arena *a, struct store_migration **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;

/*
 * For tests: the n-th call into the driver from now on fails as a broken disk would (1: the next
 * one; 0: none). store_fault_calls() tells how many calls there were since.
 */
void store_fault_set(struct store *s, long n);
long store_fault_calls(const struct store *s);

#endif
