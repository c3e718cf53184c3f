#include "unit.h"

#include "core/usage.h"

enum { EXACT = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL };

#define START(usage)                                                                               \
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\","       \
    "\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"model\":\"claude-opus-4-7\","    \
    "\"stop_reason\":null,\"usage\":" usage "}}\n\n"
#define TEXT(text)                                                                                 \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"             \
    "\"delta\":{\"type\":\"text_delta\",\"text\":\"" text "\"}}\n\n"
#define PING "event: ping\ndata: {\"type\": \"ping\"}\n\n"
#define DELTA(usage)                                                                               \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":"          \
    "\"end_turn\",\"stop_sequence\":null},\"usage\":" usage "}\n\n"
#define STOP "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

static const struct {
    const char *name;
    bool stream;
    const char *answer;
    struct usage counts;
    unsigned flags;
    uint64_t text_bytes;
    const char *model;
} cases[] = {
    {"searches of the vendor's", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") TEXT("Hi")
            DELTA("{\"input_tokens\":9000,\"output_tokens\":15,\"server_tool_use\":"
                  "{\"web_search_requests\":3,\"web_fetch_requests\":1}}") STOP,
        {.input = 9000, .output = 15, .web_searches = 3}, EXACT | USAGE_COMPLETE, 2,
        "claude-opus-4-7"},
    {"a compacted history", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") TEXT("Hi")
            DELTA("{\"input_tokens\":23,\"output_tokens\":10,\"iterations\":["
                  "{\"type\":\"compaction\",\"input_tokens\":1800,\"output_tokens\":35,"
                  "\"cache_read_input_tokens\":7,\"cache_creation_input_tokens\":4,"
                  "\"cache_creation\":{\"ephemeral_1h_input_tokens\":4}},"
                  "{\"type\":\"message\",\"input_tokens\":23,\"output_tokens\":10}]}") STOP,
        {.input = 1823, .output = 45, .cache_read = 7, .cache_write_1h = 4}, EXACT | USAGE_COMPLETE,
        2, "claude-opus-4-7"},
    {"a whole stream", true,
        START(
            "{\"input_tokens\":25,\"cache_creation_input_tokens\":3,\"cache_read_input_tokens\":7,"
            "\"output_tokens\":1}") PING TEXT("Hello") TEXT(" you") DELTA("{\"output_tokens\":15}")
            STOP,
        {.input = 25, .output = 15, .cache_read = 7, .cache_write_5m = 3}, EXACT | USAGE_COMPLETE,
        9, "claude-opus-4-7"},
    {"what looks like text within a document of several lines", true,
        START("{\"input_tokens\":5,\"output_tokens\":1}") "data: {\"a\":[\ndata: "
                                                          "{\"type\":\"content_block_delta\","
                                                          "\"index\":0,\"delta\":{\"type\":\"text_"
                                                          "delta\","
                                                          "\"text\":\"Hello\"}}\ndata: "
                                                          "],\"type\":\"message_delta\",\"usage\":{"
                                                          "\"output_tokens\":9}}\n\n",
        {.input = 5, .output = 9}, USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN, 0, "claude-opus-4-7"},
    {"text behind another document, behind two spaces, behind none, cut off by a line's end", true,
        "data: {\"type\":\"ping\"}\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
        "\"delta\":{\"type\":\"text_delta\",\"text\":\"Hello\"}}\n\n"
        "data:  {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
        "\"text\":\"Hello\"}}\r\n\r\n"
        "data:{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\","
        "\"text\":\"Hello\"}}\n\n"
        "data: {\"type\":\"content_block_delta\"\n\n",
        {0}, 0, 5 + 6 + 5 + 1, ""},
    {"an event that breaks off before a blank line with a carriage return", true,
        START("{\"input_tokens\":5,\"output_tokens\":1}") "data: {\"a\":[\r\n\r\n" DELTA(
            "{\"output_tokens\":9}"),
        {.input = 5, .output = 9}, EXACT, 0, "claude-opus-4-7"},
    {"the split of cache writes", true,
        START("{\"input_tokens\":5,\"cache_creation_input_tokens\":30,\"cache_creation\":"
              "{\"ephemeral_5m_input_tokens\":10,\"ephemeral_1h_input_tokens\":20},"
              "\"output_tokens\":1}")
            DELTA("{\"output_tokens\":2,\"cache_creation_input_tokens\":30}") STOP,
        {.input = 5, .output = 2, .cache_write_5m = 10, .cache_write_1h = 20},
        EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"deltas are cumulative", true,
        START("{\"input_tokens\":5,\"output_tokens\":1}") DELTA("{\"output_tokens\":10}")
            DELTA("{\"output_tokens\":25}") STOP,
        {.input = 5, .output = 25}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"zero at the start, corrected at the end", true,
        START("{\"input_tokens\":0,\"output_tokens\":0}")
            DELTA("{\"input_tokens\":40,\"cache_read_input_tokens\":2,\"output_tokens\":9}") STOP,
        {.input = 40, .output = 9, .cache_read = 2}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"zero at the end erases nothing", true,
        START("{\"input_tokens\":40,\"cache_read_input_tokens\":2,\"output_tokens\":1}")
            DELTA("{\"input_tokens\":0,\"cache_read_input_tokens\":null,\"output_tokens\":9}") STOP,
        {.input = 40, .output = 9, .cache_read = 2}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"input grows with server tools", true,
        START("{\"input_tokens\":40,\"output_tokens\":1}")
            DELTA("{\"input_tokens\":900,\"output_tokens\":9}") STOP,
        {.input = 900, .output = 9}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"stopped after the start", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") TEXT("Hello world"),
        {.input = 25, .output = 1}, USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN, 11, "claude-opus-4-7"},
    {"stopped before anything", true, "event: message_start\ndata: {\"type\":\"mess", {0}, 0, 0,
        ""},
    {"stopped between delta and stop", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") DELTA("{\"output_tokens\":5}"),
        {.input = 25, .output = 5}, EXACT, 0, "claude-opus-4-7"},
    {"an error in the stream", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") "event: error\ndata: "
                                                           "{\"type\":\"error\",\"error\":{"
                                                           "\"type\":\"overloaded_error\"}}\n\n",
        {.input = 25, .output = 1}, USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_ERROR, 0,
        "claude-opus-4-7"},
    {"decoys in the text", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}")
            TEXT("\\\"usage\\\":{\\\"output_tokens\\\":999}") DELTA("{\"output_tokens\":5}") STOP,
        {.input = 25, .output = 5}, EXACT | USAGE_COMPLETE, 33, "claude-opus-4-7"},
    {"usage somewhere else is not usage", true,
        START("{\"input_tokens\":25,\"output_tokens\":1}") "data: "
                                                           "{\"type\":\"x\",\"delta\":{\"usage\":{"
                                                           "\"output_tokens\":77}}}\n\n" DELTA(
                                                               "{\"output_tokens\":5,\"server_tool_"
                                                               "use\":{\"output_tokens\":50,"
                                                               "\"input_tokens\":60}}") STOP,
        {.input = 25, .output = 5}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"carriage returns, no event lines, no space", true,
        "data:{\"type\":\"message_start\",\"message\":{\"model\":\"m\",\"usage\":{\"input_tokens\":"
        "3,"
        "\"output_tokens\":1}}}\r\n\r\ndata:{\"type\":\"message_delta\",\"usage\":{\"output_"
        "tokens\":4},"
        "\"delta\":{\"stop_reason\":\"end_turn\"}}\r\n\r\ndata:{\"type\":\"message_stop\"}\r\n\r\n",
        {.input = 3, .output = 4}, EXACT | USAGE_COMPLETE, 0, "m"},
    {"thinking is a part of the output", true,
        START("{\"input_tokens\":3,\"output_tokens\":1}")
            DELTA("{\"output_tokens\":40,\"output_tokens_details\":{\"thinking_tokens\":30}}") STOP,
        {.input = 3, .output = 40, .reasoning = 30}, EXACT | USAGE_COMPLETE, 0, "claude-opus-4-7"},
    {"numbers that count nothing", true,
        START("{\"input_tokens\":-5,\"cache_read_input_tokens\":1.5,\"output_tokens\":1e3}"), {0},
        0, 0, "claude-opus-4-7"},
    {"a whole answer", false,
        "{\"id\":\"msg_1\",\"type\":\"message\",\"model\":\"claude-haiku-4-5\",\"content\":[{"
        "\"type\":"
        "\"text\",\"text\":\"Hi {\\\"usage\\\":1}\"}],\"stop_reason\":\"end_turn\",\"usage\":"
        "{\"input_tokens\":10,\"cache_creation_input_tokens\":4,\"cache_read_input_tokens\":6,"
        "\"cache_creation\":{\"ephemeral_5m_input_tokens\":1,\"ephemeral_1h_input_tokens\":3},"
        "\"output_tokens\":20,\"service_tier\":\"standard\"}}",
        {.input = 10, .output = 20, .cache_read = 6, .cache_write_5m = 1, .cache_write_1h = 3},
        EXACT | USAGE_COMPLETE, 0, "claude-haiku-4-5"},
    {"a cut answer", false, "{\"id\":\"msg_1\",\"content\":[{\"type\":\"text\",\"text\":\"Hello",
        {0}, 0, 0, ""},
    {"an answer without usage", false, "{\"id\":\"msg_1\",\"content\":[]}", {0}, USAGE_COMPLETE, 0,
        ""},
    {"not JSON", false, "<html>\"usage\":{\"input_tokens\":5}</html>", {0}, 0, 0, ""},
};

