#include "unit.h"

#include "base/cleanup.h"
#include "ledger/tally.h"
#include "store/ledger_row.h"
#include "store/org_row.h"

#include <sys/stat.h>
#include <unistd.h>

/*
 * A recorder and counters in plain memory, and a store in a file: what a budget's sums must be
 * after calls in every state.
 */
enum { LANES = 1, PER_LANE = 16, BUDGET = 0, LIMIT = 0 };

static char dir[] = "/tmp/purser-tally-XXXXXX";
static struct store *store;
static struct recorder recorder;
static struct counters counters;
static void *recorder_memory, *counters_memory;
static struct budget_row budget;
static struct error e;
static int64_t now;

static enum err
org_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    const struct org_row org = {
        .id = budget.org, .slug = STR("a"), .name = STR("a"), .created_ms = 1};

    return org_row_insert(tx, &org, err);
}

static int
set_up(void **state)
{
    char path[64];

    snprintf(path, sizeof(path), "%s/store.db", dir);
    unlink(path);
    now = clock_ms();
    budget = (struct budget_row){.id = id_new(),
        .org = id_new(),
        .period = BUDGET_MONTH,
        .hard = true,
        .limit_nano_usd = 1000000};
    if (store_open(str_from_cstr(path), &store, &e) != ERR_OK ||
        store_tx(store, org_tx, NULL, &e) != ERR_OK)
        return -1;
    recorder_memory = calloc(1, recorder_bytes(LANES, PER_LANE));
    recorder_format(recorder_memory, LANES, PER_LANE, budget.org.b);
    assert_true(recorder_attach(recorder_memory, recorder_bytes(LANES, PER_LANE), &recorder));
    counters_memory = calloc(1, counters_bytes(4, 4));
    counters_format(counters_memory, 4, 4, 99, &counters);
    budget_put(&counters.budgets[BUDGET], budget.id.b, BUDGET_ORG, BUDGET_MONTH, true, 1000000);
    return 0;
}

static int
tear_down(void **state)
{
    store_close(store);
    free(recorder_memory);
    free(counters_memory);
    return 0;
}

/* A call in the slot: reserved 1000 of the budget, unless it is another one's. */
static void
open_call(uint32_t slot, enum recorder_counted counted, uint64_t generation)
{
    struct recorder_open open = {.attempt = 1,
        .opened_ms = now,
        .bound_nano_usd = 1000,
        .budgets_n = 1,
        .counters_generation = generation,
        .tiers_n = 1,
        .tiers = {{.input = 1000}}, /* one nano-USD a token */
        .limits = {LIMIT, LIMIT_NONE}};
    struct recorder_progress p = {.counted = counted, .reserved_nano = 1000};
    struct id call = id_new();

    open.budgets[0] = (struct budget_ref){BUDGET, atomic_load(&counters.budgets[BUDGET].serial)};
    memcpy(open.call_id, call.b, sizeof(open.call_id));
    memcpy(open.org_id, budget.org.b, sizeof(open.org_id));
    p.budget_tags[0] = budget_tag(BUDGET_MONTH, now);
    recorder_slot_open(&recorder, slot, &open);
    recorder_slot_progress(&recorder, slot, &p);
}

static void
end_call(uint32_t slot, enum recorder_counted counted, int64_t cost)
{
    struct recorder_progress p = {.seq = 5,
        .counted = counted,
        .reserved_nano = 1000,
        .counts = {.input = cost},
        .vendor_status = 200,
        .end = RECORDER_ENDED,
        .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE};

    recorder_slot_close(&recorder, slot, &p);
}

static enum err
book_tx(struct store_tx *tx, void *ctx, struct error *err)
{
    struct ledger_entry entry;

    assert_true(recorder_slot_read(&recorder, *(uint32_t *)ctx, &entry));
    return ledger_row_append(tx, &entry, NULL, err);
}

static void
book(uint32_t slot)
{
    assert_int_equal(store_tx(store, book_tx, &slot, &e), ERR_OK);
    recorder_slot_free(&recorder, slot);
}

static enum tally_outcome
tally(void)
{
    enum tally_outcome outcome = TALLY_DONE;

    assert_int_equal(
        tally_budget(store, &recorder, &counters, &budget, BUDGET, &outcome, &e), ERR_OK);
    return outcome;
}

static void
check_sums(int64_t settled, int64_t committed)
{
    const struct budget_slot *b = &counters.budgets[BUDGET];

    assert_int_equal(budget_settled(b, now), settled);
    assert_int_equal(budget_committed(b, now), committed);
}

static void
booked_done_and_open_calls_are_added_up(void **state)
{
    open_call(1, RECORDER_RESERVED, 99);
    end_call(1, RECORDER_SETTLED, 300);
    book(1);
    open_call(2, RECORDER_RESERVED, 99);
    end_call(2, RECORDER_SETTLED, 40);
    open_call(3, RECORDER_RESERVED, 99);
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(340, 1340);
    /* What is there already is found again, not added. */
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(340, 1340);
}

