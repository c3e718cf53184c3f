#include "unit.h"

#include "base/cleanup.h"
#include "daemon/leases.h"
#include "store/impl.h"
#include "store/org_row.h"
#include "store/query.h"

#include <stdlib.h>
#include <unistd.h>

/*
 * Nodes with a gateway's counters each, on one store; a test plays them in turn and says how late it
 * is. SQLite stands in for the shared engine where there is no PostgreSQL at STORE_TEST_URL.
 */
enum { A, B, C, NODES, LIMIT = 8000, HOUR_MS = 3600 * 1000, AWAY_MS = 60 * 1000 };

static const int64_t noon = (int64_t)HOUR_MS * 480000;

struct node {
    struct id id;
    struct budget_slot slot;
    struct leases *leases;
    struct lease lease;
    int64_t clock_off_ms;
    int64_t down_ms; /* since when */
};

static char folder[] = "/tmp/test-leases-XXXXXX";
static struct store *store;
static struct db_driver driver;
static struct budget_row budget;
static struct node nodes[NODES];
static int64_t now_ms, clock_off_ms;
static struct error e;

int64_t __wrap_clock_ms(void);
int64_t __wrap_clock_monotonic_ms(void);

int64_t
__wrap_clock_ms(void)
{
    return now_ms + clock_off_ms;
}

int64_t
__wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

/* What a gateway could spend of while the store was asked: calls do not wait for that. */
static int64_t lowest_while_asked;

/* What the store is told must hold while it is asked: the gateway goes on meanwhile. */
enum err __real_budget_lease_settle(struct store_tx *tx, const struct budget_lease_ask *ask,
    int64_t *ret_held, int64_t *ret_elsewhere, struct error *err);
enum err __wrap_budget_lease_settle(struct store_tx *tx, const struct budget_lease_ask *ask,
    int64_t *ret_held, int64_t *ret_elsewhere, struct error *err);

enum err
__wrap_budget_lease_settle(struct store_tx *tx, const struct budget_lease_ask *ask,
    int64_t *ret_held, int64_t *ret_elsewhere, struct error *err)
{
    for (int i = 0; i < NODES; i++) {
        if (!id_equal(nodes[i].id, store_tx_node(tx)))
            continue;
        assert_true(atomic_load(&nodes[i].slot.lease_nano) <= ask->lease);
        if (atomic_load(&nodes[i].slot.lease_nano) < lowest_while_asked)
            lowest_while_asked = atomic_load(&nodes[i].slot.lease_nano);
        assert_true(budget_committed(&nodes[i].slot, ask->now_ms) <= ask->committed);
    }
    return __real_budget_lease_settle(tx, ask, ret_held, ret_elsewhere, err);
}

static enum err
sql_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct query q = query_start(tx, ctx);

    return query_run(&q, err);
}

static void
sql(const char *text)
{
    if (store_tx(store, sql_tx, (void *)(uintptr_t)text, &e) != ERR_OK)
        fail_msg("%s: %s", text, e.text);
}

/* The store's clock, and who was seen lately. */
static enum err
time_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct query q = query_start(tx, "UPDATE test_clock SET ms = $1");

    query_int(&q, now_ms);
    return query_run(&q, err);
}

static void
at(int64_t ms)
{
    now_ms = ms;
    assert_int_equal(store_tx(store, time_tx, NULL, &e), ERR_OK);
}

static enum err
seen_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct node *n = ctx;
    struct query q = query_start(tx,
        "INSERT INTO nodes (id, created_ms, last_seen_ms) VALUES ($1, $2, $2)"
        " ON CONFLICT (id) DO UPDATE SET last_seen_ms = excluded.last_seen_ms");

    query_id(&q, n->id);
    query_int(&q, now_ms);
    return query_run(&q, err);
}

static void
seen(struct node *n)
{
    assert_int_equal(store_tx(store, seen_tx, n, &e), ERR_OK);
}

/* As daemon/budgets.c does every half second. */
static void
look(struct node *n)
{
    store->node = n->id;
    clock_off_ms = n->clock_off_ms;
    leases_begin(n->leases);
    leases_see(n->leases, &budget, &n->slot, &n->lease);
    leases_end(n->leases);
    clock_off_ms = 0;
}

