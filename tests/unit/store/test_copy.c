#include "fixture.h"

#include "store/copy.h"

#include <unistd.h>

static char file[64]; /* the other store: SQLite */
static struct str file_url;

static int
setup(void **state)
{
    if (fixture_setup(state) != 0)
        return -1;
    snprintf(file, sizeof(file), "/tmp/test-copy-XXXXXX");
    close(mkstemp(file));
    unlink(file);
    file_url = str_from_cstr(file);
    return 0;
}

static int
teardown(void **state)
{
    static const char *const suffixes[] = {"", "-wal", "-shm", ".lock"};

    for (size_t i = 0; i < 4; i++)
        unlink(arena_printf(&arena, "%s%s", file, suffixes[i]).p);
    return fixture_teardown(state);
}

static void
every_table_is_in_the_list(struct store_tx *tx)
{
    struct query q = query_start(tx, tx->db->driver->tables_sql);
    const char *const *listed = copy_tables();
    size_t n = 0, listed_n = 0;

    while (listed[listed_n] != NULL)
        listed_n++;
    while (query_row(&q)) {
        struct str name = query_get_text(&q, &arena);
        size_t i = 0;

        while (i < listed_n && !str_equal(name, str_from_cstr(listed[i])))
            i++;
        if (i == listed_n)
            fail_msg("%.*s is not in store/copy_tables.def: it would not be copied", STR_ARG(name));
        n++;
    }
    OK(query_end(&q, &e));
    assert_int_equal(n, listed_n);
}

static void
no_table_is_forgotten(void **state)
{
    in_read(every_table_is_in_the_list);
}

/* Something of everything; a workspace whose parent was made after it; more rows than a page. */
static void
fill(struct store_tx *tx)
{
    struct workspace_row child = sample_workspace(1, 10), parent = sample_workspace(1, 12);
    struct secret_row s = sample_secret(1, 11, "MODEL", 1), o = sample_secret(1, 0, "MODEL", 1);
    struct token_row t = sample_token(1, 11, TOKEN_USAGE, 300);
    struct ledger_entry en = sample_entry(1, 11, 400);
    struct decision_row d = sample_decision(1, 11, 500);

    OK(workspace_row_insert(tx, &child, &e));
    OK(workspace_row_insert(tx, &parent, &e));
    exec_sql(tx,
        "UPDATE workspaces SET parent_id = '00000000-0000-0000-0000-00000000000c',"
        " llm_billing_mode = 'b''yok\xc3\xa9' WHERE id = '00000000-0000-0000-0000-00000000000a'");
    OK(secret_row_put(tx, &s, &e));
    OK(secret_row_put(tx, &o, &e));
    OK(token_row_insert(tx, &t, &e));
    OK(ledger_row_append(tx, &en, NULL, &e));
    OK(decision_row_append(tx, &d, &e));
    for (int i = 0; i < 2500; i++) {
        struct event_row ev = {
            .org = id_of(1 + i % 2), .type = STR("t"), .json = STR("{}"), .created_ms = -i};

        OK(event_row_append(tx, &ev, NULL, &e));
    }
}

/* The digests of the store that is open, kept apart. */
static struct copy_table *
digests(size_t *ret_n)
{
    struct copy_table *tables;

    OK(store_digest(store, &arena, &tables, ret_n, &e));
    return tables;
}

static void
assert_same(const struct copy_table *a, size_t n)
{
    size_t m;
    const struct copy_table *b = digests(&m);

    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        if (a[i].rows != b[i].rows || memcmp(a[i].digest, b[i].digest, COPY_DIGEST_BYTES) != 0)
            fail_msg("%s: %d rows, then %d; or another digest", a[i].name, (int)a[i].rows,
                (int)b[i].rows);
    }
}

static int told;

static void
count_told(void *ctx, const struct copy_table *table)
{
    told++;
}

static void
chains_hold(struct store_tx *tx)
{
    bool valid = false;
    struct str why;

    OK(ledger_chain_verify(tx, id_of(1), store_tx_node(tx), 0, &arena, &valid, &why, &e));
    assert_true(valid);
}

