#include "fixture.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void
makes_a_private_file_and_keeps_its_node(void **state)
{
    struct id node = store_node(store);
    struct stat st;

    if (store_is_file) {
        assert_int_equal(stat(arena_cstr(&arena, store_url), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    assert_false(id_is_zero(node));
    reopen();
    assert_true(id_equal(node, store_node(store)));
}

static void
refuses_a_store_of_a_later_version_and_leaves_it(void **state)
{
    struct store *other = NULL;
    int version = 0;

    in_tx(make_too_new);
    REFUSES(ERR_STORE_TOO_NEW, store_open(store_url, &other, &e));
    REFUSES(ERR_STORE_TOO_NEW, store_migrate(store_url, 0, &e));
    assert_null(other);
    OK(store_version(store_url, &version, &e));
    assert_int_equal(version, 9999);
    in_tx(make_known_again);
}

static void
migrates_down_to_nothing_and_up_again(void **state)
{
    int version = -1;

    store_close(TAKE(store));
    OK(store_migrate(store_url, 0, &e));
    OK(store_version(store_url, &version, &e));
    assert_int_equal(version, 0);
    OK(store_migrate(store_url, 0, &e));
    OK(store_migrate(store_url, store_version_known(), &e));
    OK(store_migrate(store_url, store_version_known(), &e));
    OK(store_version(store_url, &version, &e));
    assert_int_equal(version, store_version_known());
    REFUSES(ERR_INVALID_REQUEST, store_migrate(store_url, store_version_known() + 1, &e));
    REFUSES(ERR_INVALID_REQUEST, store_migrate(store_url, -1, &e));
    OK(store_open(store_url, &store, &e));
}

static void
refuses_a_path_that_can_not_be_a_store(void **state)
{
    static const char *const urls[] = {
        "", "sqlite:", "/no/such/folder/purser.db", "/tmp", "/dev/null"};
    struct store *other = NULL;

    for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++)
        REFUSES(ERR_STORE_UNAVAILABLE, store_open(str_from_cstr(urls[i]), &other, &e));
    assert_null(other);
}

static void
refuses_a_file_that_is_no_store(void **state)
{
    struct str url = STR("/tmp/test-store.garbage");
    AUTO_FCLOSE FILE *f = fopen(url.p, "w");
    struct store *other = NULL;

    for (int i = 0; i < 1000; i++)
        fputs("this is not a database\n", f);
    fflush(f);
    REFUSES(ERR_STORE_UNAVAILABLE, store_open(url, &other, &e));
    assert_null(other);
    unlink(url.p);
}

static enum err
insert_then_say(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(1, 99);

    if (workspace_row_insert(tx, &w, err) != ERR_OK)
        return err->code;
    err->code = *(enum err *)ctx;
    return err->code;
}

static void
has_no_99(struct store_tx *tx)
{
    struct workspace_row w;

    REFUSES(ERR_NOT_FOUND, workspace_row_get(tx, id_of(1), id_of(99), &arena, &w, &e));
}

static void
an_error_of_the_function_rolls_back(void **state)
{
    enum err say = ERR_INVALID_REQUEST;

    REFUSES(say, store_tx(store, insert_then_say, &say, &e));
    in_read(has_no_99);
    REFUSES(say, store_tx_durable(store, insert_then_say, &say, &e));
    in_read(has_no_99);
}

/*
 * Whatever fails on the way back, the rollback itself included: nothing stays, the next one works.
 */
static void
a_rollback_that_fails_costs_the_connection_not_the_store(void **state)
{
    enum err say = ERR_INVALID_REQUEST;
    enum err err = ERR_STORE_UNAVAILABLE;
    long calls = 1;

    for (long n = 1; n <= calls; n++) {
        store_fault_set(store, n);
        err = store_tx(store, insert_then_say, &say, &e);
        assert_true(err == say || err == ERR_STORE_UNAVAILABLE);
        calls = err == say && store_fault_calls(store) < n ? 0 : n + 1;
        store_fault_set(store, 0);
        REFUSES(say, store_tx(store, insert_then_say, &say, &e));
        in_read(has_no_99);
    }
}

static enum err
overlook_a_failure(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row first = sample_workspace(1, 99), twice = sample_workspace(1, 11);

    OK(workspace_row_insert(tx, &first, err));
    REFUSES(ERR_CONFLICT, workspace_row_insert(tx, &twice, err));
    return ERR_OK;
}

static void
a_failed_statement_is_never_committed_around(void **state)
{
    REFUSES(ERR_INTERNAL, store_tx(store, overlook_a_failure, NULL, &e));
    in_read(has_no_99);
}

static enum err
write_something(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(1, 99);

    return workspace_row_insert(tx, &w, err);
}

static void
a_read_can_not_write(void **state)
{
    REFUSES(ERR_STORE_UNAVAILABLE, store_read(store, write_something, NULL, &e));
    in_read(has_no_99);
    OK(store_tx(store, write_something, NULL, &e));
}

/* Several statements of several nouns: what a request does. */
static enum err
a_whole_request(struct store_tx *tx, void *ctx, struct error *err)
{
    struct secret_row s = sample_secret(1, 11, "MODEL", 1);
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, 300);
    struct ledger_entry en = sample_entry(1, 11, 400);
    struct decision_row d = sample_decision(1, 11, 500);
    struct event_row ev = {.org = id_of(1), .type = STR("t"), .json = STR("{}"), .created_ms = 1};

    struct workspace_life life = {.status = WORKSPACE_ONLINE};

    if (workspace_row_set_life(tx, id_of(1), id_of(11), &life, err) != ERR_OK ||
        secret_row_put(tx, &s, err) != ERR_OK || token_row_insert(tx, &t, err) != ERR_OK ||
        ledger_row_append(tx, &en, NULL, err) != ERR_OK ||
        decision_row_append(tx, &d, err) != ERR_OK ||
        event_row_append(tx, &ev, NULL, err) != ERR_OK)
        return err->code;
    return ERR_OK;
}

static int64_t traces;

static void
count_traces(struct store_tx *tx)
{
    traces = int_sql(tx,
        "SELECT (SELECT COUNT(*) FROM workspaces WHERE status = 'online')"
        " + (SELECT COUNT(*) FROM workspace_secrets) + (SELECT COUNT(*) FROM tokens)"
        " + (SELECT COUNT(*) FROM ledger) + (SELECT COUNT(*) FROM decisions)"
        " + (SELECT COUNT(*) FROM events) + (SELECT COUNT(*) FROM heads)");
}

typedef enum err run_fn(struct store *s, store_tx_fn *fn, void *ctx, struct error *err);

static void
fail_every_call_in_turn(run_fn *run)
{
    enum { ALL = 6 + 3, MANY = 100000 };
    long n = 1;
    enum err err = ERR_STORE_UNAVAILABLE;

    for (; err != ERR_OK && n < MANY; n++) {
        store_fault_set(store, n);
        err = run(store, a_whole_request, NULL, &e);
        assert_true(err == ERR_OK || err == ERR_STORE_UNAVAILABLE);
        store_fault_set(store, 0);
        in_read(count_traces);
        if (traces != (err == ERR_OK ? ALL : 0))
            fail_msg(
                "call %ld failed (%s) and left %d of %d rows", n, err_name(err), (int)traces, ALL);
    }
    assert_true(n > 100 && n < MANY);
}

static void
a_failure_of_any_call_leaves_all_or_nothing(void **state)
{
    fail_every_call_in_turn(store_tx);
}

static void
a_failure_of_any_call_leaves_all_or_nothing_durably(void **state)
{
    fail_every_call_in_turn(store_tx_durable);
}

static enum err
read_everything(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row *rows;
    size_t n = 0;

    if (workspace_row_list(tx, id_of(1), &arena, &rows, &n, err) != ERR_OK)
        return err->code;
    assert_int_equal(n, 1);
    return ERR_OK;
}

static void
a_failed_read_is_never_empty(void **state)
{
    enum err err = ERR_STORE_UNAVAILABLE;
    long n = 1;

    for (; err != ERR_OK && n < 1000; n++) {
        store_fault_set(store, n);
        err = store_read(store, read_everything, NULL, &e);
        assert_true(err == ERR_OK || err == ERR_STORE_UNAVAILABLE);
    }
    assert_true(n > 10 && n < 1000);
    store_fault_set(store, 0);
}

enum { THREADS = 12, ROUNDS = 25 };

static enum err
book_one(struct store_tx *tx, void *ctx, struct error *err)
{
    struct ledger_entry en = sample_entry(1, 11, *(int *)ctx);
    struct event_row ev = {.org = id_of(1), .type = STR("t"), .json = STR("{}"), .created_ms = 1};

    if (ledger_row_append(tx, &en, NULL, err) != ERR_OK)
        return err->code;
    return event_row_append(tx, &ev, NULL, err);
}

static enum err
look(struct store_tx *tx, void *ctx, struct error *err)
{
    struct ledger_totals t;

    return ledger_row_totals(tx, id_of(1), id_of(11), 0, 0, &t, err);
}

static void *
book_many(void *number)
{
    for (int i = 0; i < ROUNDS; i++) {
        int call = 1000 + (int)(intptr_t)number * ROUNDS + i;
        struct error err;

        if ((i % 2 == 0 ? store_tx : store_tx_durable)(store, book_one, &call, &err) != ERR_OK ||
            store_read(store, look, NULL, &err) != ERR_OK) {
            fprintf(stderr, "%s\n", err.text);
            return number;
        }
    }
    return NULL;
}

static void
all_were_booked(struct store_tx *tx)
{
    bool valid = false;
    struct str why;

    OK(ledger_chain_verify(tx, id_of(1), store_tx_node(tx), 0, &arena, &valid, &why, &e));
    assert_true(valid);
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM ledger"), THREADS * ROUNDS);
    assert_int_equal(int_sql(tx, "SELECT MAX(seq) FROM events"), THREADS * ROUNDS);
}

static void
many_threads_write_one_chain(void **state)
{
    pthread_t threads[THREADS];

    for (intptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, book_many, (void *)(i + 1)), 0);
    for (int i = 0; i < THREADS; i++) {
        void *broken;

        pthread_join(threads[i], &broken);
        assert_null(broken);
    }
    in_read(all_were_booked);
}

