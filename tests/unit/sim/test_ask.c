#include "sim/ask.h"

#include "unit.h"

static struct sim_ask
ask(const char *path, const char *wish, const char *body)
{
    struct sim_head h = {
        .method = STR("POST"), .path = str_from_cstr(path), .wish = str_from_cstr(wish)};
    struct sim_ask a;

    sim_ask_init(&a, &h, str_from_cstr(body));
    return a;
}

static void
knows_its_paths_under_any_base(void **state)
{
    static const struct {
        const char *path;
        enum sim_kind kind;
    } cases[] = {
        {"/v1/messages", SIM_MESSAGES},
        {"/anthropic/v1/messages", SIM_MESSAGES},
        {"/v1/messages/count_tokens", SIM_COUNT_TOKENS},
        {"/openai/v1/chat/completions", SIM_CHAT},
        {"/backend-api/codex/responses", SIM_RESPONSES},
        {"/v1/embeddings", SIM_EMBEDDINGS},
        {"/__sim/reset", SIM_RESET},
        {"/messages", SIM_OTHER},
        {"/", SIM_OTHER},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct sim_ask a = ask(cases[i].path, "", "{}");

        if (a.kind != cases[i].kind)
            fail_msg("%s is kind %d", cases[i].path, a.kind);
        sim_ask_done(&a);
    }
}

static void
reads_the_wish_in_the_last_message_of_the_user(void **state)
{
    static const char *const bodies[] = {
        "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"sim: "
        "output=1\"},"
        "{\"role\":\"user\",\"content\":\"please\\nsim: output=42 events=3\\nthanks output=5\"},"
        "{\"role\":\"assistant\",\"content\":\"sim: output=7\"}]}",
        "{\"messages\":[{\"content\":[{\"type\":\"text\",\"text\":\"sim: output=9\"},"
        "{\"type\":\"text\",\"text\":\"sim: output=42 "
        "events=3\"}],\"role\":\"user\"}],\"stream\":true,\"model\":\"m\"}",
        "{\"model\":\"m\",\"stream\":true,\"input\":\"sim: output=42 events=3\"}",
        "{\"mod\\u0065l\":\"m\",\"stream\":true,\"input\":[{\"role\":\"user\",\"content\":"
        "[{\"type\":\"input_text\",\"text\":\"sim: output=42 events=3\"}]}]}",
    };

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct sim_ask a = ask("/v1/messages", "", bodies[i]);

        assert_false(a.bad_json);
        assert_true(a.stream);
        assert_string_equal(a.model, "m");
        assert_int_equal(a.b.tokens.output, 42);
        assert_int_equal(a.b.events, 3);
        sim_ask_done(&a);
    }
}

static void
reads_every_word_of_a_wish(void **state)
{
    struct sim_ask a = ask("/v1/messages",
        "input=1 output=2 cache_read=3 cache_write_5m=4 cache_write_1h=5 reasoning=6 "
        "first_delay_ms=7 "
        "delay_ms=8 status=529 retry_after=9 die_after=10 stall_after=11 error_after=12 "
        "die_before=1 "
        "no_usage=1 late_usage=1 model=other text=\"two words\"",
        "{\"model\":\"m\"}");
    const struct sim_behaviour *b = &a.b;

    assert_memory_equal(&b->tokens, (&(struct sim_tokens){1, 2, 3, 4, 5, 6}), sizeof(b->tokens));
    assert_int_equal(b->first_delay_ms, 7);
    assert_int_equal(b->delay_ms, 8);
    assert_int_equal(b->status, 529);
    assert_int_equal(b->retry_after, 9);
    assert_int_equal(b->die_after, 10);
    assert_int_equal(b->stall_after, 11);
    assert_int_equal(b->error_after, 12);
    assert_true(b->die_before && b->no_usage && b->late_usage);
    assert_string_equal(b->model, "other");
    assert_str(buf_str(&b->text), "two words");
    sim_ask_done(&a);
}

static void
the_message_wins_over_the_header(void **state)
{
    struct sim_ask a = ask("/v1/messages", "output=1 input=5",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"sim: output=2\"}]}");

    assert_int_equal(a.b.tokens.output, 2);
    assert_int_equal(a.b.tokens.input, 5);
    sim_ask_done(&a);
}

static void
answers_the_known_question(void **state)
{
    struct sim_ask a = ask("/v1/messages", "",
        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":"
        "\"Reply with exactly the word PINEAPPLE, please.\"}]}");

    assert_str(buf_str(&a.b.text), "PINEAPPLE");
    assert_int_equal(a.b.tokens.output, 1);
    sim_ask_done(&a);
}

static void
defaults_follow_from_the_request(void **state)
{
    struct sim_ask a = ask("/v1/messages", "", "{\"model\":\"m\",\"messages\":[]}");
    struct sim_ask b = ask("/v1/messages", "events=60", "{\"model\":\"m\"}");

    assert_int_equal(a.b.tokens.input, 7);
    assert_int_equal(a.b.tokens.output, 10);
    assert_int_equal(a.b.events, 10);
    assert_int_equal(a.b.status, -1);
    assert_int_equal(a.b.tokens.cache_read, 0);
    assert_int_equal(b.b.tokens.output, 60);
    assert_int_equal(b.b.events, 60);
    sim_ask_done(&a);
    sim_ask_done(&b);
}

static void
usage_of_a_stream_is_asked_for_by_its_option_alone(void **state)
{
    struct sim_ask a = ask("/v1/chat/completions", "",
        "{\"model\":\"m\",\"stream_options\":{\"x\":true,\"include_usage\":true}}");
    struct sim_ask b =
        ask("/v1/chat/completions", "", "{\"model\":\"m\",\"stream_options\":{\"x\":true}}");

    assert_true(a.include_usage && a.openai);
    assert_false(b.include_usage);
    sim_ask_done(&a);
    sim_ask_done(&b);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(knows_its_paths_under_any_base),
        TEST(reads_the_wish_in_the_last_message_of_the_user),
        TEST(reads_every_word_of_a_wish),
        TEST(the_message_wins_over_the_header),
        TEST(answers_the_known_question),
        TEST(defaults_follow_from_the_request),
        TEST(usage_of_a_stream_is_asked_for_by_its_option_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
