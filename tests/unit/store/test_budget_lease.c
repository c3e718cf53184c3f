#include "fixture.h"

#include "store/budget_lease.h"
#include "store/impl.h"
#include "store/ledger_row.h"

/*
 * Several nodes, which are played in turn, share a limit of 1000. Their clocks are the store's, which
 * is a row here, so time passes when a test says so.
 */
enum { A = 501, B, C, LIMIT = 1000, HOUR_MS = 3600 * 1000, FOR_MS = 10 * 60 * 1000 };

static const int64_t noon = (int64_t)HOUR_MS * 480000;
static struct budget_row budget;
static struct db_driver driver;
static int64_t here_ms; /* what clock_ms() says */

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_monotonic_ms(void);

int64_t
__wrap_clock_ms(void)
{
    return here_ms;
}

int64_t
__wrap_clock_monotonic_ms(void)
{
    return here_ms;
}

static void
seed_nodes(struct store_tx *tx)
{
    OK(budget_row_put(tx, &budget, &e));
    exec_sql(tx, "UPDATE nodes SET last_seen_ms = 0"); /* of who opened it: none of ours */
    for (int node = A; node <= C; node++) {
        struct query q = query_start(tx,
            "INSERT INTO nodes (id, created_ms, last_seen_ms, leases_until_ms) VALUES ($1, 1, $2, "
            "$2)");

        query_id(&q, id_of(node));
        query_int(&q, noon);
        OK(query_run(&q, &e));
    }
}

static void
make_clock(struct store_tx *tx)
{
    exec_sql(tx, "DROP TABLE IF EXISTS test_clock");
    exec_sql(tx, "CREATE TABLE test_clock (ms BIGINT NOT NULL)");
    exec_sql(tx, "INSERT INTO test_clock VALUES (0)");
}

static int
set_up(void **state)
{
    here_ms = noon;
    if (fixture_setup(state) != 0)
        return -1;
    driver = *store->driver;
    driver.clock_sql = "SELECT ms FROM test_clock";
    store->driver = &driver;
    budget = (struct budget_row){
        .org = id_of(1), .period = BUDGET_HOUR, .hard = true, .limit_nano_usd = LIMIT};
    in_tx(make_clock);
    in_tx(seed_nodes);
    return 0;
}

static void
set_clock(struct store_tx *tx, int64_t ms)
{
    struct query q = query_start(tx, "UPDATE test_clock SET ms = $1");

    query_int(&q, ms);
    OK(query_run(&q, &e));
}

/* Everybody's clock. */
static void
at(struct store_tx *tx, int64_t ms)
{
    here_ms = ms;
    set_clock(tx, ms);
}

struct asks {
    int64_t lease, committed, settled, wished;
    bool wanted;
    int64_t recent_ms;
};

static int64_t elsewhere;

static int64_t
settle(struct store_tx *tx, int node, struct asks x)
{
    const struct budget_lease_ask ask = {
        &budget, here_ms, x.lease, x.committed, x.settled, x.wished, x.wanted, x.recent_ms};
    int64_t held = -1;

    store->node = id_of(node);
    OK(budget_lease_settle(tx, &ask, &held, &elsewhere, &e));
    return held;
}

static struct budget_lease_others
renew(struct store_tx *tx, int node)
{
    struct budget_lease_others others;

    store->node = id_of(node);
    OK(budget_lease_renew(tx, FOR_MS, 15000, &arena, &others, &e));
    return others;
}

static int64_t
held_in_all(struct store_tx *tx)
{
    return int_sql(tx, "SELECT CAST(SUM(held_nano) AS BIGINT) FROM budget_leases");
}

TX_TEST(what_all_hold_is_never_more_than_the_limit)
{
    assert_int_equal(settle(tx, A, (struct asks){.wished = 700}), 700);
    assert_int_equal(settle(tx, B, (struct asks){.wished = 700}), 300);
    assert_int_equal(settle(tx, C, (struct asks){.wished = 1}), 0);
    assert_int_equal(held_in_all(tx), LIMIT);
    /* What one gives back is there for the next who asks. */
    assert_int_equal(settle(tx, A, (struct asks){.lease = 200, .wished = 200}), 200);
    assert_int_equal(settle(tx, C, (struct asks){.wished = 450}), 450);
    assert_int_equal(settle(tx, B, (struct asks){.lease = 300, .wished = LIMIT}), 350);
    assert_int_equal(held_in_all(tx), LIMIT);
}

