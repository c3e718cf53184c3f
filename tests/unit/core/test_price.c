#include "decide_fixture.h"

#include "core/price.h"

/* 2026-11-22: the day the price sheet was checked. */
#define NOW_MS INT64_C(1795305600000)
#define MOST(prompt, output) (&(struct price_most){(prompt), (output)})

static const struct registry_vendor_model *
model_of(const char *provider, const char *model)
{
    const struct registry *r = fixture_registry();
    const struct registry_provider *p = registry_provider_find(r, str_from_cstr(provider));
    const struct registry_vendor_model *m;

    assert_non_null(p);
    m = registry_vendor_model_find(r, p, str_from_cstr(model));
    if (m == NULL)
        fail_msg("%s has no model %s", provider, model);
    return m;
}

static const struct price *
rows_of(const struct registry_vendor_model *m)
{
    return (const struct price *)(const void *)((const char *)fixture_registry() + m->prices.off);
}

/* The worked costs of the price sheet, in nano-USD. */
static const struct {
    const char *name, *provider, *model;
    struct usage usage;
    int64_t nano_usd;
} worked[] = {
    {"opus with a 5 minute write", "anthropic-api", "claude-opus-4-7",
        {.input = 1000, .cache_read = 20000, .cache_write_5m = 3000, .output = 500}, 46250000},
    {"opus with a 1 hour write", "anthropic-api", "claude-opus-4-7",
        {.input = 1000, .cache_read = 20000, .cache_write_1h = 3000, .output = 500}, 57500000},
    {"gpt-5.4 with cached input and reasoning", "openai-api", "gpt-5.4",
        {.input = 2000, .cache_read = 8000, .output = 1200, .reasoning = 900}, 25000000},
    {"gpt-5.4 with a long prompt", "openai-api", "gpt-5.4", {.input = 300000, .output = 1000},
        1522500000},
    {"kimi with cached input", "moonshot", "kimi-k2.6",
        {.input = 1000, .cache_read = 4000, .output = 800}, 4790000},
    {"minimax on the anthropic wire", "minimax", "MiniMax-M2.7",
        {.input = 2000, .cache_read = 6000, .cache_write_5m = 1000, .output = 400}, 1815000},
    {"haiku at the edge of its tier", "anthropic-api", "claude-haiku-5-5",
        {.input = 100000, .output = 1000}, 10500000},
    {"haiku one token above the edge", "anthropic-api", "claude-haiku-5-5",
        {.input = 100001, .output = 1000}, 52500500},
};

/* A call of yesterday, priced again: by the tier of what its prompt really was. */
static void
finds_the_other_tiers_of_a_row(void **state)
{
    const struct price rows[] = {{.from_ms = 10, .input = 1},
        {.from_ms = 10, .above_tokens = 100, .input = 5}, {.from_ms = 20, .input = 2},
        {.from_ms = 20, .above_tokens = 100, .input = 6}};
    const struct price other = {.from_ms = 10, .input = 3};

    for (int was = 0; was < 2; was++) {
        assert_ptr_equal(price_find_beside(rows, 4, 15, &rows[was], 100), &rows[0]);
        assert_ptr_equal(price_find_beside(rows, 4, 15, &rows[was], 101), &rows[1]);
    }
    assert_null(price_find_beside(rows, 4, 25, &rows[0], 1)); /* not in force any more */
    assert_null(price_find_beside(rows, 4, 15, &other, 1));
    assert_null(price_find_beside(rows, 0, 15, &other, 1));
}

static void
costs_the_worked_examples_exactly(void **state)
{
    for (size_t i = 0; i < sizeof(worked) / sizeof(worked[0]); i++) {
        const struct registry_vendor_model *m = model_of(worked[i].provider, worked[i].model);
        const struct usage *u = &worked[i].usage;
        int64_t prompt = u->input + u->cache_read + u->cache_write_5m + u->cache_write_1h;
        const struct price *row = price_find(rows_of(m), m->prices.n, NOW_MS, prompt);
        int64_t cost = -1, bound = -1;

        assert_non_null(row);
        assert_true(price_cost(row, u, &cost));
        if (cost != worked[i].nano_usd)
            fail_msg("%s: got %lld, expected %lld", worked[i].name, (long long)cost,
                (long long)worked[i].nano_usd);
        assert_true(price_bound(rows_of(m), m->prices.n, NOW_MS, MOST(prompt, u->output), &bound));
        assert_true(bound >= cost);
    }
}

static void
picks_the_tier_by_the_whole_prompt(void **state)
{
    static const struct price rows[] = {
        {.input = 1}, {.above_tokens = 100, .input = 2}, {.above_tokens = 200, .input = 3}};

    assert_int_equal(price_find(rows, 3, 0, 0)->input, 1);
    assert_int_equal(price_find(rows, 3, 0, 100)->input, 1);
    assert_int_equal(price_find(rows, 3, 0, 101)->input, 2);
    assert_int_equal(price_find(rows, 3, 0, 200)->input, 2);
    assert_int_equal(price_find(rows, 3, 0, 201)->input, 3);
    assert_int_equal(price_find(rows, 3, 0, INT64_MAX)->input, 3);
}

static void
picks_the_sheet_in_force_and_never_an_older_tier(void **state)
{
    static const struct price rows[] = {{.from_ms = 10, .input = 1},
        {.from_ms = 10, .above_tokens = 100, .input = 2}, {.from_ms = 20, .input = 3}};

    assert_null(price_find(rows, 3, 9, 0));
    assert_int_equal(price_find(rows, 3, 10, 0)->input, 1);
    assert_int_equal(price_find(rows, 3, 19, 500)->input, 2);
    assert_int_equal(price_find(rows, 3, 20, 500)->input, 3);
    assert_null(price_find(rows, 0, 20, 0));
}

