#include "unit.h"

#include "core/recorder.h"

enum { LANES = 2, SLOTS = 16 };

static void *memory;
static struct recorder r;

static int
set_up(void **state)
{
    static const uint8_t node[16] = {1};
    size_t bytes = recorder_bytes(LANES, SLOTS);

    memory = aligned_alloc(4096, bytes);
    memset(memory, 0, bytes);
    recorder_format(memory, LANES, SLOTS, node);
    assert_true(recorder_attach(memory, bytes, &r));
    return 0;
}

static int
tear_down(void **state)
{
    free(memory);
    return 0;
}

/* 5 and 25 USD a million; the bound: 1,000 in, 100 out. */
static struct recorder_open
attempt(void)
{
    struct recorder_open open = {.attempt = 1,
        .opened_ms = 1000,
        .bound_nano_usd = 12500000,
        .prompt_bound = 1000,
        .output_bound = 100,
        .tiers_n = 1,
        .tiers = {{.input = 5000000, .output = 25000000, .cache_read = 500000}},
        .provider = "anthropic-api",
        .model_asked = "anthropic/m",
        .model_vendor = "m"};

    memset(open.call_id, 7, sizeof(open.call_id));
    return open;
}

/* Opened, and counted: from here on it may have been sent. */
static void
open_slot(uint32_t slot, const struct recorder_open *open)
{
    struct recorder_progress p = {.counted = RECORDER_RESERVED};

    recorder_slot_open(&r, slot, open);
    recorder_slot_progress(&r, slot, &p);
}

static const struct {
    const char *name;
    struct recorder_progress last;
    enum ledger_state state;
    enum ledger_certainty certainty;
    int64_t input, output, cost;
} cases[] = {
    {"answered in full",
        {.counts = {.input = 10, .output = 20},
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE},
        LEDGER_SETTLED, LEDGER_EXACT, 10, 20, 550000},
    {"the client left in the middle",
        {.counts = {.input = 10, .output = 1},
            .text_bytes = 400,
            .vendor_status = 200,
            .end = RECORDER_CLIENT_LEFT,
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN},
        LEDGER_ABORTED, LEDGER_ESTIMATED, 10, 100, 2550000},
    {"the client left before the answer", {.end = RECORDER_CLIENT_LEFT}, LEDGER_ABORTED,
        LEDGER_BOUND, 1000, 100, 12500000},
    {"the vendor died in the middle",
        {.counts = {.input = 10, .output = 1},
            .text_bytes = 8,
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN},
        LEDGER_INTERRUPTED, LEDGER_ESTIMATED, 10, 2, 100000},
    {"the vendor never answered", {.end = RECORDER_ENDED}, LEDGER_INTERRUPTED, LEDGER_BOUND, 1000,
        100, 12500000},
    {"an answer without usage",
        {.vendor_status = 200, .end = RECORDER_ENDED, .flags = USAGE_COMPLETE}, LEDGER_INTERRUPTED,
        LEDGER_BOUND, 1000, 100, 12500000},
    {"a vendor's error", {.vendor_status = 529, .end = RECORDER_ENDED}, LEDGER_FAILED, LEDGER_EXACT,
        0, 0, 0},
    {"never sent", {.end = RECORDER_NEVER_SENT}, LEDGER_FAILED, LEDGER_EXACT, 0, 0, 0},
    {"the worker died after the start of the answer",
        {.counts = {.input = 10, .output = 1},
            .text_bytes = 40,
            .vendor_status = 200,
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN},
        LEDGER_RECOVERED, LEDGER_ESTIMATED, 10, 10, 300000},
    {"counts that nobody can have counted",
        {.counts = {.input = INT64_MAX, .output = 1},
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .flags = USAGE_INPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE},
        LEDGER_SETTLED, LEDGER_BOUND, 1000, 100, 12500000},
    {"the vendor's refusal behind status 200",
        {.vendor_status = 200,
            .end = RECORDER_ENDED,
            .flags = USAGE_COMPLETE | USAGE_ERROR | USAGE_REFUSED},
        LEDGER_FAILED, LEDGER_EXACT, 0, 0, 0},
    {"the worker died before any answer", {.end = RECORDER_RUNNING}, LEDGER_RECOVERED, LEDGER_BOUND,
        1000, 100, 12500000},
};

