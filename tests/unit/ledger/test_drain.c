#include "unit.h"

#include "ledger/drain.h"
#include "store/ledger_row.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/purser-drain-XXXXXX";
static char recorder_path[64], store_path[64];
static struct store *store;
static struct drain *drain;
static struct id org;

/* The worker's side: its own file description, its own mapping, its lane's lock. */
static struct recorder worker;
static size_t worker_bytes;
static int worker_fd;

static void
worker_start(void)
{
    struct flock lock = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = RECORDER_LOCK_OFF, .l_len = 1};
    struct stat st;
    void *memory;

    worker_fd = open(recorder_path, O_RDWR);
    assert_true(worker_fd >= 0 && fstat(worker_fd, &st) == 0);
    worker_bytes = (size_t)st.st_size;
    memory = mmap(NULL, worker_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, worker_fd, 0);
    assert_true(memory != MAP_FAILED && recorder_attach(memory, worker_bytes, &worker));
    /* purserd may hold the lock for the moment it takes to look: wait for it. */
    assert_int_equal(fcntl(worker_fd, F_OFD_SETLKW, &lock), 0);
}

/* Death, whatever the way: the lock goes with the file description. */
static void
worker_die(void)
{
    munmap(worker.header, worker_bytes);
    close(worker_fd);
}

static struct recorder_open
attempt(void)
{
    struct recorder_open open = {.attempt = 1,
        .opened_ms = 1000,
        .bound_nano_usd = 12500000,
        .prompt_bound = 1000,
        .output_bound = 100,
        .tiers_n = 1,
        .tiers = {{.input = 5000000, .output = 25000000}},
        .provider = "anthropic-api",
        .model_asked = "anthropic/m",
        .model_vendor = "m"};
    struct id call = id_new();

    memcpy(open.call_id, call.b, sizeof(open.call_id));
    memcpy(open.org_id, org.b, sizeof(open.org_id));
    memset(open.workspace_id, 4, sizeof(open.workspace_id));
    return open;
}

struct rows {
    size_t n;
    enum ledger_state state;
    int64_t cost;
};

static enum err
read_rows(struct store_tx *tx, void *ctx, struct error *e)
{
    struct rows *rows = ctx;
    AUTO_ARENA struct arena a;
    struct ledger_row *list;
    enum err err;

    arena_init(&a);
    err = ledger_row_list(tx, org, (struct id){0}, 1000, &a, &list, &rows->n, e);
    if (err == ERR_OK && rows->n > 0) {
        rows->state = list[0].entry.state;
        rows->cost = list[0].entry.cost_nano_usd;
    }
    return err;
}

static struct rows
rows(void)
{
    struct rows r = {0};
    struct error e;

    assert_int_equal(store_read(store, read_rows, &r, &e), ERR_OK);
    return r;
}

struct one_row {
    int64_t seq;
    struct ledger_row row;
};

static enum err
read_one(struct store_tx *tx, void *ctx, struct error *e)
{
    struct one_row *one = ctx;

    return ledger_row_at(tx, org, store_tx_node(tx), one->seq, &one->row, e);
}

static void
check_row(int64_t seq, const uint8_t call[static 16])
{
    struct one_row one = {.seq = seq};
    struct error e;

    assert_int_equal(store_read(store, read_one, &one, &e), ERR_OK);
    assert_memory_equal(one.row.entry.call_id, call, 16);
}

static int
set_up(void **state)
{
    struct drain_options o = {.recorder = {.slots = 256}};
    struct error e;

    org = id_new();
    snprintf(recorder_path, sizeof(recorder_path), "%s/recorder", dir);
    snprintf(store_path, sizeof(store_path), "%s/%02x%02x.db", dir, org.b[14], org.b[15]);
    unlink(recorder_path);
    if (store_open(str_from_cstr(store_path), &store, &e) != ERR_OK)
        return -1;
    o.recorder.path = str_from_cstr(recorder_path);
    o.store = store;
    if (drain_start(&o, &drain, &e) != ERR_OK)
        return -1;
    worker_start();
    return 0;
}

static int
tear_down(void **state)
{
    drain_stop(drain);
    store_close(store);
    return 0;
}

/* Freed is the last thing that happens to a slot: its row is durable by then. */
static void
wait_until_freed(uint32_t slot)
{
    while (recorder_slot_state(&worker, slot) != RECORDER_FREE)
        continue;
}