static void
look_a_second_later(void)
{
    at(now_ms + 1000);
    for (int i = 0; i < NODES; i++) {
        if (nodes[i].leases != NULL) {
            seen(&nodes[i]);
            look(&nodes[i]);
        }
    }
}

static void
node_up(struct node *n)
{
    n->leases = leases_new(store, AWAY_MS);
    n->lease = (struct lease){0};
    assert_non_null(n->leases);
    seen(n);
}

static void
node_down(struct node *n)
{
    leases_free(TAKE(n->leases));
    n->down_ms = now_ms;
}

static int64_t
held(const struct node *n)
{
    return atomic_load(&n->slot.lease_nano);
}

static enum budget_verdict
reserve(struct node *n, int64_t bound, uint16_t *ret_tag)
{
    const uint32_t place = 0;
    struct budget_ref ref;

    budget_refs(&n->slot, &place, 1, &ref);
    return budget_reserve(&n->slot, &ref, 1, bound, now_ms + n->clock_off_ms, ret_tag).verdict;
}

static enum budget_verdict
spend(struct node *n, int64_t amount)
{
    const uint32_t place = 0;
    struct budget_ref ref;
    uint16_t tag;
    enum budget_verdict v = reserve(n, amount, &tag);

    budget_refs(&n->slot, &place, 1, &ref);
    if (v == BUDGET_FITS)
        budget_settle(&n->slot, &ref, &tag, 1, amount, amount);
    return v;
}

static void
fresh_store(void)
{
    const char *server = getenv("STORE_TEST_URL");
    char path[64];

    snprintf(path, sizeof(path), "%s/store.db", folder);
    unlink(path);
    if (server != NULL)
        assert_int_equal(store_migrate(str_from_cstr(server), 0, &e), ERR_OK);
    if (store_open(str_from_cstr(server != NULL ? server : path), &store, &e) != ERR_OK)
        fail_msg("%s", e.text);
    driver = *store->driver;
    driver.listen_sql = "";
    driver.clock_sql = "SELECT ms FROM test_clock";
    store->driver = &driver;
    sql("DROP TABLE IF EXISTS test_clock");
    sql("CREATE TABLE test_clock (ms BIGINT NOT NULL)");
    sql("INSERT INTO test_clock VALUES (0)");
    sql("DELETE FROM nodes"); /* the one that opened it is none of ours */
}

static int
set_up(void **state)
{
    now_ms = noon + 10 * 60 * 1000;
    clock_off_ms = 0;
    fresh_store();
    at(now_ms);
    budget = (struct budget_row){.id = id_new(),
        .org = id_new(),
        .period = BUDGET_HOUR,
        .hard = true,
        .limit_nano_usd = LIMIT};
    for (int i = 0; i < NODES; i++) {
        nodes[i] = (struct node){.id = {{0}}};
        nodes[i].id.b[15] = (uint8_t)(i + 1);
        budget_put(&nodes[i].slot, budget.id.b, BUDGET_ORG, BUDGET_HOUR, true, LIMIT);
        budget_set_lease(&nodes[i].slot, 0);
    }
    return 0;
}

static int
tear_down(void **state)
{
    for (int i = 0; i < NODES; i++)
        node_down(&nodes[i]);
    store_close(TAKE(store));
    return 0;
}

static void
a_node_that_is_alone_has_all_of_it(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT);
    assert_int_equal(spend(&nodes[A], LIMIT), BUDGET_FITS);
    assert_int_equal(spend(&nodes[A], 1), BUDGET_EXHAUSTED);
}

static void
who_waits_gets_what_the_other_does_not_need(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 700), BUDGET_FITS);
    node_up(&nodes[B]);
    look(&nodes[B]);
    assert_int_equal(spend(&nodes[B], 4000), BUDGET_BUSY); /* never "exhausted" */
    look(&nodes[B]);
    look_a_second_later();
    assert_int_equal(held(&nodes[A]), 700);
    /* The call comes again when it likes, within some seconds. */
    for (int i = 0; i < 8; i++)
        look_a_second_later();
    assert_int_equal(spend(&nodes[B], 4000), BUDGET_FITS);
    assert_int_equal(spend(&nodes[B], 3300), BUDGET_FITS);
    look_a_second_later();
    assert_true(held(&nodes[A]) + held(&nodes[B]) <= LIMIT);
    /* All is spent, here and there: who asks once more hears that it is final. */
    for (int i = A; i <= B; i++)
        (void)spend(&nodes[i], 1);
    look_a_second_later();
    for (int i = A; i <= B; i++)
        assert_int_equal(spend(&nodes[i], 1), BUDGET_EXHAUSTED);
}