static void
every_end_is_booked_with_its_state_and_certainty(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct recorder_open open = attempt();
        struct recorder_progress p = cases[i].last;
        struct ledger_entry entry;

        p.counted = RECORDER_SETTLED;
        recorder_slot_open(&r, 3, &open);
        recorder_slot_close(&r, 3, &p);
        assert_true(recorder_slot_read(&r, 3, &entry));
        recorder_slot_free(&r, 3);
        if (entry.state != cases[i].state || entry.certainty != cases[i].certainty ||
            entry.cost_nano_usd != cases[i].cost || entry.usage.input != cases[i].input ||
            entry.usage.output != cases[i].output)
            fail_msg("%s: %s %s %lld+%lld tokens %lld", cases[i].name,
                ledger_state_name(entry.state).p, ledger_certainty_name(entry.certainty).p,
                (long long)entry.usage.input, (long long)entry.usage.output,
                (long long)entry.cost_nano_usd);
        assert_int_equal(
            entry.estimate == LEDGER_ESTIMATE_TEXT, entry.certainty == LEDGER_ESTIMATED);
        assert_int_equal(entry.call_id[0], 7);
        assert_string_equal(entry.model_asked, "anthropic/m");
    }
}

static void
reaping_finishes_the_open_slots_of_one_lane_only(void **state)
{
    struct recorder_open open = attempt();
    struct ledger_entry entry;

    open_slot(1, &open);
    open_slot(SLOTS + 1, &open);
    assert_int_equal(recorder_lane_reap(&r, 0), 1);
    assert_int_equal(recorder_slot_state(&r, 1), RECORDER_DONE);
    assert_int_equal(recorder_slot_state(&r, SLOTS + 1), RECORDER_OPEN);
    assert_true(recorder_slot_read(&r, 1, &entry));
    assert_int_equal(entry.state, LEDGER_RECOVERED);
    recorder_slot_free(&r, 1);
    recorder_slot_free(&r, SLOTS + 1);
}

static void
a_torn_write_leaves_the_one_before(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {
        .counts = {.input = 10, .output = 1}, .vendor_status = 200, .flags = USAGE_INPUT_SEEN};
    struct ledger_entry entry;

    p.counted = RECORDER_RESERVED;

    recorder_slot_open(&r, 2, &open);
    recorder_slot_progress(&r, 2, &p);
    p.counts.output = 50;
    recorder_slot_progress(&r, 2, &p);
    /* As if the process had died inside the second copy. */
    recorder_slot_at(&r, 2)->progress[p.seq & 1].counts.output = 49;
    recorder_lane_reap(&r, 0);
    assert_true(recorder_slot_read(&r, 2, &entry));
    assert_int_equal(entry.usage.output, 1);
    assert_int_equal(entry.usage.input, 10);
    recorder_slot_free(&r, 2);
}

/* What a call leaves when its worker dies now, with this in its slot. */
struct left {
    struct ledger_entry entry;
    struct recorder_hold hold;
};

static struct left
left_by(const struct recorder_slot *image)
{
    struct left l = {0};

    memcpy(recorder_slot_at(&r, 4), image, sizeof(*image));
    atomic_store(&r.states[4], RECORDER_OPEN);
    assert_true(recorder_slot_hold(&r, 4, &l.hold));
    assert_int_equal(recorder_lane_reap(&r, 0), 1);
    assert_true(recorder_slot_read(&r, 4, &l.entry));
    recorder_slot_free(&r, 4);
    return l;
}