static void
a_finished_call_is_booked_once_and_its_slot_freed(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counts = {.input = 10, .output = 20},
        .vendor_status = 200,
        .end = RECORDER_ENDED,
        .counted = RECORDER_SETTLED,
        .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE};

    recorder_slot_open(&worker, 3, &open);
    recorder_slot_close(&worker, 3, &p);
    wait_until_freed(3);
    assert_int_equal(rows().n, 1);
    assert_int_equal(rows().state, LEDGER_SETTLED);
    assert_int_equal(rows().cost, 550000);
    /* The same slot again, as if purserd had died between commit and free. */
    recorder_slot_open(&worker, 3, &open);
    recorder_slot_close(&worker, 3, &p);
    wait_until_freed(3);
    assert_int_equal(rows().n, 1);
    worker_die();
}

static void
an_open_call_of_a_living_worker_is_left_alone_and_of_a_dead_one_recovered(void **state)
{
    struct recorder_open open = attempt(), other = attempt();
    struct recorder_progress sent = {.counted = RECORDER_RESERVED};
    struct recorder_progress p = {
        .vendor_status = 529, .end = RECORDER_ENDED, .counted = RECORDER_SETTLED};

    recorder_slot_open(&worker, 5, &open);
    recorder_slot_progress(&worker, 5, &sent);
    /* A second call that is booked shows that a pass has looked at the first. */
    recorder_slot_open(&worker, 6, &other);
    recorder_slot_close(&worker, 6, &p);
    wait_until_freed(6);
    assert_int_equal(recorder_slot_state(&worker, 5), RECORDER_OPEN);
    assert_int_equal(rows().n, 1);
    worker_die();
    while (drain_status(drain).recovered == 0)
        continue;
    assert_int_equal(rows().n, 2);
}

static _Atomic int unsure_calls;

static void
count_unsure(void *ctx, struct id which)
{
    unsure_calls += id_equal(which, org);
}

/* What the worker had reserved is settled once; where that is not known, somebody is told. */
static void
what_a_dead_worker_had_reserved_is_settled(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counted = RECORDER_RESERVED, .reserved_nano = 900};
    void *memory = calloc(1, counters_bytes(4, 4));
    struct counters counters;

    counters_format(memory, 4, 4, 99, &counters);
    budget_put(&counters.budgets[0], open.call_id, BUDGET_ORG, BUDGET_TOTAL, true, 1 << 30);
    atomic_store(&counters.budgets[0].committed, 1000);
    drain_set_counters(drain, &counters, count_unsure, NULL);
    open.counters_generation = 99;
    open.budgets_n = 1;
    open.budgets[0] = (struct budget_ref){0, atomic_load(&counters.budgets[0].serial)};
    open.limits[0] = open.limits[1] = LIMIT_NONE;
    recorder_slot_open(&worker, 7, &open);
    recorder_slot_progress(&worker, 7, &p);
    open = attempt();
    open.counters_generation = 99;
    recorder_slot_open(&worker, 8, &open); /* INTENT */
    worker_die();
    while (drain_status(drain).booked < 2)
        continue;
    assert_int_equal(budget_settled(&counters.budgets[0], 0), 12500000);
    assert_int_equal(budget_committed(&counters.budgets[0], 0), 12500000 + 1000 - 900);
    assert_int_equal(unsure_calls, 1);
    drain_set_counters(drain, NULL, NULL, NULL);
    free(memory);
}

/* The counters were made anew while it was open: what it held there is added up once more. */
static void
what_counted_in_lost_counters_has_its_org_added_up_anew(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counted = RECORDER_SETTLED, .end = RECORDER_ENDED};
    void *memory = calloc(1, counters_bytes(4, 4));
    struct counters counters;

    counters_format(memory, 4, 4, 99, &counters);
    unsure_calls = 0;
    drain_set_counters(drain, &counters, count_unsure, NULL);
    open.counters_generation = 98;
    open.budgets_n = 1;
    recorder_slot_open(&worker, 7, &open);
    recorder_slot_close(&worker, 7, &p);
    wait_until_freed(7);
    assert_int_equal(unsure_calls, 1);
    drain_set_counters(drain, NULL, NULL, NULL);
    free(memory);
    worker_die();
}

/* Slots of different lanes, one pass: the rows stand in the order of the openings. */
static void
calls_are_booked_in_the_order_of_their_openings(void **state)
{
    static const uint32_t slots[] = {200, 9, 120};
    struct recorder_progress p = {
        .vendor_status = 529, .end = RECORDER_ENDED, .counted = RECORDER_SETTLED};
    uint8_t calls[3][16];

    (void)drain_pause(drain);
    for (int i = 0; i < 3; i++) {
        struct recorder_open open = attempt();

        open.call_id[0] = (uint8_t)i; /* ids of one millisecond are in no order */
        memcpy(calls[i], open.call_id, sizeof(calls[i]));
        recorder_slot_open(&worker, slots[i], &open);
        p.seq = 0;
        recorder_slot_close(&worker, slots[i], &p);
    }
    drain_resume(drain);
    for (int i = 0; i < 3; i++)
        wait_until_freed(slots[i]);
    for (int i = 0; i < 3; i++)
        check_row(i + 1, calls[i]);
    worker_die();
}