static void
check(size_t i, const struct usage_meter *m, const char *how)
{
    if (memcmp(&m->counts, &cases[i].counts, sizeof(m->counts)) != 0)
        fail_msg("%s (%s): input %lld output %lld read %lld w5m %lld w1h %lld reasoning %lld",
            cases[i].name, how, (long long)m->counts.input, (long long)m->counts.output,
            (long long)m->counts.cache_read, (long long)m->counts.cache_write_5m,
            (long long)m->counts.cache_write_1h, (long long)m->counts.reasoning);
    if (m->flags != cases[i].flags)
        fail_msg("%s (%s): flags %u, expected %u", cases[i].name, how, m->flags, cases[i].flags);
    if (m->text_bytes != cases[i].text_bytes)
        fail_msg(
            "%s (%s): %llu bytes of text", cases[i].name, how, (unsigned long long)m->text_bytes);
    assert_str(((struct str){m->model, m->model_n}), cases[i].model);
}

static void
every_case_gives_its_counts_wherever_it_is_cut(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = strlen(cases[i].answer);

        for (size_t cut = 0; cut <= n; cut++) {
            struct usage_meter m;
            char how[32];

            usage_meter_init(&m, DIALECT_ANTHROPIC, cases[i].stream);
            usage_meter_feed(&m, cases[i].answer, cut);
            usage_meter_feed(&m, cases[i].answer + cut, n - cut);
            snprintf(how, sizeof(how), "cut at %zu", cut);
            check(i, &m, how);
        }
    }
}