TX_TEST(what_is_committed_is_never_taken_away)
{
    assert_int_equal(settle(tx, A, (struct asks){.wished = 600}), 600);
    assert_int_equal(settle(tx, B, (struct asks){.wished = 400}), 400);
    budget.limit_nano_usd = 500;
    assert_int_equal(
        settle(tx, A, (struct asks){.lease = 250, .committed = 250, .wished = 600}), 250);
    assert_int_equal(
        settle(tx, B, (struct asks){.lease = 10, .committed = 10, .wished = 400}), 250);
    assert_int_equal(held_in_all(tx), 500);
    /* A vendor may bill more than was reserved. */
    assert_int_equal(
        settle(tx, A, (struct asks){.lease = 250, .committed = 290, .wished = 1}), 290);
}

/* The gateway may commit up to its lease while the store is asked. */
TX_TEST(what_the_gateway_may_still_commit_is_not_taken_either)
{
    assert_int_equal(settle(tx, A, (struct asks){.wished = 600}), 600);
    assert_int_equal(
        settle(tx, A, (struct asks){.lease = 600, .committed = 10, .wished = 20}), 600);
    /* Of a lease that the store never gave it, it keeps what was given. */
    assert_int_equal(settle(tx, B, (struct asks){.lease = 900, .committed = 5, .wished = 9}), 9);
}

TX_TEST(who_waits_is_told_to_the_others_until_there_is_enough)
{
    struct budget_lease_others o;

    at(tx, noon);
    (void)settle(tx, A, (struct asks){.wished = LIMIT});
    (void)settle(tx, B, (struct asks){.wished = LIMIT, .wanted = true});
    o = renew(tx, A);
    assert_int_equal(o.wanted_n, 1);
    assert_true(id_equal(o.wanted[0].node, id_of(B)));
    assert_int_equal(renew(tx, B).wanted_n, 0); /* its own wish */
    (void)settle(tx, A, (struct asks){.lease = 100, .wished = 100});
    assert_int_equal(settle(tx, B, (struct asks){.wished = LIMIT, .wanted = true}), 900);
    assert_int_equal(renew(tx, A).wanted_n, 0);
    /* A wish of long ago is none: who had it may be dead. */
    (void)settle(tx, C, (struct asks){.wished = LIMIT, .wanted = true});
    at(tx, noon + 16000);
    assert_int_equal(renew(tx, A).wanted_n, 0);
}

TX_TEST(who_was_not_seen_lately_is_not_there)
{
    at(tx, noon);
    assert_false(renew(tx, A).alone);
    at(tx, noon + 16000);
    assert_true(renew(tx, A).alone);
}

TX_TEST(a_dead_nodes_lease_comes_back_with_the_first_period_it_cannot_have_spent_in)
{
    at(tx, noon);
    (void)renew(tx, B);
    (void)settle(tx, B, (struct asks){.committed = 350, .settled = 300, .wished = 600});
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT}), 400);
    at(tx, noon + HOUR_MS - 1);
    assert_int_equal(settle(tx, A, (struct asks){.lease = 400, .wished = LIMIT}), 400);
    at(tx, noon + HOUR_MS);
    assert_int_equal(settle(tx, A, (struct asks){.lease = 400, .wished = LIMIT}), LIMIT);
}

TX_TEST(what_the_dead_have_spent_in_this_period_is_spent)
{
    at(tx, noon);
    (void)settle(tx, B, (struct asks){.committed = 350, .settled = 300, .wished = 600});
    exec_sql(tx, "UPDATE nodes SET leases_until_ms = 0");
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT}), 700);
    assert_int_equal(elsewhere, 300);
}

TX_TEST(a_node_that_may_still_spend_keeps_its_lease_into_the_next_period)
{
    at(tx, noon + HOUR_MS - FOR_MS + 1);
    (void)renew(tx, B); /* until just behind the full hour */
    (void)settle(tx, B, (struct asks){.wished = 600});
    at(tx, noon + HOUR_MS);
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT}), 400);
    at(tx, noon + 2 * HOUR_MS);
    assert_int_equal(settle(tx, A, (struct asks){.lease = 400, .wished = LIMIT}), LIMIT);
}

TX_TEST(a_budget_in_total_never_comes_back_from_the_dead)
{
    budget.period = BUDGET_TOTAL;
    at(tx, noon);
    (void)renew(tx, B);
    (void)settle(tx, B, (struct asks){.settled = 1, .wished = 600});
    at(tx, noon + 1000 * (int64_t)HOUR_MS);
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT}), 400);
}

TX_TEST(what_others_have_settled_counts_in_its_period_only)
{
    at(tx, noon);
    (void)settle(tx, B, (struct asks){.committed = 40, .settled = 30, .wished = 50});
    (void)settle(tx, C, (struct asks){.committed = 9, .settled = 7, .wished = 50});
    (void)settle(tx, A, (struct asks){.wished = 50});
    assert_int_equal(elsewhere, 37);
    at(tx, noon + HOUR_MS);
    (void)settle(tx, A, (struct asks){.lease = 50, .wished = 50});
    assert_int_equal(elsewhere, 0);
}