static void
rounds_half_up_once(void **state)
{
    static const struct price rate = {.input = 1, .output = 1};
    int64_t cost = -1;

    assert_true(price_cost(&rate, &(struct usage){.input = 499}, &cost));
    assert_int_equal(cost, 0);
    assert_true(price_cost(&rate, &(struct usage){.input = 500}, &cost));
    assert_int_equal(cost, 1);
    /* Rounding each part would give 0. */
    assert_true(price_cost(&rate, &(struct usage){.input = 250, .output = 250}, &cost));
    assert_int_equal(cost, 1);
    assert_true(price_cost(&rate, &(struct usage){.input = 1499}, &cost));
    assert_int_equal(cost, 1);
    assert_true(price_cost(&rate, &(struct usage){.input = 1500}, &cost));
    assert_int_equal(cost, 2);
}

static void
does_not_bill_reasoning_twice(void **state)
{
    static const struct price rate = {.output = 1000};
    int64_t cost = -1;

    assert_true(price_cost(&rate, &(struct usage){.output = 10, .reasoning = 9}, &cost));
    assert_int_equal(cost, 10);
}

static void
refuses_negative_counts_and_overflow(void **state)
{
    static const struct price rate = {.input = INT64_C(1000000000000),
        .output = 1,
        .cache_read = 1,
        .cache_write_5m = 1,
        .cache_write_1h = 1};
    static const struct usage bad[] = {{.input = -1}, {.output = -1}, {.cache_read = -1},
        {.cache_write_5m = -1}, {.cache_write_1h = -1}, {.input = INT64_MAX}};
    int64_t cost = 42;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(price_cost(&rate, &bad[i], &cost));
        assert_int_equal(cost, 42);
    }
    assert_false(price_bound(&rate, 1, 0, MOST(-1, 0), &cost));
    assert_false(price_bound(&rate, 1, 0, MOST(0, -1), &cost));
    assert_false(price_bound(&rate, 1, 0, MOST(INT64_MAX, 0), &cost));
    assert_false(price_bound(&rate, 1, -1, MOST(0, 0), &cost));
    assert_int_equal(cost, 42);
}

static void
bounds_by_the_dearest_tier_and_prompt_rate(void **state)
{
    static const struct price rows[] = {{.input = 1000,
                                            .output = 5000,
                                            .cache_read = 100,
                                            .cache_write_5m = 1250,
                                            .cache_write_1h = 2000},
        {.above_tokens = 100,
            .input = 3000,
            .output = 4000,
            .cache_read = 1,
            .cache_write_5m = 1,
            .cache_write_1h = 1}};
    int64_t bound = -1;

    /* 10 x 3000 + 7 x 4000 = 58,000 against 10 x 2000 + 7 x 5000 = 55,000 */
    assert_true(price_bound(rows, 2, 0, MOST(10, 7), &bound));
    assert_int_equal(bound, 58);
    /* With more output the other tier is the dearer one: 10 x 2000 + 20 x 5000. */
    assert_true(price_bound(rows, 2, 0, MOST(10, 20), &bound));
    assert_int_equal(bound, 120);
}

static void
an_unpriced_cache_rate_is_the_input_rate(void **state)
{
    const struct registry_vendor_model *m = model_of("moonshot", "kimi-k2.6");

    assert_int_equal(rows_of(m)->input, 950000);
    assert_int_equal(rows_of(m)->cache_read, 160000);
    assert_int_equal(rows_of(m)->cache_write_5m, 950000);
    assert_int_equal(rows_of(m)->cache_write_1h, 950000);
}

static void
a_dated_id_is_priced_as_its_model_and_an_alias_is_not(void **state)
{
    const struct registry *r = fixture_registry();
    const struct registry_provider *p = registry_provider_find(r, STR("anthropic-api"));

    assert_ptr_equal(registry_vendor_model_find(r, p, STR("claude-haiku-4-5-20251001")),
        registry_vendor_model_find(r, p, STR("claude-haiku-4-5")));
    assert_null(registry_vendor_model_find(r, p, STR("claude-haiku-4-5-2025100")));
    assert_null(registry_vendor_model_find(r, p, STR("claude-haiku-4-5-2025100x")));
    assert_null(registry_vendor_model_find(r, p, STR("-20251001")));
    assert_null(registry_vendor_model_find(r, p, STR("opus")));
    assert_null(registry_vendor_model_find(r, p, STR("")));
}

static void
a_price_changes_on_its_day(void **state)
{
    const struct registry_vendor_model *m = model_of("deepseek", "deepseek-v4-pro");
    const int64_t day = INT64_C(1789344000000); /* 2026-09-14T00:00:00Z */

    assert_int_equal(price_find(rows_of(m), m->prices.n, day - 1, 0)->cache_read, 3625);
    assert_int_equal(price_find(rows_of(m), m->prices.n, day, 0)->cache_read, 44000);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(finds_the_other_tiers_of_a_row),
        TEST(costs_the_worked_examples_exactly),
        TEST(picks_the_tier_by_the_whole_prompt),
        TEST(picks_the_sheet_in_force_and_never_an_older_tier),
        TEST(rounds_half_up_once),
        TEST(does_not_bill_reasoning_twice),
        TEST(refuses_negative_counts_and_overflow),
        TEST(bounds_by_the_dearest_tier_and_prompt_rate),
        TEST(an_unpriced_cache_rate_is_the_input_rate),
        TEST(a_dated_id_is_priced_as_its_model_and_an_alias_is_not),
        TEST(a_price_changes_on_its_day),
    };

    return cmocka_run_group_tests(tests, fixture_load, fixture_free);
}