static bool
same(const struct left *a, const struct left *b)
{
    return a->entry.state == b->entry.state && a->entry.certainty == b->entry.certainty &&
        a->entry.cost_nano_usd == b->entry.cost_nano_usd && a->hold.counted == b->hold.counted &&
        a->hold.reserved_nano == b->hold.reserved_nano &&
        memcmp(&a->entry.usage, &b->entry.usage, sizeof(a->entry.usage)) == 0;
}

/* first words of one image, and the rest of the other. */
static struct recorder_slot
torn(const struct recorder_slot *head, const struct recorder_slot *tail, size_t words)
{
    struct recorder_slot t = *tail;

    memcpy(&t, head, words * 8);
    return t;
}

static void
death_at_any_word_of_any_step_leaves_what_was_before_or_after_it(void **state)
{
    static const struct recorder_progress steps[] = {
        {.counted = RECORDER_RESERVED, .reserved_nano = 12500000},
        {.counted = RECORDER_RESERVED,
            .reserved_nano = 12500000,
            .vendor_status = 200,
            .first_byte_ms = 7},
        {.counted = RECORDER_RESERVED,
            .reserved_nano = 2550000,
            .vendor_status = 200,
            .counts = {.input = 10, .output = 1},
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN},
        {.counted = RECORDER_RESERVED,
            .reserved_nano = 2550000,
            .vendor_status = 200,
            .counts = {.input = 10, .output = 30},
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN},
        {.counted = RECORDER_SETTLING,
            .reserved_nano = 2550000,
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .counts = {.input = 10, .output = 31},
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE},
        {.counted = RECORDER_SETTLED,
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .counts = {.input = 10, .output = 31},
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE},
    };
    struct recorder_open open = attempt();
    struct recorder_slot image;
    uint32_t seq = 0;

    recorder_slot_open(&r, 4, &open);
    image = *recorder_slot_at(&r, 4);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        struct recorder_slot before = image;
        struct recorder_progress p = steps[i];
        struct left earlier = left_by(&before), later;

        p.seq = seq;
        *recorder_slot_at(&r, 4) = before;
        recorder_slot_progress(&r, 4, &p);
        seq = p.seq;
        image = *recorder_slot_at(&r, 4);
        later = left_by(&image);
        assert_false(same(&earlier, &later) && i != 1); /* the second step tells nothing new yet */
        for (size_t words = 0; words <= sizeof(image) / 8; words++) {
            struct recorder_slot forth = torn(&image, &before, words);
            struct recorder_slot back = torn(&before, &image, words);
            struct left a = left_by(&forth), b = left_by(&back);

            if (!(same(&a, &earlier) || same(&a, &later)) ||
                !(same(&b, &earlier) || same(&b, &later)))
                fail_msg("step %zu, word %zu", i, words);
        }
    }
}

static void
what_died_before_it_was_counted_was_never_sent(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_hold hold;
    struct ledger_entry entry;

    recorder_slot_open(&r, 6, &open);
    assert_true(recorder_slot_hold(&r, 6, &hold));
    assert_int_equal(hold.counted, RECORDER_INTENT);
    assert_int_equal(hold.reserved_nano, open.bound_nano_usd);
    recorder_lane_reap(&r, 0);
    assert_true(recorder_slot_read(&r, 6, &entry));
    assert_int_equal(entry.state, LEDGER_FAILED);
    assert_int_equal(entry.cost_nano_usd, 0);
    recorder_slot_free(&r, 6);
    assert_false(recorder_slot_hold(&r, 6, &hold));
}