static void
more_than_is_needed_is_given_back_unasked(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    node_up(&nodes[B]);
    for (int i = 0; i < 12; i++)
        look_a_second_later();
    assert_int_equal(held(&nodes[A]), LIMIT / 8);
    assert_int_equal(held(&nodes[B]), LIMIT / 8);
    assert_int_equal(spend(&nodes[A], 800), BUDGET_FITS);
    for (int i = 0; i < 3; i++) /* no call had to be refused for it */
        look_a_second_later();
    assert_int_equal(held(&nodes[A]), 800 + LIMIT / 8);
}

static void
a_lowered_limit_holds_for_all_of_them_together(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 3000), BUDGET_FITS);
    node_up(&nodes[B]);
    look(&nodes[B]);
    assert_int_equal(spend(&nodes[B], 4500), BUDGET_BUSY);
    for (int i = 0; i < 4; i++)
        look_a_second_later();
    assert_int_equal(spend(&nodes[B], 500), BUDGET_FITS);
    assert_true(held(&nodes[B]) >= 4500);
    /* As budgets.c and edge do when the row changed. */
    budget.limit_nano_usd = 4000;
    for (int i = A; i <= B; i++) {
        atomic_store(&nodes[i].slot.limit_nano, 4000);
        if (held(&nodes[i]) > 4000)
            budget_set_lease(&nodes[i].slot, 4000);
        nodes[i].lease = (struct lease){0};
        look(&nodes[i]);
    }
    assert_true(held(&nodes[A]) + held(&nodes[B]) <= 4000);
    for (int i = 0; i < 4; i++)
        look_a_second_later();
    assert_true(held(&nodes[A]) + held(&nodes[B]) <= 4000);
    assert_int_equal(spend(&nodes[B], 501), BUDGET_EXHAUSTED);
    (void)spend(&nodes[B], 500);
    for (int i = 0; i < 4; i++)
        look_a_second_later();
    assert_true(
        budget_committed(&nodes[B].slot, now_ms) == 1000 || spend(&nodes[B], 500) == BUDGET_FITS);
}

static void
in_a_period_that_is_young_nothing_is_given_up(void **state)
{
    at(noon + HOUR_MS - 30000);
    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 6000), BUDGET_FITS);
    node_up(&nodes[B]);
    at(noon + HOUR_MS - 2000);
    look(&nodes[A]);
    look(&nodes[B]);
    /* On B's clock the old period still runs: what A spent in it must not be had again. */
    nodes[B].clock_off_ms = -BUDGET_LEASE_CLOCK_OFF_MS;
    at(noon + HOUR_MS);
    assert_int_equal(spend(&nodes[B], 5000), BUDGET_BUSY);
    look(&nodes[B]);
    look(&nodes[A]);
    at(noon + HOUR_MS + 1900);
    look(&nodes[A]);
    look(&nodes[B]);
    assert_true(held(&nodes[A]) >= 6000);
    assert_int_equal(spend(&nodes[B], 5000), BUDGET_BUSY);
    look(&nodes[B]);
    at(noon + HOUR_MS + 6000);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 0);
    look(&nodes[B]);
    assert_int_equal(spend(&nodes[B], 5000), BUDGET_FITS);
}

static void
the_one_with_the_lower_id_goes_first_when_both_wait(void **state)
{
    node_up(&nodes[A]);
    node_up(&nodes[B]);
    look(&nodes[B]);
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 6000), BUDGET_BUSY);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 7000);
    assert_int_equal(held(&nodes[B]), 1000);
    assert_int_equal(spend(&nodes[A], 7500), BUDGET_BUSY);
    assert_int_equal(spend(&nodes[B], 5000), BUDGET_BUSY);
    look_a_second_later();
    look_a_second_later();
    look_a_second_later();
    assert_int_equal(spend(&nodes[A], 7500), BUDGET_FITS);
}