TX_TEST(a_clock_that_is_wrong_gets_nothing)
{
    static const struct {
        int64_t off_ms;
        bool fine;
        const char *says;
    } cases[] = {
        {0, true, NULL},
        {BUDGET_LEASE_CLOCK_OFF_MS, true, NULL},
        {-BUDGET_LEASE_CLOCK_OFF_MS, true, NULL},
        {2100, false, "2.1 s ahead of the store's"},
        {-HOUR_MS, false, "3600.0 s behind the store's"},
    };
    struct budget_lease_others o;

    store->node = id_of(A);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        set_clock(tx, noon);
        here_ms = noon + cases[i].off_ms;
        if (cases[i].fine) {
            OK(budget_lease_renew(tx, FOR_MS, 15000, &arena, &o, &e));
        } else {
            REFUSES(ERR_STATE_UNUSABLE, budget_lease_renew(tx, FOR_MS, 15000, &arena, &o, &e));
            if (strstr(e.text, cases[i].says) == NULL)
                fail_msg("%s: %s", cases[i].says, e.text);
        }
    }
    /* How long it may spend is told by the clock that all share. */
    assert_int_equal(int_sql(tx, "SELECT MAX(leases_until_ms) FROM nodes"), noon + FOR_MS);
}

/* --- what a node begins with ------------------------------------------------------------------ */

static void
book(struct store_tx *tx, int node, int call, enum ledger_kind kind, int64_t cost)
{
    struct ledger_entry en = sample_entry(1, 11, call);

    store->node = id_of(node);
    en.kind = kind;
    en.opened_ms = noon + 5;
    en.cost_nano_usd = cost;
    OK(ledger_row_append(tx, &en, NULL, &e));
}

static int64_t
spent_by(struct store_tx *tx, int node)
{
    int64_t spent = -1;

    store->node = id_of(node);
    OK(budget_row_spent_here(tx, &budget, noon, &spent, &e));
    return spent;
}

TX_TEST(a_new_budget_knows_what_each_node_had_spent_before_it)
{
    budget.limit_nano_usd = 500;
    book(tx, A, 401, LEDGER_CALL, 50);
    book(tx, B, 402, LEDGER_CALL, 100);
    book(tx, B, 403, LEDGER_CALL, 20);
    book(tx, C, 402, LEDGER_CORRECTION, -60);
    assert_int_equal(
        settle(tx, A, (struct asks){.committed = 50, .settled = 50, .wished = LIMIT}), 380);
    assert_int_equal(elsewhere, 120);
}

TX_TEST(no_node_gets_much_of_it_before_those_seen_lately_have_told_what_they_spent)
{
    const struct asks much = {.wished = LIMIT, .recent_ms = 15000};

    at(tx, noon);
    book(tx, B, 402, LEDGER_CALL, 100);
    assert_int_equal(settle(tx, A, much), LIMIT / BUDGET_LEASE_SHARE);
    /* That B has booked something is not all of it. */
    (void)settle(tx, C, (struct asks){.wished = 0});
    assert_int_equal(settle(tx, A, much), LIMIT / BUDGET_LEASE_SHARE);
    (void)settle(tx, B, (struct asks){.committed = 340, .settled = 100});
    assert_int_equal(settle(tx, A, much), 660);
}

TX_TEST(who_was_not_seen_lately_is_not_waited_for)
{
    at(tx, noon + 16000);
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT, .recent_ms = 15000}), LIMIT);
}

TX_TEST(what_was_told_before_a_budget_only_warned_is_told_anew)
{
    const struct asks much = {.wished = LIMIT, .recent_ms = 15000};
    struct query q = query_start(tx, "SELECT id FROM budgets");

    assert_true(query_row(&q));
    budget.id = query_get_id(&q);
    OK(query_end(&q, &e));
    at(tx, noon);
    for (int node = B; node <= C; node++)
        (void)settle(tx, node, (struct asks){.wished = 0});
    assert_int_equal(settle(tx, A, much), LIMIT);
    OK(budget_row_put(tx, &budget, &e));
    assert_int_equal(held_in_all(tx), LIMIT);
    budget.hard = false;
    OK(budget_row_put(tx, &budget, &e));
    budget.hard = true;
    OK(budget_row_put(tx, &budget, &e));
    /* Nothing of what the others have booked since is had twice, even when they never tell. */
    book(tx, B, 402, LEDGER_CALL, 910);
    assert_int_equal(settle(tx, A, (struct asks){.wished = LIMIT}), 90);
    assert_int_equal(settle(tx, A, much), 90);
    (void)settle(tx, B, (struct asks){.committed = 800, .settled = 800});
    (void)settle(tx, C, (struct asks){.wished = 0});
    assert_int_equal(settle(tx, A, much), 200);
}