/* A second purser (a command beside the daemon) has its own pool on the same file. */
static void
two_stores_on_one_file_take_turns(void **state)
{
    struct store *other;

    OK(store_open(store_url, &other, &e));
    assert_true(id_equal(store_node(store), store_node(other)));
    for (int call = 1; call <= 40; call++)
        OK(store_tx(call % 2 == 0 ? store : other, book_one, &call, &e));
    in_read(count_traces);
    assert_int_equal(traces, 40 + 40 + 2);
    store_close(other);
}

static int64_t ledger_rows;

static void
count_ledger(struct store_tx *tx)
{
    ledger_rows = int_sql(tx, "SELECT COUNT(*) FROM ledger");
}

/* How many ledger rows another process sees; it opens the store, looks and closes it again. */
static int
look_from_another_process(void)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        execl("/proc/self/exe", "test-store", store_url.p, NULL);
        _exit(255);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int
be_another_process(const char *url)
{
    int seen = 0;

    if (store_open(str_from_cstr(url), &store, &e) != ERR_OK)
        return 254;
    in_read(count_ledger);
    seen = (int)ledger_rows;
    store_close(store);
    return seen;
}

/*
 * A command beside the daemon, or a backup, that opens and closes the same file must not take the
 * write-ahead log away from under a daemon that goes on writing.
 */