static void
without_a_whole_copy_it_may_have_been_sent(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_hold hold;
    struct ledger_entry entry;

    open_slot(6, &open);
    recorder_slot_at(&r, 6)->progress[1].reserved_nano = 1;
    assert_true(recorder_slot_hold(&r, 6, &hold));
    assert_int_equal(hold.counted, RECORDER_RESERVED);
    assert_int_equal(hold.reserved_nano, open.bound_nano_usd);
    recorder_lane_reap(&r, 0);
    assert_true(recorder_slot_read(&r, 6, &entry));
    assert_int_equal(entry.state, LEDGER_RECOVERED);
    assert_int_equal(entry.cost_nano_usd, open.bound_nano_usd);
    recorder_slot_free(&r, 6);
}

static void
a_slot_tells_what_it_holds(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counted = RECORDER_RESERVED,
        .reserved_nano = 77,
        .budget_tags = {3, 4},
        .counts = {.input = 10, .output = 5, .cache_read = 2}};
    struct recorder_hold hold;

    open.budgets_n = 2;
    open.budgets[1] = (struct budget_ref){9, 8};
    open.limits[0] = 5;
    open.counters_generation = 11;
    recorder_slot_open(&r, 6, &open);
    recorder_slot_progress(&r, 6, &p);
    assert_true(recorder_slot_hold(&r, 6, &hold));
    assert_int_equal(hold.state, RECORDER_OPEN);
    assert_int_equal(hold.reserved_nano, 77);
    assert_int_equal(hold.budgets[1].slot, 9);
    assert_int_equal(hold.budget_tags[1], 4);
    assert_int_equal(hold.limits[0], 5);
    assert_int_equal(hold.counters_generation, 11);
    assert_int_equal(hold.tokens, 17);
    recorder_slot_at(&r, 6)->open.limits[0] = 6;
    assert_false(recorder_slot_hold(&r, 6, &hold));
    recorder_slot_free(&r, 6);
}

static void
a_damaged_opening_is_not_booked(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.end = RECORDER_ENDED};
    struct ledger_entry entry;

    recorder_slot_open(&r, 4, &open);
    recorder_slot_at(&r, 4)->open.bound_nano_usd++;
    recorder_slot_close(&r, 4, &p);
    assert_false(recorder_slot_read(&r, 4, &entry));
    recorder_slot_free(&r, 4);
}

static void
nothing_of_the_slot_before_is_left_in_the_next(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counts = {.input = 99},
        .vendor_status = 200,
        .seq = 40,
        .end = RECORDER_ENDED,
        .flags = USAGE_INPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE};
    struct ledger_entry entry;

    recorder_slot_open(&r, 5, &open);
    recorder_slot_close(&r, 5, &p);
    recorder_slot_free(&r, 5);
    open_slot(5, &open);
    recorder_lane_reap(&r, 0);
    assert_true(recorder_slot_read(&r, 5, &entry));
    assert_int_equal(entry.state, LEDGER_RECOVERED);
    assert_int_equal(entry.certainty, LEDGER_BOUND);
    recorder_slot_free(&r, 5);
}

static void
the_first_free_slot_of_the_lane_is_taken_until_it_is_full(void **state)
{
    struct recorder_open open = attempt();

    for (uint32_t i = 0; i < SLOTS; i++) {
        assert_int_equal(recorder_lane_free_slot(&r, 1), SLOTS + i);
        recorder_slot_open(&r, SLOTS + i, &open);
    }
    assert_int_equal(recorder_lane_free_slot(&r, 1), RECORDER_NO_SLOT);
    assert_int_equal(recorder_lane_free_slot(&r, 0), 0);
    recorder_slot_free(&r, SLOTS + 5);
    assert_int_equal(recorder_lane_free_slot(&r, 1), SLOTS + 5);
    for (uint32_t i = 0; i < SLOTS; i++)
        recorder_slot_free(&r, SLOTS + i);
}