static void
a_copy_there_and_back_is_the_same(void **state)
{
    struct copy_table *before;
    struct id node = store_node(store);
    size_t n;

    in_tx(fill);
    before = digests(&n);
    store_close(TAKE(store));
    told = 0;
    OK(store_copy(store_url, file_url, count_told, NULL, &e));
    assert_int_equal(told, n);
    OK(store_migrate(store_url, 0, &e));
    OK(store_copy(file_url, store_url, NULL, NULL, &e));
    OK(store_open(store_url, &store, &e));
    assert_true(id_equal(store_node(store), node));
    in_read(chains_hold);
    assert_same(before, n);
}

static void
change_one_byte(struct store_tx *tx)
{
    exec_sql(tx, "UPDATE decisions SET record = '{\"inputs\":{} }'");
}

static void
a_digest_sees_one_byte(void **state)
{
    struct copy_table *before, *after;
    size_t n, different = 0;

    in_tx(fill);
    before = digests(&n);
    in_tx(change_one_byte);
    after = digests(&n);
    for (size_t i = 0; i < n; i++)
        different += memcmp(before[i].digest, after[i].digest, COPY_DIGEST_BYTES) != 0;
    assert_int_equal(different, 1);
}

static void
a_target_that_holds_something_is_refused(void **state)
{
    struct store *target;
    size_t n;
    struct copy_table *before;

    in_tx(fill);
    before = digests(&n);
    store_close(TAKE(store));
    OK(store_open(file_url, &target, &e)); /* has a node now */
    store_close(target);
    REFUSES(ERR_CONFLICT, store_copy(store_url, file_url, NULL, NULL, &e));
    REFUSES(ERR_CONFLICT, store_copy(file_url, store_url, NULL, NULL, &e));
    OK(store_open(store_url, &store, &e));
    assert_same(before, n);
}

static void
a_store_of_another_version_is_refused(void **state)
{
    struct store *target;
    int version = 0;

    store_close(TAKE(store));
    OK(store_migrate(store_url, 1, &e));
    REFUSES(ERR_CONFLICT, store_copy(store_url, file_url, NULL, NULL, &e));
    OK(store_migrate(store_url, store_version_known(), &e));
    OK(store_open(file_url, &target, &e)); /* has a node now */
    store_close(target);
    OK(store_migrate(file_url, 1, &e));
    REFUSES(ERR_CONFLICT, store_copy(store_url, file_url, NULL, NULL, &e));
    OK(store_version(file_url, &version, &e));
    assert_int_equal(version, 1);
    OK(store_open(store_url, &store, &e));
}

/* What a copy leaves behind that was killed while it migrated its target. */
static void
a_target_that_is_half_migrated_is_finished(void **state)
{
    size_t n;
    struct copy_table *before;

    in_tx(fill);
    before = digests(&n);
    OK(store_migrate(file_url, 1, &e));
    store_close(TAKE(store));
    OK(store_copy(store_url, file_url, NULL, NULL, &e));
    OK(store_open(file_url, &store, &e));
    assert_same(before, n);
}

static void
a_store_of_a_later_purser_is_refused(void **state)
{
    in_tx(make_too_new);
    REFUSES(ERR_STORE_TOO_NEW, store_copy(store_url, file_url, NULL, NULL, &e));
    REFUSES(ERR_STORE_TOO_NEW, store_copy(store_url, store_url, NULL, NULL, &e));
    in_tx(make_known_again);
}

static void
a_source_that_is_not_there_is_not_made(void **state)
{
    REFUSES(ERR_STORE_UNAVAILABLE, store_copy(file_url, store_url, NULL, NULL, &e));
    assert_int_not_equal(access(file, F_OK), 0);
    REFUSES(ERR_STATE_LOCKED, store_copy(store_url, store_url, NULL, NULL, &e));
}

int
main(void)
{
#define COPY_TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        COPY_TEST(no_table_is_forgotten),
        COPY_TEST(a_copy_there_and_back_is_the_same),
        COPY_TEST(a_digest_sees_one_byte),
        COPY_TEST(a_target_that_holds_something_is_refused),
        COPY_TEST(a_store_of_another_version_is_refused),
        COPY_TEST(a_target_that_is_half_migrated_is_finished),
        COPY_TEST(a_store_of_a_later_purser_is_refused),
        COPY_TEST(a_source_that_is_not_there_is_not_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