static void
another_process_takes_nothing_away(void **state)
{
    if (!store_is_file)
        return;
    for (int call = 1; call <= 4; call++) {
        OK((call % 2 == 0 ? store_tx : store_tx_durable)(store, book_one, &call, &e));
        assert_int_equal(look_from_another_process(), call);
    }
}

/* As if nobody had ever migrated: the runner's own tables are gone, too. */
static void
drop_books(void)
{
    struct str target;
    const struct db_driver *driver = db_driver_for(store_url, &target);
    struct db *db;

    OK(db_open(driver, target, 0, NULL, &db, &e));
    assert_int_equal(db_exec(db, "DROP TABLE schema_migrations; DROP TABLE schema_lock"), DB_OK);
    db_close(db);
}

/* Several purserds that start at once on a store that nobody has made yet. */
static void
processes_that_migrate_at_once_take_turns(void **state)
{
    enum { PROCESSES = 6 };
    pid_t pids[PROCESSES];
    int status, version = 0;

    for (int round = 0; round < 3; round++) {
        store_close(TAKE(store));
        OK(store_migrate(store_url, 0, &e));
        drop_books();
        for (int i = 0; i < PROCESSES; i++) {
            pids[i] = fork();
            if (pids[i] == 0) {
                execl("/proc/self/exe", "test-store", store_url.p, NULL);
                _exit(255);
            }
        }
        for (int i = 0; i < PROCESSES; i++) {
            assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
        OK(store_version(store_url, &version, &e));
        assert_int_equal(version, store_version_known());
        OK(store_open(store_url, &store, &e));
    }
}

static int runs;

static enum err
be_killed_once(struct store_tx *tx, void *ctx, struct error *err)
{
    struct workspace_row w = sample_workspace(1, 99);

    if (workspace_row_insert(tx, &w, err) != ERR_OK)
        return err->code;
    if (runs++ == 0) {
        struct query q = query_start(tx, "SELECT pg_terminate_backend(pg_backend_pid())");

        return query_run(&q, err);
    }
    return ERR_OK;
}

static void
has_one_99(struct store_tx *tx)
{
    assert_int_equal(int_sql(tx, "SELECT COUNT(*) FROM workspaces WHERE id LIKE '%0063'"), 1);
}

static void
a_lost_connection_is_replaced_and_the_transaction_run_again(void **state)
{
    if (store_is_file)
        return; /* no connection to lose */
    runs = 0;
    OK(store_tx(store, be_killed_once, NULL, &e));
    assert_int_equal(runs, 2);
    in_read(has_one_99);
}

static pthread_barrier_t all_there;

static enum err
wait_for_all(struct store_tx *tx, void *ctx, struct error *err)
{
    pthread_barrier_wait(&all_there);
    return ERR_OK;
}

static void *
take_a_connection(void *ctx)
{
    struct error err;

    return store_read(store, wait_for_all, NULL, &err) == ERR_OK ? NULL : ctx;
}

static enum err
end_the_others(struct store_tx *tx, void *ctx, struct error *err)
{
    exec_sql(tx,
        "SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()");
    return ERR_OK;
}

static long
calls_of_a_read(void)
{
    store_fault_set(store, 0);
    OK(store_read(store, read_everything, NULL, &e));
    return store_fault_calls(store);
}

/* One failure is enough to know: not every connection of the pool is found dead in turn. */
static void
a_server_that_was_away_costs_one_failure(void **state)
{
    enum { CONNECTIONS = 8 };
    pthread_t threads[CONNECTIONS];
    struct store *other;
    long healthy;

    if (store_is_file)
        return; /* no connection to lose */
    assert_int_equal(pthread_barrier_init(&all_there, NULL, CONNECTIONS), 0);
    for (int i = 0; i < CONNECTIONS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_a_connection, &all_there), 0);
    for (int i = 0; i < CONNECTIONS; i++) {
        void *broken;

        pthread_join(threads[i], &broken);
        assert_null(broken);
    }
    pthread_barrier_destroy(&all_there);
    healthy = calls_of_a_read();
    OK(store_open(store_url, &other, &e));
    OK(store_tx(other, end_the_others, NULL, &e));
    store_close(other);
    assert_true(calls_of_a_read() <= healthy + 3); /* begin, roll back, open */
}