static enum err
book_first(struct store_tx *tx, void *ctx, struct error *e)
{
    struct ledger_entry entry;

    assert_true(recorder_slot_read(&worker, *(const uint32_t *)ctx, &entry));
    return ledger_row_append(tx, &entry, NULL, e);
}

static enum err
check_chain(struct store_tx *tx, void *ctx, struct error *e)
{
    AUTO_ARENA struct arena a = {0};
    struct str why = STR("");
    bool valid = false;
    enum err err = ledger_chain_verify(tx, org, store_tx_node(tx), 0, &a, &valid, &why, e);

    if (!valid)
        fail_msg("%.*s", STR_ARG(why));
    return err;
}

/* purserd died behind a commit, with some of its slots not freed yet; others ended meanwhile. */
static void
of_calls_that_are_booked_in_part_the_rest_is_booked(void **state)
{
    struct recorder_progress p = {
        .vendor_status = 529, .end = RECORDER_ENDED, .counted = RECORDER_SETTLED};
    struct error e;

    (void)drain_pause(drain);
    for (uint32_t slot = 20; slot < 32; slot++) {
        struct recorder_open open = attempt();

        p.seq = 0;
        recorder_slot_open(&worker, slot, &open);
        recorder_slot_close(&worker, slot, &p);
        if (slot % 3 == 0)
            assert_int_equal(store_tx_durable(store, book_first, &slot, &e), ERR_OK);
    }
    drain_resume(drain);
    for (uint32_t slot = 20; slot < 32; slot++)
        wait_until_freed(slot);
    assert_int_equal(rows().n, 12);
    assert_int_equal(store_read(store, check_chain, NULL, &e), ERR_OK);
    worker_die();
}

/* Whichever call into the store fails, when it works again each call is there, once. */
static void
a_failure_at_any_place_of_the_store_loses_and_doubles_nothing(void **state)
{
    struct recorder_progress p = {
        .vendor_status = 529, .end = RECORDER_ENDED, .counted = RECORDER_SETTLED};
    size_t booked = 0;
    long calls = 1;
    struct error e;

    for (long n = 1; n <= calls; n += 7) {
        (void)drain_pause(drain);
        for (uint32_t slot = 40; slot < 43; slot++) {
            struct recorder_open open = attempt();

            p.seq = 0;
            recorder_slot_open(&worker, slot, &open);
            recorder_slot_close(&worker, slot, &p);
        }
        store_fault_set(store, n);
        drain_resume(drain);
        for (uint32_t slot = 40; slot < 43; slot++) {
            while (recorder_slot_state(&worker, slot) != RECORDER_FREE)
                (void)!drain_pass(drain, NULL, &e);
        }
        calls = n == 1 ? store_fault_calls(store) : calls;
        store_fault_set(store, 0);
        booked += 3;
        assert_int_equal(rows().n, booked);
        assert_int_equal(drain_status(drain).booked, booked);
    }
    assert_int_equal(store_read(store, check_chain, NULL, &e), ERR_OK);
    worker_die();
}

static void
while_the_store_fails_calls_wait_and_are_booked_later(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {
        .vendor_status = 529, .end = RECORDER_ENDED, .counted = RECORDER_SETTLED};

    recorder_slot_open(&worker, 9, &open);
    store_fault_set(store, 1);
    recorder_slot_close(&worker, 9, &p);
    while (!drain_status(drain).store_failing)
        continue;
    assert_int_equal(recorder_slot_state(&worker, 9), RECORDER_DONE);
    store_fault_set(store, 0);
    wait_until_freed(9);
    assert_int_equal(rows().n, 1);
    worker_die();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_finished_call_is_booked_once_and_its_slot_freed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            an_open_call_of_a_living_worker_is_left_alone_and_of_a_dead_one_recovered, set_up,
            tear_down),
        cmocka_unit_test_setup_teardown(
            what_a_dead_worker_had_reserved_is_settled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            what_counted_in_lost_counters_has_its_org_added_up_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            calls_are_booked_in_the_order_of_their_openings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            of_calls_that_are_booked_in_part_the_rest_is_booked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            a_failure_at_any_place_of_the_store_loses_and_doubles_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(
            while_the_store_fails_calls_wait_and_are_booked_later, set_up, tear_down),
    };
    char command[80];
    int failed;

    if (mkdtemp(dir) == NULL)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(command, sizeof(command), "rm -rf %s", dir);
    return system(command) == 0 ? failed : 1;
}
