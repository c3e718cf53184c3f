#include "unit.h"

#include "core/admit.h"

static void *memory;
static struct policy p;
static struct policy_token token;
static struct request_scan request;

/* Two models: 5/25 USD (twice that above 200,000 tokens), and one whose host does not resolve. */
static int
set_up(void **state)
{
    size_t bytes = policy_bytes(2, 8);

    memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(memory, 0, bytes);
    policy_format(memory, 2, 8, &p);
    p.header->max_age_ms = 1000;
    atomic_store(&p.header->published_ms, 5000);
    for (int i = 0; i < 2; i++) {
        struct policy_target *route = &p.routes[i].targets[0];

        p.routes[i].targets_n = 1;
        snprintf(p.routes[i].id, sizeof(p.routes[i].id), "v/model-%d", i);
        route->max_output = 1000;
        route->prices_n = 2;
        route->prices[0] = (struct price){.from_ms = 100,
            .input = 5000000,
            .output = 25000000,
            .cache_read = 500000,
            .cache_write_5m = 6250000,
            .cache_write_1h = 10000000};
        route->prices[1] = (struct price){.from_ms = 100,
            .above_tokens = 200000,
            .input = 10000000,
            .output = 50000000,
            .cache_read = 1000000,
            .cache_write_5m = 12500000,
            .cache_write_1h = 20000000};
        route->endpoint[DIALECT_ANTHROPIC] =
            (struct policy_endpoint){.present = 1, .reachable = i == 0};
    }
    return 0;
}

static int
tear_down(void **state)
{
    free(memory);
    return 0;
}

static struct admit_decision
ask(const char *model, const char *limit, size_t body_bytes, enum dialect dialect, int64_t now_ms)
{
    char body[256];
    struct admit_facts f = {
        .policy = &p, .token = &token, .request = &request, .dialect = dialect, .now_ms = now_ms};
    int n = snprintf(body, sizeof(body), "{\"model\":\"%s\"%s%s}", model,
        limit == NULL ? "" : ",\"max_tokens\":", limit == NULL ? "" : limit);

    request_scan_init(&request, DIALECT_ANTHROPIC);
    request_scan_feed(&request, body, (size_t)n);
    assert_int_equal(request_scan_finish(&request), REQUEST_OK);
    request.bytes = body_bytes;
    return admit(&f);
}