static void
without_the_store_it_goes_on_for_a_while_and_then_stops(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    sql("ALTER TABLE test_clock RENAME TO test_clock_gone");
    now_ms += AWAY_MS;
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 10), BUDGET_FITS);
    now_ms += 1001;
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 0);
    assert_int_equal(spend(&nodes[A], 10), BUDGET_BUSY);
    sql("ALTER TABLE test_clock_gone RENAME TO test_clock");
    at(now_ms + 1001);
    look(&nodes[A]);
    assert_int_equal(spend(&nodes[A], 10), BUDGET_FITS);
}

/* What purserd's predecessor was granted ends, too. */
static void
a_store_that_never_answers_stops_it_as_well(void **state)
{
    budget_set_lease(&nodes[A].slot, 100);
    node_up(&nodes[A]);
    sql("ALTER TABLE test_clock RENAME TO test_clock_gone");
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 100);
    now_ms += AWAY_MS + 1001;
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 0);
    sql("ALTER TABLE test_clock_gone RENAME TO test_clock");
}

static void
a_wrong_clock_is_as_a_store_that_is_away(void **state)
{
    node_up(&nodes[A]);
    look(&nodes[A]);
    nodes[A].clock_off_ms = 20000;
    now_ms += AWAY_MS;
    at(now_ms);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT);
    at(now_ms + 1001);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), 0);
    nodes[A].clock_off_ms = 0;
    at(now_ms + 1001);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT);
}

static void
what_a_dead_node_held_is_kept_for_it_and_the_rest_can_be_had(void **state)
{
    node_up(&nodes[A]);
    node_up(&nodes[B]);
    look(&nodes[A]);
    look(&nodes[B]);
    assert_int_equal(spend(&nodes[B], 900), BUDGET_FITS);
    for (int i = 0; i < 3; i++)
        look_a_second_later();
    assert_int_equal(held(&nodes[B]), 900 + LIMIT / 8);
    node_down(&nodes[B]);
    for (int i = 0; i < 20; i++)
        look_a_second_later();
    assert_int_equal(held(&nodes[A]), LIMIT - 900 - LIMIT / 8);
    /* Its gateway goes on meanwhile. */
    assert_int_equal(spend(&nodes[B], LIMIT / 8), BUDGET_FITS);
    at(noon + HOUR_MS);
    look_a_second_later();
    look_a_second_later();
    assert_int_equal(held(&nodes[A]), LIMIT);
}

static void
another_purserd_goes_on_with_what_the_gateway_has(void **state)
{
    node_up(&nodes[A]);
    node_up(&nodes[B]);
    look(&nodes[A]);
    look(&nodes[B]);
    assert_int_equal(spend(&nodes[A], 900), BUDGET_FITS);
    for (int i = 0; i < 3; i++)
        look_a_second_later();
    node_down(&nodes[A]);
    node_up(&nodes[A]);
    lowest_while_asked = INT64_MAX;
    assert_int_equal(held(&nodes[A]), 900 + LIMIT / 8);
    look_a_second_later();
    assert_int_equal(held(&nodes[A]), 900 + LIMIT / 8);
    assert_true(lowest_while_asked >= 900 + LIMIT / 8);
}

/* Its call is open and the rest too little to give back unasked: only the first look mends it. */
static void
what_another_purserd_finds_is_given_up_where_it_stands_no_longer(void **state)
{
    uint16_t tag;

    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(reserve(&nodes[A], 6500, &tag), BUDGET_FITS);
    node_down(&nodes[A]);
    node_up(&nodes[B]);
    sql("UPDATE budget_leases SET held_nano = 6500");
    look(&nodes[B]);
    assert_int_equal(held(&nodes[B]), LIMIT / 8);
    node_up(&nodes[A]);
    look(&nodes[A]);
    assert_true(held(&nodes[A]) <= LIMIT - LIMIT / 8);
}

