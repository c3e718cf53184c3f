/* Many entries in one transaction, as the drain books them. */
#include "fixture.h"

#include "store/ledger_row.h"

enum { MANY = 600 }; /* more than are on their way to a server at once */

static struct ledger_entry entries[MANY];
static size_t entries_n;
static bool may_be_booked;

static enum err
book_all(struct store_tx *tx, void *ctx, struct error *err)
{
    return ledger_row_append_all(tx, entries, entries_n, may_be_booked, err);
}

static enum err
book(size_t from, size_t n, bool careful)
{
    enum err err;

    memmove(entries, entries + from, n * sizeof(entries[0]));
    entries_n = n;
    may_be_booked = careful;
    err = store_tx_durable(store, book_all, NULL, &e);
    return err;
}

/* n entries of orgs 1, 2, 3, 1, 2 ... */
static void
make(size_t n, int orgs)
{
    for (size_t i = 0; i < n; i++)
        entries[i] = sample_entry(1 + (int)i % orgs, 11, 1000 + (int)i);
}

struct seen {
    int64_t rows, heads;
    int64_t last[4]; /* of each org's chain */
    bool valid;
};

static enum err
look(struct store_tx *tx, void *ctx, struct error *err)
{
    struct seen *seen = ctx;

    *seen = (struct seen){.valid = true};
    seen->rows = int_sql(tx, "SELECT COUNT(*) FROM ledger");
    seen->heads = int_sql(tx, "SELECT COUNT(*) FROM heads WHERE chain = 'ledger'");
    for (int org = 1; org <= 3; org++) {
        bool valid = false;
        struct str why;
        struct query q =
            query_start(tx, "SELECT COALESCE(MAX(seq), 0) FROM ledger WHERE org_id = $1");

        query_id(&q, id_of(org));
        if (query_row(&q))
            seen->last[org] = query_get_int(&q);
        OK(query_end(&q, err));
        OK(ledger_chain_verify(tx, id_of(org), store_tx_node(tx), 0, &arena, &valid, &why, err));
        seen->valid = seen->valid && valid;
    }
    return ERR_OK;
}

static struct seen
seen(void)
{
    struct seen s;

    OK(store_read(store, look, &s, &e));
    return s;
}

static void
each_org_gets_one_chain_whatever_the_order_of_its_entries(void **state)
{
    make(MANY, 3);
    OK(book(0, MANY, false));
    assert_int_equal(seen().rows, MANY);
    assert_int_equal(seen().heads, 3);
    assert_int_equal(seen().last[1], MANY / 3);
    assert_int_equal(seen().last[3], MANY / 3);
    assert_true(seen().valid);
    /* The next ones go on behind them. */
    make(9, 1);
    for (int i = 0; i < 9; i++)
        entries[i].attempt = 2;
    OK(book(0, 9, false));
    assert_int_equal(seen().last[1], MANY / 3 + 9);
    assert_true(seen().valid);
}

static void
nothing_to_book_makes_no_chain(void **state)
{
    OK(book(0, 0, false));
    assert_int_equal(seen().heads, 0);
}

static void
one_that_is_there_is_a_conflict_and_books_nothing(void **state)
{
    make(8, 2);
    OK(book(4, 1, false));
    make(MANY, 2);
    assert_int_equal(book(0, MANY, false), ERR_CONFLICT);
    assert_int_equal(seen().rows, 1);
    assert_int_equal(seen().heads, 1);
    /* What was refused does not stand in the way of what comes next. */
    make(1, 1);
    OK(book(0, 1, false));
    assert_int_equal(seen().last[1], 2);
    assert_true(seen().valid);
}

static void
only_what_is_missing_is_booked_when_some_may_be_there(void **state)
{
    make(20, 2);
    OK(book(3, 7, false));
    make(20, 2);
    OK(book(0, 20, true));
    make(20, 2);
    OK(book(0, 20, true));
    assert_int_equal(seen().rows, 20);
    assert_int_equal(seen().last[1], 10);
    assert_int_equal(seen().last[2], 10);
    assert_true(seen().valid);
}

static int64_t counted;