static void
one_byte_at_a_time_gives_the_same(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct usage_meter m;

        usage_meter_init(&m, DIALECT_ANTHROPIC, cases[i].stream);
        for (size_t k = 0; k < strlen(cases[i].answer); k++)
            usage_meter_feed(&m, cases[i].answer + k, 1);
        check(i, &m, "byte by byte");
    }
}

static void
an_estimate_never_goes_below_what_the_vendor_counted(void **state)
{
    struct usage counts = {.input = 7, .output = 3};

    assert_int_equal(usage_estimate(&counts, 4000).output, 1000);
    assert_int_equal(usage_estimate(&counts, 4001).output, 1001);
    assert_int_equal(usage_estimate(&counts, 4).output, 3);
    assert_int_equal(usage_estimate(&counts, 4000).input, 7);
}

static void
deep_nesting_is_survived_and_the_next_event_counts(void **state)
{
    static char deep[4096];
    const char *rest = "\n\n" DELTA("{\"output_tokens\":5}");
    struct usage_meter m;

    memset(deep, '[', sizeof(deep));
    usage_meter_init(&m, DIALECT_ANTHROPIC, true);
    usage_meter_feed(&m, "data: {\"a\":", 11);
    usage_meter_feed(&m, deep, sizeof(deep));
    usage_meter_feed(&m, rest, strlen(rest));
    assert_int_equal(m.counts.output, 5);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_case_gives_its_counts_wherever_it_is_cut),
        TEST(one_byte_at_a_time_gives_the_same),
        TEST(an_estimate_never_goes_below_what_the_vendor_counted),
        TEST(deep_nesting_is_survived_and_the_next_event_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