static void
parts_that_fit_a_limit_no_longer_are_given_up_by_another_purserd(void **state)
{
    for (int i = A; i <= B; i++) {
        node_up(&nodes[i]);
        look(&nodes[i]);
    }
    sql("UPDATE budget_leases SET held_nano = 4000");
    for (int i = A; i <= B; i++) {
        budget_set_lease(&nodes[i].slot, 4000);
        assert_int_equal(spend(&nodes[i], 3500), BUDGET_FITS);
        node_down(&nodes[i]);
    }
    budget.limit_nano_usd = 7500;
    for (int i = A; i <= B; i++) {
        atomic_store(&nodes[i].slot.limit_nano, 7500);
        node_up(&nodes[i]);
        look(&nodes[i]);
    }
    assert_true(held(&nodes[A]) + held(&nodes[B]) <= 7500);
}

static void
a_node_that_slept_too_long_has_lost_its_leases(void **state)
{
    node_up(&nodes[A]);
    node_up(&nodes[B]);
    look(&nodes[A]);
    look(&nodes[B]);
    for (int i = 0; i < 12; i++)
        look_a_second_later();
    assert_int_equal(held(&nodes[B]), LIMIT / 8);
    at(noon + 2 * HOUR_MS);
    seen(&nodes[A]);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT);
    look(&nodes[B]);
    assert_int_equal(held(&nodes[B]), 0);
}

/* What a gateway spends before it knows that there is a budget. */
static void
spend_unasked(struct node *n, int64_t amount)
{
    assert_true(budget_set(&n->slot, budget_look(&n->slot), now_ms, amount, amount));
}

static void
a_new_budget_is_not_one_nodes_before_all_have_told_what_they_spent(void **state)
{
    node_up(&nodes[A]);
    store->node = nodes[A].id;
    leases_begin(nodes[A].leases);
    node_up(&nodes[B]); /* A thinks for another second that it is alone */
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT / 8);
    spend_unasked(&nodes[B], 3500);
    (void)spend(&nodes[A], LIMIT / 8);
    assert_int_equal(spend(&nodes[A], 500), BUDGET_BUSY);
    at(now_ms + 500);
    look(&nodes[A]);
    assert_int_equal(held(&nodes[A]), LIMIT / 8);
    look(&nodes[B]);
    look_a_second_later();
    assert_true(held(&nodes[A]) + held(&nodes[B]) <= LIMIT);
    for (int i = 0; i < 4; i++)
        look_a_second_later();
    assert_int_equal(spend(&nodes[A], 500), BUDGET_FITS);
}

/* Its clock may be wrong: nobody waits for it for ever. */
static void
a_node_that_never_tells_is_not_waited_for_for_ever(void **state)
{
    node_up(&nodes[A]);
    node_up(&nodes[B]);
    for (int i = 0; i < 18; i++) {
        at(now_ms + 1000);
        seen(&nodes[B]);
        look(&nodes[A]);
        if (i < 14)
            assert_int_equal(spend(&nodes[A], LIMIT), BUDGET_BUSY);
    }
    assert_int_equal(spend(&nodes[A], LIMIT), BUDGET_FITS);
}

/* --- whatever happens ------------------------------------------------------------------------- */

enum { CALLS = 12, STEPS = 2500, PERIODS = 64 };

struct open_call {
    struct node *node; /* NULL: none */
    int64_t bound;
    uint16_t tag;
};

static int64_t of_period[1 << BUDGET_TAG_BITS]; /* spent and reserved, by all nodes */

static void
call_begin(struct open_call *c, struct node *n)
{
    /* Unequal: from a hundredth of the limit to a third of it. */
    c->bound = LIMIT / 100 + rand() % (rand() % 4 == 0 ? LIMIT / 3 : LIMIT / 20);
    if (reserve(n, c->bound, &c->tag) != BUDGET_FITS)
        return;
    c->node = n;
    of_period[c->tag] += c->bound;
    if (of_period[c->tag] > budget.limit_nano_usd)
        fail_msg("%lld of %lld", (long long)of_period[c->tag], (long long)budget.limit_nano_usd);
}