/* What grows moves nothing: slots keep their numbers and their places. */
static void
it_grows_and_shrinks_at_its_end(void **state)
{
    size_t bytes = recorder_bytes(LANES, SLOTS), more = recorder_bytes(LANES + 3, SLOTS);
    struct recorder_open open = attempt();
    struct recorder_slot *before = recorder_slot_at(&r, SLOTS + 2);
    struct recorder other;

    open_slot(SLOTS + 2, &open);
    assert_int_equal(more - bytes, 3 * SLOTS * RECORDER_SLOT_BYTES);
    assert_int_equal(recorder_header_bytes(r.header), bytes);
    assert_int_equal(recorder_map_bytes(r.header), recorder_bytes(RECORDER_LANES_MAX, SLOTS));
    recorder_set_lanes(&r, LANES + 3);
    assert_int_equal(r.slots_n, (LANES + 3) * SLOTS);
    assert_int_equal(recorder_header_bytes(r.header), more);
    assert_false(recorder_attach(memory, bytes, &other));
    assert_true(recorder_attach(memory, more, &other));
    assert_ptr_equal(recorder_slot_at(&other, SLOTS + 2), before);
    assert_int_equal(recorder_slot_state(&other, SLOTS + 2), RECORDER_OPEN);
    recorder_set_lanes(&r, LANES);
    assert_int_equal(r.slots_n, LANES * SLOTS);
    recorder_slot_free(&r, SLOTS + 2);
}

static void
a_lane_tells_what_it_has(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {0};

    assert_true(recorder_lane_is_free(&r, 1));
    open_slot(SLOTS * 2 - 1, &open);
    assert_false(recorder_lane_has_none(&r, 1, RECORDER_OPEN));
    assert_true(recorder_lane_has_none(&r, 1, RECORDER_DONE));
    assert_false(recorder_lane_is_free(&r, 1));
    assert_true(recorder_lane_is_free(&r, 0));
    recorder_slot_close(&r, SLOTS * 2 - 1, &p);
    assert_true(recorder_lane_has_none(&r, 1, RECORDER_OPEN));
    assert_false(recorder_lane_is_free(&r, 1));
    recorder_slot_free(&r, SLOTS * 2 - 1);
    assert_true(recorder_lane_is_free(&r, 1));
}

static void
another_version_or_size_is_not_attached(void **state)
{
    struct recorder other;
    size_t bytes = recorder_bytes(LANES, SLOTS);

    assert_false(recorder_attach(memory, bytes - 1, &other));
    r.header->version++;
    assert_false(recorder_attach(memory, bytes, &other));
    r.header->version--;
    r.header->slot_bytes++;
    assert_false(recorder_attach(memory, bytes, &other));
    r.header->slot_bytes--;
    assert_true(recorder_header_is_one(r.header));
    r.header->magic[0]++;
    assert_false(recorder_header_is_one(r.header));
    assert_false(recorder_attach(memory, bytes, &other));
    r.header->magic[0]--;
    assert_false(recorder_attach(memory, RECORDER_HEADER_BYTES - 1, &other));
    assert_int_equal(recorder_bytes(0, 5), 0);
    assert_int_equal(recorder_bytes(RECORDER_LANES_MAX + 1, 5), 0);
}

static struct ledger_entry
ended(const struct recorder_open *open, struct recorder_progress p)
{
    struct ledger_entry entry;

    p.counted = RECORDER_SETTLED;
    recorder_slot_open(&r, 7, open);
    recorder_slot_close(&r, 7, &p);
    assert_true(recorder_slot_read(&r, 7, &entry));
    recorder_slot_free(&r, 7);
    return entry;
}

#define LONG_NAME "a-model-whose-name-is-longer-than-forty-seven-characters-2026"

