/*
 * A store of its own for every test, and rows to begin with: orgs 1 and 2, workspace 11 of org 1
 * and workspace 21 of org 2. Include it instead of unit.h.
 */
#ifndef STORE_FIXTURE_H
#define STORE_FIXTURE_H

#include "unit.h"

#include "base/cleanup.h"
#include "store/decision_row.h"
#include "store/event_row.h"
#include "store/heartbeat_row.h"
#include "store/idempotency_row.h"
#include "store/org_row.h"
#include "store/platform_key.h"
#include "store/query.h"
#include "store/sealed_row.h"
#include "store/secret_row.h"
#include "store/token_row.h"
#include "store/workspace_row.h"

extern struct store *store;
extern struct str store_url;
extern bool store_is_file; /* SQLite; otherwise the server at STORE_TEST_URL */
extern struct arena arena; /* emptied after each test */
extern struct error e;

int fixture_setup(void **state);
int fixture_teardown(void **state);
#define STORE_TEST(function)                                                                       \
    cmocka_unit_test_setup_teardown(function, fixture_setup, fixture_teardown)

struct id id_of(int n);
/* Runs one statement without parameters: for tampering and counting. */
void exec_sql(struct store_tx *tx, const char *sql);
int64_t int_sql(struct store_tx *tx, const char *sql);
/* Opens the file again: what is there after a restart. */
void reopen(void);

/* Runs body in a transaction that must succeed (or fail with the expected error). */
typedef void body_fn(struct store_tx *tx);
void in_tx(body_fn *body);
void in_read(body_fn *body);
/* Bodies: the store as a later purser would leave it, and back. */
body_fn make_too_new, make_known_again;

#define OK(call)                                                                                   \
    do {                                                                                           \
        enum err err_ = (call);                                                                    \
        if (err_ != ERR_OK)                                                                        \
            fail_msg("%s: %s: %s", #call, err_name(err_), e.text);                                 \
    } while (0)
#define REFUSES(expected, call)                                                                    \
    do {                                                                                           \
        enum err err_ = (call);                                                                    \
        if (err_ != (expected))                                                                    \
            fail_msg("%s: got %s, expected %s", #call, err_name(err_), err_name(expected));        \
    } while (0)

/* A test whose body is one transaction. */
#define TX_TEST(name)                                                                              \
    static void name##_in(struct store_tx *tx);                                                    \
    static void name(void **state)                                                                 \
    {                                                                                              \
        in_tx(name##_in);                                                                          \
    }                                                                                              \
    static void name##_in(struct store_tx *tx)

struct workspace_row sample_workspace(int org, int n);
struct secret_row sample_secret(int org, int workspace, const char *name, int64_t version);
struct token_row sample_token(int org, int workspace, enum token_kind kind, int n);
struct ledger_entry sample_entry(int org, int workspace, int call);
struct decision_row sample_decision(int org, int workspace, int n);

#endif