static void
call_end(struct open_call *c)
{
    const uint32_t place = 0;
    int64_t cost = rand() % (c->bound + 1);
    struct budget_ref ref;

    budget_refs(&c->node->slot, &place, 1, &ref);
    budget_settle(&c->node->slot, &ref, &c->tag, 1, c->bound, cost);
    of_period[c->tag] -= c->bound - cost;
    c->node = NULL;
}

/* A gateway goes on without purserd until its policy is too old. */
static bool
is_serving(const struct node *n)
{
    return n->leases != NULL || now_ms - n->down_ms < AWAY_MS;
}

/* The machines wake up before the next call comes. */
static void
sleep_until(int64_t ms)
{
    at(ms);
    look_a_second_later();
}

static void
something_happens(struct open_call *calls)
{
    struct node *n = &nodes[rand() % NODES];
    struct open_call *c = &calls[rand() % CALLS];
    int what = rand() % 40;

    if (what < 24 && c->node != NULL)
        call_end(c);
    else if (what < 24 && is_serving(n))
        call_begin(c, n);
    else if (what < 34)
        look_a_second_later();
    else if (what == 34)
        sleep_until(now_ms + 60 * 1000); /* nobody was seen */
    else if (what == 35 && now_ms % HOUR_MS < HOUR_MS - 3000)
        sleep_until(now_ms / HOUR_MS * HOUR_MS + HOUR_MS - 3000);
    else if (what == 36)
        n->clock_off_ms = rand() % (2 * BUDGET_LEASE_CLOCK_OFF_MS) - BUDGET_LEASE_CLOCK_OFF_MS;
    else if (what == 37 && n->leases != NULL)
        node_down(n); /* its gateway goes on */
    else if (what == 38 && n->leases == NULL)
        node_up(n);
}

static void
no_period_ever_has_more_than_the_limit(void **state)
{
    struct open_call calls[CALLS] = {{0}};
    int64_t most = 0;

    srand(20261122);
    memset(of_period, 0, sizeof(of_period));
    for (int i = 0; i < NODES; i++)
        node_up(&nodes[i]);
    for (int i = 0; i < STEPS; i++)
        something_happens(calls);
    for (size_t i = 0; i < sizeof(of_period) / sizeof(of_period[0]); i++)
        most = of_period[i] > most ? of_period[i] : most;
    /* And it is of use. */
    assert_true(most > LIMIT / 2);
}

#define LEASES_TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        LEASES_TEST(a_node_that_is_alone_has_all_of_it),
        LEASES_TEST(who_waits_gets_what_the_other_does_not_need),
        LEASES_TEST(more_than_is_needed_is_given_back_unasked),
        LEASES_TEST(a_lowered_limit_holds_for_all_of_them_together),
        LEASES_TEST(in_a_period_that_is_young_nothing_is_given_up),
        LEASES_TEST(the_one_with_the_lower_id_goes_first_when_both_wait),
        LEASES_TEST(without_the_store_it_goes_on_for_a_while_and_then_stops),
        LEASES_TEST(a_store_that_never_answers_stops_it_as_well),
        LEASES_TEST(a_wrong_clock_is_as_a_store_that_is_away),
        LEASES_TEST(what_a_dead_node_held_is_kept_for_it_and_the_rest_can_be_had),
        LEASES_TEST(another_purserd_goes_on_with_what_the_gateway_has),
        LEASES_TEST(what_another_purserd_finds_is_given_up_where_it_stands_no_longer),
        LEASES_TEST(parts_that_fit_a_limit_no_longer_are_given_up_by_another_purserd),
        LEASES_TEST(a_node_that_slept_too_long_has_lost_its_leases),
        LEASES_TEST(a_new_budget_is_not_one_nodes_before_all_have_told_what_they_spent),
        LEASES_TEST(a_node_that_never_tells_is_not_waited_for_for_ever),
        LEASES_TEST(no_period_ever_has_more_than_the_limit),
    };
    int failed;
    char command[64];

    if (mkdtemp(folder) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "%s/store.db", folder);
    for (const char *const *s = (const char *const[]){"", "-wal", "-shm", ".lock", NULL}; *s; s++) {
        snprintf(command, sizeof(command), "%s/store.db%s", folder, *s);
        unlink(command);
    }
    rmdir(folder);
    return failed;
}