TX_TEST(a_correction_gives_back_to_the_node_that_made_the_call)
{
    book(tx, A, 401, LEDGER_CALL, 900);
    book(tx, B, 402, LEDGER_CALL, 70);
    book(tx, B, 401, LEDGER_CORRECTION, -880);
    assert_int_equal(spent_by(tx, A), 20);
    assert_int_equal(spent_by(tx, B), 70);
}

TX_TEST(a_budget_in_total_counts_what_was_removed_for_its_age)
{
    budget.period = BUDGET_TOTAL;
    for (int node = A; node <= B; node++) {
        struct query q = query_start(tx,
            "INSERT INTO pruned_spend (org_id, workspace_id, node_id, cost_nano_usd)"
            " VALUES ($1, $2, $3, $4)");

        query_id(&q, id_of(1));
        query_id(&q, id_of(11));
        query_id(&q, id_of(node));
        query_int(&q, node == A ? 300 : 450);
        OK(query_run(&q, &e));
    }
    book(tx, A, 401, LEDGER_CALL, 50);
    assert_int_equal(spent_by(tx, A), 350);
    assert_int_equal(settle(tx, A, (struct asks){.committed = 350, .wished = LIMIT}), 550);
    budget.period = BUDGET_MONTH;
    assert_int_equal(spent_by(tx, A), 50);
}

/* --- two at the same time --------------------------------------------------------------------- */

struct race {
    int node;
    int64_t held;
};

static enum err
race_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct race *r = ctx;
    const struct budget_lease_ask ask = {
        .budget = &budget, .now_ms = noon, .wished = 600, .wanted = true};
    int64_t others;
    struct query q;
    enum err code = budget_lease_settle(tx, &ask, &r->held, &others, err);

    if (code != ERR_OK)
        return code;
    /* The asker's row is another node's when this is played by the second thread. */
    q = query_start(tx, "UPDATE budget_leases SET node_id = $1 WHERE node_id = $2");
    query_id(&q, id_of(r->node));
    query_id(&q, store_tx_node(tx));
    return query_run(&q, err);
}

static void *
race_main(void *arg)
{
    struct error err;

    return store_tx(store, race_tx, arg, &err) == ERR_OK ? arg : NULL;
}

static void
two_that_take_the_last_piece_at_once_get_it_once(void **state)
{
    struct race races[2] = {{.node = A}, {.node = B}};
    pthread_t threads[2];

    store->node = id_of(C);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_main, &races[i]), 0);
    for (int i = 0; i < 2; i++) {
        void *ended;

        pthread_join(threads[i], &ended);
        assert_non_null(ended);
    }
    assert_int_equal(races[0].held + races[1].held, LIMIT);
}

#define LEASE_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LEASE_TEST(what_all_hold_is_never_more_than_the_limit),
        LEASE_TEST(what_is_committed_is_never_taken_away),
        LEASE_TEST(what_the_gateway_may_still_commit_is_not_taken_either),
        LEASE_TEST(who_waits_is_told_to_the_others_until_there_is_enough),
        LEASE_TEST(who_was_not_seen_lately_is_not_there),
        LEASE_TEST(a_dead_nodes_lease_comes_back_with_the_first_period_it_cannot_have_spent_in),
        LEASE_TEST(what_the_dead_have_spent_in_this_period_is_spent),
        LEASE_TEST(a_node_that_may_still_spend_keeps_its_lease_into_the_next_period),
        LEASE_TEST(a_budget_in_total_never_comes_back_from_the_dead),
        LEASE_TEST(what_others_have_settled_counts_in_its_period_only),
        LEASE_TEST(a_clock_that_is_wrong_gets_nothing),
        LEASE_TEST(a_new_budget_knows_what_each_node_had_spent_before_it),
        LEASE_TEST(no_node_gets_much_of_it_before_those_seen_lately_have_told_what_they_spent),
        LEASE_TEST(who_was_not_seen_lately_is_not_waited_for),
        LEASE_TEST(what_was_told_before_a_budget_only_warned_is_told_anew),
        LEASE_TEST(a_correction_gives_back_to_the_node_that_made_the_call),
        LEASE_TEST(a_budget_in_total_counts_what_was_removed_for_its_age),
        LEASE_TEST(two_that_take_the_last_piece_at_once_get_it_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