static void
a_call_that_is_just_counting_makes_it_try_later(void **state)
{
    static const enum recorder_counted unsure[] = {
        RECORDER_INTENT, RECORDER_SETTLING, RECORDER_SETTLED};

    for (size_t i = 0; i < sizeof(unsure) / sizeof(unsure[0]); i++) {
        open_call(4, unsure[i], 99);
        assert_int_equal(tally(), TALLY_FAILED);
        check_sums(0, 0);
    }
    recorder_slot_free(&recorder, 4);
    assert_int_equal(tally(), TALLY_DONE);
}

static void
a_dead_workers_call_is_left_to_the_drain_first(void **state)
{
    open_call(5, RECORDER_RESERVED, 99);
    end_call(5, RECORDER_RESERVED, 70);
    assert_int_equal(tally(), TALLY_FAILED);
    recorder_slot_mark(&recorder, 5, RECORDER_SETTLED);
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(70, 70);
}

static void
a_call_of_lost_counters_holds_its_bound_until_it_is_booked(void **state)
{
    open_call(6, RECORDER_RESERVED, 98);
    open_call(7, RECORDER_RESERVED, 98);
    end_call(7, RECORDER_RESERVED, 25);
    assert_int_equal(tally(), TALLY_AGAIN);
    check_sums(25, 1025);
    end_call(6, RECORDER_RESERVED, 30);
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(55, 55);
}

/* Its token named no budget yet. */
static void
open_stranger(uint32_t slot, enum recorder_counted counted)
{
    uint32_t serial = atomic_load(&counters.budgets[BUDGET].serial);

    atomic_store(&counters.budgets[BUDGET].serial, serial + 1);
    open_call(slot, counted, 99);
    atomic_store(&counters.budgets[BUDGET].serial, serial);
}

static void
a_call_that_began_before_the_budget_holds_its_bound_until_it_ends(void **state)
{
    open_stranger(6, RECORDER_INTENT);
    open_stranger(7, RECORDER_RESERVED);
    assert_int_equal(tally(), TALLY_AGAIN);
    check_sums(0, 2000);
    recorder_slot_free(&recorder, 6);
    assert_int_equal(tally(), TALLY_AGAIN);
    check_sums(0, 1000);
    end_call(7, RECORDER_SETTLED, 30);
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(30, 30);
}

/* It reserved when another worker had begun the new period already. */
static void
an_open_call_counts_in_the_period_in_which_it_reserved(void **state)
{
    int64_t real = now;

    now = budget_period_start(BUDGET_MONTH, budget_period_number(BUDGET_MONTH, real)) - 1;
    open_call(6, RECORDER_RESERVED, 99);
    open_call(7, RECORDER_RESERVED, 99);
    now = real;
    recorder_slot_progress(&recorder, 7,
        &(struct recorder_progress){.counted = RECORDER_RESERVED,
            .reserved_nano = 800,
            .budget_tags = {budget_tag(BUDGET_MONTH, now)}});
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(0, 800);
}

static void
calls_of_others_do_not_count(void **state)
{
    struct id org = budget.org;

    budget.org = id_new();
    open_call(8, RECORDER_RESERVED, 98);
    end_call(8, RECORDER_SETTLED, 500);
    open_call(9, RECORDER_RESERVED, 98);
    budget.org = org;
    assert_int_equal(tally(), TALLY_DONE);
    check_sums(0, 0);
}

static void
leaked_places_of_a_rate_limit_are_given_back(void **state)
{
    const struct id id = id_new();

    limit_put(&counters.limits[LIMIT], id.b, 0, 0, 5);
    atomic_store(&counters.limits[LIMIT].concurrent, 4);
    open_call(9, RECORDER_RESERVED, 99);
    tally_concurrent(&recorder, &counters);
    assert_int_equal(atomic_load(&counters.limits[LIMIT].concurrent), 1);
    open_call(10, RECORDER_INTENT, 99);
    atomic_store(&counters.limits[LIMIT].concurrent, 3);
    tally_concurrent(&recorder, &counters);
    assert_int_equal(atomic_load(&counters.limits[LIMIT].concurrent), 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(booked_done_and_open_calls_are_added_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_call_that_is_just_counting_makes_it_try_later, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_dead_workers_call_is_left_to_the_drain_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_call_of_lost_counters_holds_its_bound_until_it_is_booked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_call_that_began_before_the_budget_holds_its_bound_until_it_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_open_call_counts_in_the_period_in_which_it_reserved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(calls_of_others_do_not_count, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            leaked_places_of_a_rate_limit_are_given_back, set_up, tear_down),
    };
    char command[80];
    int failed;

    if (mkdtemp(dir) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? failed : 1;
}