int
main(int argc, char **argv)
{
    if (argc == 2)
        return be_another_process(argv[1]);
    const struct CMUnitTest tests[] = {
        STORE_TEST(makes_a_private_file_and_keeps_its_node),
        STORE_TEST(refuses_a_store_of_a_later_version_and_leaves_it),
        STORE_TEST(migrates_down_to_nothing_and_up_again),
        STORE_TEST(refuses_a_path_that_can_not_be_a_store),
        STORE_TEST(refuses_a_file_that_is_no_store),
        STORE_TEST(an_error_of_the_function_rolls_back),
        STORE_TEST(a_rollback_that_fails_costs_the_connection_not_the_store),
        STORE_TEST(a_failed_statement_is_never_committed_around),
        STORE_TEST(a_read_can_not_write),
        STORE_TEST(a_failure_of_any_call_leaves_all_or_nothing),
        STORE_TEST(a_failure_of_any_call_leaves_all_or_nothing_durably),
        STORE_TEST(a_failed_read_is_never_empty),
        STORE_TEST(many_threads_write_one_chain),
        STORE_TEST(two_stores_on_one_file_take_turns),
        STORE_TEST(another_process_takes_nothing_away),
        STORE_TEST(processes_that_migrate_at_once_take_turns),
        STORE_TEST(a_server_that_was_away_costs_one_failure),
        STORE_TEST(a_lost_connection_is_replaced_and_the_transaction_run_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