static void
only_granted_models_are_admitted(void **state)
{
    token = (struct policy_token){0};
    assert_int_equal(
        ask("v/model-0", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_MODEL_NOT_GRANTED);
    policy_grant_add(&token, 0);
    assert_int_equal(ask("v/model-0", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_NONE);
    assert_int_equal(
        ask("v/model-1", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_MODEL_NOT_GRANTED);
    assert_int_equal(
        ask("V/model-0", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_MODEL_NOT_GRANTED);
    assert_int_equal(
        ask("v/model-", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_MODEL_NOT_GRANTED);
}

static void
what_cannot_be_served_is_refused(void **state)
{
    policy_grant_add(&token, 0);
    policy_grant_add(&token, 1);
    assert_int_equal(
        ask("v/model-0", NULL, 100, DIALECT_OPENAI_CHAT, 200).refusal, REFUSAL_DIALECT_NOT_SERVED);
    assert_int_equal(
        ask("v/model-1", NULL, 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_UPSTREAM_UNKNOWN);
    /* No price in force yet. */
    assert_int_equal(
        ask("v/model-0", NULL, 100, DIALECT_ANTHROPIC, 99).refusal, REFUSAL_MODEL_NOT_PRICED);
}

static void
the_bound_is_the_dearest_that_can_happen(void **state)
{
    struct admit_decision d;

    policy_grant_add(&token, 0);
    /* 100 bytes at the dearest input rate (1-hour cache writes) and the asked limit of output. */
    d = ask("v/model-0", "10", 100, DIALECT_ANTHROPIC, 200);
    assert_int_equal(d.refusal, REFUSAL_NONE);
    assert_int_equal(d.most.prompt_tokens, 100);
    assert_int_equal(d.most.output_tokens, 10);
    assert_int_equal(d.tiers_n, 2);
    assert_in_range(d.bound_nano_usd, 100 * 10000 + 10 * 25000, 100 * 20000 + 10 * 50000);
    /* Without a limit, or above the model's, the model's maximum. */
    assert_int_equal(ask("v/model-0", NULL, 100, DIALECT_ANTHROPIC, 200).most.output_tokens, 1000);
    assert_int_equal(
        ask("v/model-0", "5000", 100, DIALECT_ANTHROPIC, 200).most.output_tokens, 1000);
    /* A prompt that may reach the dear tier is bound by it. */
    d = ask("v/model-0", "10", 300000, DIALECT_ANTHROPIC, 200);
    assert_int_equal(d.bound_nano_usd, 300000LL * 20000 + 10 * 50000);
}

/* What the scan of the body found, instead of a body. */
static struct admit_decision
ask_scanned(const struct request_scan *scan, enum dialect dialect, bool is_free)
{
    struct request_scan full = *scan;
    struct admit_facts f = {.policy = &p,
        .token = &token,
        .request = &full,
        .dialect = dialect,
        .is_free = is_free,
        .now_ms = 200};

    full.model_n = strlen("v/model-0");
    memcpy(full.model, "v/model-0", full.model_n);
    full.bytes = 100;
    if (full.choices == 0)
        full.choices = 1;
    return admit(&f);
}

static void
the_bound_holds_what_does_not_stand_in_the_body(void **state)
{
    struct policy_target *target = &p.routes[0].targets[0];
    static const struct {
        const char *name;
        struct request_scan scan;
        int64_t context, prompt, output;
    } rows[] = {
        {"bytes alone", {0}, 0, 100, 1000},
        {"three answers", {.choices = 3, .has_max_output = true, .max_output = 7}, 0, 100, 21},
        {"a prediction", {.predicted = true, .has_max_output = true, .max_output = 7}, 0, 100, 107},
        {"tools", {.tools = 2}, 0, 100 + ADMIT_TOOLS_TOKENS, 1000},
        {"tools of the vendor's words", {.tools = 2, .vendor_tools = 2}, 0,
            100 + ADMIT_TOOLS_TOKENS + 2 * ADMIT_VENDOR_TOOL_TOKENS, 1000},
        {"images", {.images = 2}, 0, 100 + 2 * ADMIT_IMAGE_TOKENS, 1000},
        {"a reference", {.by_reference = true}, 0, ADMIT_CONTEXT_TOKENS, 1000},
        {"a reference, and the context is known", {.by_reference = true}, 5000, 5000, 1000},
        {"a reference to little", {.by_reference = true, .images = 1}, 50, 100 + ADMIT_IMAGE_TOKENS,
            1000},
    };

    token = (struct policy_token){0};
    policy_grant_add(&token, 0);
    target->endpoint[DIALECT_OPENAI_CHAT] = (struct policy_endpoint){.present = 1, .reachable = 1};
    target->endpoint[DIALECT_OPENAI_EMBEDDINGS] = target->endpoint[DIALECT_OPENAI_CHAT];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct admit_decision d;

        target->max_prompt = rows[i].context;
        d = ask_scanned(&rows[i].scan, DIALECT_OPENAI_CHAT, false);
        if (d.refusal != REFUSAL_NONE || d.most.prompt_tokens != rows[i].prompt ||
            d.most.output_tokens != rows[i].output)
            fail_msg("%s: %lld in, %lld out", rows[i].name, (long long)d.most.prompt_tokens,
                (long long)d.most.output_tokens);
    }
    target->max_prompt = 0;
    assert_int_equal(
        ask_scanned(&rows[0].scan, DIALECT_OPENAI_EMBEDDINGS, false).most.output_tokens, 0);
    assert_int_equal(ask_scanned(&rows[0].scan, DIALECT_OPENAI_CHAT, true).bound_nano_usd, 0);
}

static void
searches_are_bound_with_all_that_they_add(void **state)
{
    struct policy_target *target = &p.routes[0].targets[0];
    const struct request_scan scan = {.tools = 1, .vendor_tools = 1, .web_searches = 2};
    const int64_t prompt = 100 + ADMIT_TOOLS_TOKENS + ADMIT_VENDOR_TOOL_TOKENS;
    struct admit_decision d;

    token = (struct policy_token){0};
    policy_grant_add(&token, 0);
    d = ask_scanned(&scan, DIALECT_ANTHROPIC, false);
    assert_int_equal(d.refusal, REFUSAL_TOOL_NOT_PRICED);
    for (int i = 0; i < 2; i++)
        target->prices[i].web_search = INT64_C(10000000000);
    d = ask_scanned(&scan, DIALECT_ANTHROPIC, false);
    assert_int_equal(d.refusal, REFUSAL_NONE);
    /* The prompt, then twice more with what one search, then two, have found. */
    assert_int_equal(d.most.prompt_tokens, 3 * prompt + 3 * ADMIT_SEARCH_TOKENS);
    assert_int_equal(d.most.web_searches, 2);
    /* 20 USD a million tokens in the dear tier, 50 USD of output, a cent for each search. */
    assert_int_equal(d.bound_nano_usd,
        d.most.prompt_tokens * 20000 + d.most.output_tokens * 50000 + 2 * 10000000);
    target->prices[1].web_search = 0;
    assert_int_equal(ask_scanned(&scan, DIALECT_ANTHROPIC, false).refusal, REFUSAL_TOOL_NOT_PRICED);
    target->prices[0].web_search = 0;
}

static void
a_call_that_may_compact_is_bound_twice(void **state)
{
    const struct request_scan scan = {.compacts = true, .has_max_output = true, .max_output = 7};
    struct admit_decision d;

    token = (struct policy_token){0};
    policy_grant_add(&token, 0);
    d = ask_scanned(&scan, DIALECT_ANTHROPIC, false);
    assert_int_equal(d.most.prompt_tokens, 200);
    assert_int_equal(d.most.output_tokens, 1007);
}

static void
what_the_vendor_may_bill_instead_is_in_the_bound(void **state)
{
    struct policy_target *target = &p.routes[0].targets[0];
    struct admit_decision d;

    token = (struct policy_token){0};
    policy_grant_add(&token, 0);
    target->bills_answered = 1;
    target->billed_n = 1;
    target->billed[0] = (struct policy_billed){
        .model = "dear", .prices_n = 1, .prices = {{.input = 90000000, .output = 300000000}}};
    d = ask("v/model-0", "10", 100, DIALECT_ANTHROPIC, 200);
    assert_int_equal(d.refusal, REFUSAL_NONE);
    assert_int_equal(d.bound_nano_usd, 100 * 90000 + 10 * 300000);
    assert_int_equal(d.billed[0].model, recorder_model_number(STR("dear")));
    target->billed[0].prices[0].from_ms = 1000;
    assert_int_equal(
        ask("v/model-0", "10", 100, DIALECT_ANTHROPIC, 200).refusal, REFUSAL_MODEL_NOT_PRICED);
    target->bills_answered = target->billed_n = 0;
}

static void
each_target_is_judged_by_itself(void **state)
{
    struct policy_route *route = &p.routes[0];
    struct admit_facts f = {.policy = &p, .token = &token, .request = &request, .now_ms = 200};

    token = (struct policy_token){0};
    policy_grant_add(&token, 0);
    (void)ask("v/model-0", NULL, 100, DIALECT_ANTHROPIC, 200);
    route->targets[1] = route->targets[0];
    route->targets[1].max_output = 77;
    route->targets_n = 2;
    f.target = 1;
    assert_int_equal(admit(&f).most.output_tokens, 77);
    assert_ptr_equal(admit(&f).target, &route->targets[1]);
    f.target = 2;
    assert_int_equal(admit(&f).refusal, REFUSAL_DIALECT_NOT_SERVED);
    route->targets_n = 1;
}

/* Runs the decision with these price rows instead of the fixture's. */
static struct admit_decision
ask_with_prices(const struct price *rows, uint32_t n, int64_t now_ms)
{
    struct policy_target *route = &p.routes[0].targets[0];
    struct price kept[POLICY_PRICES_MAX];
    uint32_t kept_n = route->prices_n;
    struct admit_decision d;

    memcpy(kept, route->prices, sizeof(kept));
    memset(route->prices, 0, sizeof(route->prices));
    memcpy(route->prices, rows, n * sizeof(*rows));
    route->prices_n = n;
    policy_grant_add(&token, 0);
    d = ask("v/model-0", "10", 100, DIALECT_ANTHROPIC, now_ms);
    memcpy(route->prices, kept, sizeof(kept));
    route->prices_n = kept_n;
    return d;
}

static void
the_tiers_kept_are_those_in_force_each_once(void **state)
{
    static const struct price rows[] = {
        {.from_ms = 100, .input = 1, .output = 2},
        {.from_ms = 100, .above_tokens = 50, .input = 3, .output = 4},
        {.from_ms = 300, .input = 5, .output = 6},
        {.from_ms = 300, .above_tokens = 50, .input = 7, .output = 8},
    };
    struct admit_decision d = ask_with_prices(rows, 4, 200);

    assert_int_equal(d.refusal, REFUSAL_NONE);
    assert_int_equal(d.tiers_n, 2);
    assert_memory_equal(&d.tiers[0], &rows[0], sizeof(rows[0]));
    assert_memory_equal(&d.tiers[1], &rows[1], sizeof(rows[1]));
    d = ask_with_prices(rows, 4, 300);
    assert_int_equal(d.tiers_n, 2);
    assert_memory_equal(&d.tiers[0], &rows[2], sizeof(rows[0]));
    assert_memory_equal(&d.tiers[1], &rows[3], sizeof(rows[1]));
    /* A tier that appears with a later row is found behind rows that say the same. */
    d = ask_with_prices((const struct price[]){rows[0], rows[2], rows[3]}, 3, 300);
    assert_int_equal(d.tiers_n, 2);
    assert_memory_equal(&d.tiers[1], &rows[3], sizeof(rows[1]));
    /* Tiers as narrow as one token. */
    d = ask_with_prices((const struct price[]){{.from_ms = 100, .input = 1},
                            {.from_ms = 100, .above_tokens = 1, .input = 2}},
        2, 200);
    assert_int_equal(d.tiers_n, 2);
    assert_int_equal(d.tiers[0].input, 1);
    assert_int_equal(d.tiers[1].input, 2);
}

static void
four_tiers_fit_and_five_are_refused(void **state)
{
    struct price rows[RECORDER_TIERS_MAX + 1];
    struct admit_decision d;

    for (int i = 0; i <= RECORDER_TIERS_MAX; i++)
        rows[i] =
            (struct price){.from_ms = 100, .above_tokens = i * 1000, .input = i + 1, .output = 1};
    d = ask_with_prices(rows, RECORDER_TIERS_MAX, 200);
    assert_int_equal(d.refusal, REFUSAL_NONE);
    assert_int_equal(d.tiers_n, RECORDER_TIERS_MAX);
    assert_memory_equal(
        &d.tiers[RECORDER_TIERS_MAX - 1], &rows[RECORDER_TIERS_MAX - 1], sizeof(rows[0]));
    assert_int_equal(
        ask_with_prices(rows, RECORDER_TIERS_MAX + 1, 200).refusal, REFUSAL_MODEL_NOT_PRICED);
    assert_int_equal(ask_with_prices(rows, 0, 200).refusal, REFUSAL_MODEL_NOT_PRICED);
}

static void
a_policy_too_old_or_missing_refuses(void **state)
{
    struct policy none = {0};

    assert_int_equal(admit_policy(&p, 5000), REFUSAL_NONE);
    assert_int_equal(admit_policy(&p, 6000), REFUSAL_NONE);
    assert_int_equal(admit_policy(&p, 6001), REFUSAL_NO_POLICY);
    assert_int_equal(admit_policy(&none, 5000), REFUSAL_NO_POLICY);
}

static void
refusals_speak_the_dialect_and_escape_what_they_quote(void **state)
{
    char body[REFUSAL_BODY_MAX];
    size_t n = refusal_body(
        REFUSAL_MODEL_NOT_GRANTED, DIALECT_ANTHROPIC, STR("a \"b\" \\ \n"), STR("id-1"), body);

    assert_int_equal(refusal_status(REFUSAL_MODEL_NOT_GRANTED, DIALECT_ANTHROPIC), 403);
    assert_int_equal(refusal_status(REFUSAL_MODEL_NOT_GRANTED, DIALECT_OPENAI_CHAT), 400);
    body[n] = '\0';
    assert_non_null(strstr(body, "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\","));
    assert_non_null(strstr(body, "a \\\"b\\\" \\\\ ? - "));
    assert_non_null(strstr(body, "\"request_id\":\"id-1\"}"));
    n = refusal_body(REFUSAL_MODEL_NOT_GRANTED, DIALECT_OPENAI_CHAT, STR_NONE, STR_NONE, body);
    body[n] = '\0';
    assert_non_null(strstr(body, "{\"error\":{\"type\":\"invalid_request_error\","));
    assert_non_null(strstr(body, "\"code\":\"model_not_found\""));
}

static void
a_long_detail_is_cut_and_the_body_stays_whole(void **state)
{
    static char detail[5000];
    char body[REFUSAL_BODY_MAX + 1];
    size_t n;

    memset(detail, '"', sizeof(detail));
    n = refusal_body(REFUSAL_BAD_REQUEST, DIALECT_ANTHROPIC, (struct str){detail, sizeof(detail)},
        STR("id-1"), body);
    assert_in_range(n, 1, REFUSAL_BODY_MAX);
    body[n] = '\0';
    assert_string_equal(
        body + n - strlen("\"},\"request_id\":\"id-1\"}\n"), "\"},\"request_id\":\"id-1\"}\n");
}

/* A tier of an older list stands between two of the one in force. */
static void
tiers_keep_their_order_whatever_was_before(void **state)
{
    static const struct price rows[] = {{.from_ms = 1, .input = 1},
        {.from_ms = 1, .above_tokens = 300000, .input = 2}, {.from_ms = 100, .input = 10},
        {.from_ms = 100, .above_tokens = 100000, .input = 20},
        {.from_ms = 100, .above_tokens = 200000, .input = 40}};
    struct admit_decision d = ask_with_prices(rows, 5, 200);

    assert_int_equal(d.tiers_n, 3);
    assert_int_equal(price_find(d.tiers, d.tiers_n, 200, 250000)->input, 40);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_granted_models_are_admitted),
        TEST(what_cannot_be_served_is_refused),
        TEST(the_bound_is_the_dearest_that_can_happen),
        TEST(the_bound_holds_what_does_not_stand_in_the_body),
        TEST(each_target_is_judged_by_itself),
        TEST(searches_are_bound_with_all_that_they_add),
        TEST(a_call_that_may_compact_is_bound_twice),
        TEST(what_the_vendor_may_bill_instead_is_in_the_bound),
        TEST(tiers_keep_their_order_whatever_was_before),
        TEST(the_tiers_kept_are_those_in_force_each_once),
        TEST(four_tiers_fit_and_five_are_refused),
        TEST(a_policy_too_old_or_missing_refuses),
        TEST(refusals_speak_the_dialect_and_escape_what_they_quote),
        TEST(a_long_detail_is_cut_and_the_body_stays_whole),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