static void
count(struct store_tx *tx)
{
    counted = int_sql(tx, "SELECT COUNT(*) FROM ledger");
}

/* Whichever call into the engine fails: all is booked or nothing, and trying again books the rest. */
static void
a_failure_anywhere_books_nothing(void **state)
{
    long calls = 1;

    for (long n = 1; n <= calls; n++) {
        enum err err;

        for (int i = 0; i < 3; i++)
            entries[i] = sample_entry(1 + i / 2, 11, 1000 + (int)n * 3 + i);
        store_fault_set(store, n);
        err = book(0, 3, false);
        calls = store_fault_calls(store) + 1;
        store_fault_set(store, 0);
        in_read(count);
        assert_int_equal(counted, 3 * (n - 1) + (err == ERR_OK ? 3 : 0));
        if (err != ERR_OK) {
            assert_int_equal(err, ERR_STORE_UNAVAILABLE);
            OK(book(0, 3, false));
        }
    }
    assert_int_equal(seen().rows, 3 * calls);
    assert_int_equal(seen().last[1], 2 * calls);
    assert_true(seen().valid);
}

static const char *tamper;

static void
tamper_with_heads(struct store_tx *tx)
{
    exec_sql(tx, tamper);
}

/*
 * Somebody wrote into the heads: the calls of this org and of all others are booked nevertheless, and
 * the break shows.
 */
static void
a_head_that_is_not_the_end_of_its_chain_stops_nobody(void **state)
{
    static const char *const tampers[] = {"DELETE FROM heads", "UPDATE heads SET seq = seq - 2",
        "UPDATE heads SET hash = prev_hash FROM ledger WHERE ledger.org_id = heads.org_id",
        "UPDATE heads SET hash = canonical FROM ledger WHERE ledger.org_id = heads.org_id"};

    for (size_t i = 0; i < sizeof(tampers) / sizeof(tampers[0]); i++) {
        enum err err;

        make(3, 1);
        for (int k = 0; k < 3; k++)
            entries[k].attempt = 100 + (uint32_t)i;
        OK(book(0, 3, true));
        tamper = tampers[i];
        in_tx(tamper_with_heads);
        make(4, 2); /* orgs 1 and 2 by turns */
        for (int k = 0; k < 4; k++)
            entries[k].attempt = 200 + (uint32_t)i;
        err = book(0, 4, false);
        assert_true(err == ERR_OK || err == ERR_CONFLICT);
        if (err == ERR_CONFLICT) {
            make(4, 2);
            for (int k = 0; k < 4; k++)
                entries[k].attempt = 200 + (uint32_t)i;
            OK(book(0, 4, true));
        }
        assert_int_equal(seen().rows, 7 * (i + 1));
        assert_false(seen().valid);
    }
}

static int lost;

/* The server goes while statements are on their way to it. */
static enum err
book_and_lose(struct store_tx *tx, void *ctx, struct error *err)
{
    enum err code = ledger_row_append_all(tx, entries, entries_n, false, err);
    struct query q;

    if (code != ERR_OK || lost++ > 0)
        return code;
    q = query_start(tx, "SELECT pg_terminate_backend(pg_backend_pid())");
    return query_send(&q, err);
}

static void
a_connection_lost_on_the_way_is_made_anew_and_all_is_booked_once(void **state)
{
    if (store_is_file)
        return; /* no connection to lose */
    lost = 0;
    make(100, 3);
    entries_n = 100;
    OK(store_tx_durable(store, book_and_lose, NULL, &e));
    assert_int_equal(lost, 2);
    assert_int_equal(seen().rows, 100);
    assert_true(seen().valid);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(each_org_gets_one_chain_whatever_the_order_of_its_entries),
        STORE_TEST(nothing_to_book_makes_no_chain),
        STORE_TEST(one_that_is_there_is_a_conflict_and_books_nothing),
        STORE_TEST(only_what_is_missing_is_booked_when_some_may_be_there),
        STORE_TEST(a_failure_anywhere_books_nothing),
        STORE_TEST(a_head_that_is_not_the_end_of_its_chain_stops_nobody),
        STORE_TEST(a_connection_lost_on_the_way_is_made_anew_and_all_is_booked_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