static void
a_vendor_that_bills_its_answer_is_paid_by_it(void **state)
{
    static const struct {
        const char *answered;
        bool bills;
        int64_t cost;
        enum ledger_certainty certainty;
        enum ledger_estimate estimate;
    } rows[] = {
        {"m", true, 550000, LEDGER_EXACT, LEDGER_ESTIMATE_NONE},
        {"m-20260101", true, 550000, LEDGER_EXACT, LEDGER_ESTIMATE_NONE},
        {LONG_NAME, true, 1100000, LEDGER_EXACT, LEDGER_ESTIMATE_NONE},
        {LONG_NAME "-20260101", true, 1100000, LEDGER_EXACT, LEDGER_ESTIMATE_NONE},
        {"nobody", true, 550000, LEDGER_ESTIMATED, LEDGER_ESTIMATE_ASKED_MODEL},
        {"", true, 550000, LEDGER_ESTIMATED, LEDGER_ESTIMATE_ASKED_MODEL},
        {LONG_NAME, false, 550000, LEDGER_EXACT, LEDGER_ESTIMATE_NONE},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct recorder_open open = attempt();
        struct recorder_progress p = {.counts = {.input = 10, .output = 20},
            .vendor_status = 200,
            .end = RECORDER_ENDED,
            .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE};
        struct ledger_entry entry;

        open.bills_answered = rows[i].bills;
        open.billed[0] = (struct recorder_billed){recorder_model_number(str_from_cstr(LONG_NAME)),
            1, 0, {{.input = 10000000, .output = 50000000}}};
        snprintf(p.model_answered, sizeof(p.model_answered), "%s", rows[i].answered);
        entry = ended(&open, p);
        assert_string_equal(entry.model_answered, rows[i].answered);
        if (entry.cost_nano_usd != rows[i].cost || entry.certainty != rows[i].certainty ||
            entry.estimate != rows[i].estimate)
            fail_msg("%s: %lld", rows[i].answered, (long long)entry.cost_nano_usd);
        /* Which of them it will be is not known before the end. */
        if (rows[i].bills)
            assert_int_equal(
                recorder_remaining_bound(&open, &p.counts, p.flags), 10 * 10000 + 100 * 50000);
    }
}

static void
a_search_that_broke_off_keeps_its_bound(void **state)
{
    struct recorder_open open = attempt();
    struct recorder_progress p = {.counts = {.input = 10, .output = 20, .web_searches = 2},
        .vendor_status = 200,
        .end = RECORDER_ENDED,
        .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN};
    struct ledger_entry entry;

    open.searches_bound = 3;
    open.tiers[0].web_search = INT64_C(10000000000);
    assert_int_equal(recorder_remaining_bound(&open, &p.counts, p.flags), open.bound_nano_usd);
    entry = ended(&open, p);
    assert_int_equal(entry.certainty, LEDGER_BOUND);
    assert_int_equal(entry.cost_nano_usd, open.bound_nano_usd);
    assert_int_equal(entry.usage.web_searches, 3);
    p.flags |= USAGE_FINAL | USAGE_COMPLETE;
    entry = ended(&open, p);
    assert_int_equal(entry.certainty, LEDGER_EXACT);
    assert_int_equal(entry.cost_nano_usd, 550000 + 2 * 10000000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_end_is_booked_with_its_state_and_certainty),
        TEST(reaping_finishes_the_open_slots_of_one_lane_only),
        TEST(a_torn_write_leaves_the_one_before),
        TEST(death_at_any_word_of_any_step_leaves_what_was_before_or_after_it),
        TEST(what_died_before_it_was_counted_was_never_sent),
        TEST(without_a_whole_copy_it_may_have_been_sent),
        TEST(a_slot_tells_what_it_holds),
        TEST(a_damaged_opening_is_not_booked),
        TEST(nothing_of_the_slot_before_is_left_in_the_next),
        TEST(the_first_free_slot_of_the_lane_is_taken_until_it_is_full),
        TEST(a_vendor_that_bills_its_answer_is_paid_by_it),
        TEST(a_search_that_broke_off_keeps_its_bound),
        TEST(it_grows_and_shrinks_at_its_end),
        TEST(a_lane_tells_what_it_has),
        TEST(another_version_or_size_is_not_attached),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
