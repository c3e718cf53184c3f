#include "unit.h"

#include "core/request.h"

static const struct {
    const char *name;
    const char *body;
    enum request_problem problem;
    const char *model;
    bool stream;
    int64_t max_output; /* -1: none */
} cases[] = {
    {"plain", "{\"model\":\"a/b\",\"max_tokens\":64,\"stream\":true}", REQUEST_OK, "a/b", true, 64},
    {"white space everywhere", " {\n\t\"model\" : \"a/b\" , \"stream\" : false }\r\n ", REQUEST_OK,
        "a/b", false, -1},
    {"model last", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"model\":\"m\"}",
        REQUEST_OK, "m", false, -1},
    {"model below the top is text",
        "{\"metadata\":{\"model\":\"x\"},\"l\":[{\"model\":\"y\"}],\"model\":\"z\"}", REQUEST_OK,
        "z", false, -1},
    {"decoys in strings", "{\"t\":\"\\\"model\\\":\\\"x\\\"\",\"model\":\"z\"}", REQUEST_OK, "z",
        false, -1},
    {"escapes in values are fine", "{\"t\":\"\\u0041\\n\\\\\\/\",\"model\":\"z\"}", REQUEST_OK, "z",
        false, -1},
    {"escapes in keys below are fine", "{\"o\":{\"\\u006dodel\":1},\"model\":\"z\"}", REQUEST_OK,
        "z", false, -1},
    {"the largest limit counts",
        "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":9,\"max_output_tokens\":7}",
        REQUEST_OK, "m", false, 9},
    {"limit null", "{\"model\":\"m\",\"max_tokens\":null}", REQUEST_OK, "m", false, -1},
    {"numbers of all shapes", "{\"a\":-0.5e+10,\"b\":0,\"c\":[1,2.25,-3E-2],\"model\":\"m\"}",
        REQUEST_OK, "m", false, -1},
    {"empty containers", "{\"a\":{},\"b\":[],\"c\":[[],{}],\"model\":\"m\"}", REQUEST_OK, "m",
        false, -1},
    {"a huge limit saturates", "{\"model\":\"m\",\"max_tokens\":999999999999999999999999}",
        REQUEST_OK, "m", false, 999999999999999},

    {"empty", "", REQUEST_NOT_JSON, NULL, false, -1},
    {"text", "hello", REQUEST_NOT_JSON, NULL, false, -1},
    {"array", "[]", REQUEST_NOT_JSON, NULL, false, -1},
    {"cut", "{\"model\":\"m\"", REQUEST_NOT_JSON, NULL, false, -1},
    {"two documents", "{\"model\":\"m\"}{}", REQUEST_NOT_JSON, NULL, false, -1},
    {"trailing comma", "{\"model\":\"m\",}", REQUEST_NOT_JSON, NULL, false, -1},
    {"missing comma", "{\"model\":\"m\" \"a\":1}", REQUEST_NOT_JSON, NULL, false, -1},
    {"missing colon", "{\"model\" \"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"wrong closer", "{\"a\":[1},\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"bare word", "{\"a\":nul,\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"NaN", "{\"a\":NaN,\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"leading zero", "{\"a\":01,\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"point without digits", "{\"a\":1.,\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"bad escape", "{\"a\":\"\\x\",\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"bad hex", "{\"a\":\"\\u00g0\",\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},
    {"raw newline in a string", "{\"a\":\"\n\",\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false,
        -1},
    {"byte order mark", "\xef\xbb\xbf{\"model\":\"m\"}", REQUEST_NOT_JSON, NULL, false, -1},

    {"model missing", "{\"messages\":[]}", REQUEST_MODEL_MISSING, NULL, false, -1},
    {"model twice", "{\"model\":\"cheap\",\"model\":\"dear\"}", REQUEST_KEY_TWICE, NULL, false, -1},
    {"stream twice", "{\"model\":\"m\",\"stream\":true,\"stream\":false}", REQUEST_KEY_TWICE, NULL,
        false, -1},
    {"limit twice", "{\"model\":\"m\",\"max_tokens\":1,\"max_tokens\":9}", REQUEST_KEY_TWICE, NULL,
        false, -1},
    {"model key with an escape", "{\"model\":\"cheap\",\"m\\u006fdel\":\"dear\"}",
        REQUEST_KEY_VARIANT, NULL, false, -1},
    {"any top-level key with an escape", "{\"model\":\"m\",\"a\\u0062\":1}", REQUEST_KEY_VARIANT,
        NULL, false, -1},
    {"model key in another case", "{\"model\":\"cheap\",\"Model\":\"dear\"}", REQUEST_KEY_VARIANT,
        NULL, false, -1},
    {"model key with a space", "{\"model\":\"cheap\",\"model \":\"dear\"}", REQUEST_KEY_VARIANT,
        NULL, false, -1},
    {"model with an escape", "{\"model\":\"a\\u002fb\"}", REQUEST_MODEL_ESCAPED, NULL, false, -1},
    {"model is a number", "{\"model\":7}", REQUEST_MODEL_NOT_TEXT, NULL, false, -1},
    {"model is null", "{\"model\":null}", REQUEST_MODEL_NOT_TEXT, NULL, false, -1},
    {"model is empty", "{\"model\":\"\"}", REQUEST_MODEL_NOT_TEXT, NULL, false, -1},
    {"stream is a string", "{\"model\":\"m\",\"stream\":\"true\"}", REQUEST_STREAM_NOT_BOOLEAN,
        NULL, false, -1},
    {"limit is negative", "{\"model\":\"m\",\"max_tokens\":-1}", REQUEST_LIMIT_NOT_A_NUMBER, NULL,
        false, -1},
    {"limit is broken", "{\"model\":\"m\",\"max_tokens\":1.5}", REQUEST_LIMIT_NOT_A_NUMBER, NULL,
        false, -1},
    {"limit is text", "{\"model\":\"m\",\"max_tokens\":\"5\"}", REQUEST_LIMIT_NOT_A_NUMBER, NULL,
        false, -1},
    {"standard service by name",
        "{\"model\":\"m\",\"speed\":\"standard\",\"service_tier\":\"auto\",\"inference_geo\":null}",
        REQUEST_OK, "m", false, -1},
    {"the fast lane", "{\"speed\":\"fast\",\"model\":\"m\"}", REQUEST_PRICE_CHANGED, NULL, false,
        -1},
    {"a priority tier", "{\"model\":\"m\",\"service_tier\":\"priority\"}", REQUEST_PRICE_CHANGED,
        NULL, false, -1},
    {"a tier with an escape", "{\"model\":\"m\",\"service_tier\":\"aut\\u006f\"}",
        REQUEST_PRICE_CHANGED, NULL, false, -1},
    {"a tier that only begins well",
        "{\"model\":\"m\",\"service_tier\":\"auto_priority_and_much_more\"}", REQUEST_PRICE_CHANGED,
        NULL, false, -1},
    {"a place that costs more", "{\"model\":\"m\",\"inference_geo\":\"us\"}", REQUEST_PRICE_CHANGED,
        NULL, false, -1},
    {"a tier that is no text", "{\"model\":\"m\",\"speed\":{\"a\":1}}", REQUEST_PRICE_CHANGED, NULL,
        false, -1},
    {"a tier below the top is text", "{\"model\":\"m\",\"metadata\":{\"speed\":\"fast\"}}",
        REQUEST_OK, "m", false, -1},
};

static struct request_scan
scan_in_pieces(const char *body, size_t cut)
{
    struct request_scan s;
    size_t n = strlen(body);

    request_scan_init(&s);
    request_scan_feed(&s, body, cut);
    request_scan_feed(&s, body + cut, n - cut);
    request_scan_finish(&s);
    return s;
}

static void
every_case_gives_its_result_wherever_it_is_cut(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t cut = 0; cut <= strlen(cases[i].body); cut++) {
            struct request_scan s = scan_in_pieces(cases[i].body, cut);

            if (s.problem != cases[i].problem)
                fail_msg("%s (cut at %zu): got \"%s\"", cases[i].name, cut,
                    request_problem_text(s.problem).p);
            if (s.problem != REQUEST_OK)
                continue;
            assert_str(((struct str){s.model, s.model_n}), cases[i].model);
            assert_memory_equal(cases[i].body + s.model_off, s.model, s.model_n);
            assert_int_equal(s.stream, cases[i].stream);
            assert_int_equal(s.has_max_output, cases[i].max_output >= 0);
            if (s.has_max_output)
                assert_int_equal(s.max_output, cases[i].max_output);
        }
    }
}

static void
one_byte_at_a_time_gives_the_same(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct request_scan s;

        request_scan_init(&s);
        for (size_t k = 0; k < strlen(cases[i].body); k++)
            request_scan_feed(&s, cases[i].body + k, 1);
        assert_int_equal(request_scan_finish(&s), cases[i].problem);
    }
}

static void
depth_is_bounded(void **state)
{
    char body[REQUEST_DEPTH_MAX * 2 + 64];

    for (int depth = REQUEST_DEPTH_MAX - 4; depth < REQUEST_DEPTH_MAX + 4; depth++) {
        struct request_scan s;
        int n = snprintf(body, sizeof(body), "{\"model\":\"m\",\"a\":");

        memset(body + n, '[', (size_t)depth);
        memset(body + n + depth, ']', (size_t)depth);
        body[n + 2 * depth] = '}';
        request_scan_init(&s);
        request_scan_feed(&s, body, (size_t)(n + 2 * depth + 1));
        assert_int_equal(
            request_scan_finish(&s), depth + 1 < REQUEST_DEPTH_MAX ? REQUEST_OK : REQUEST_TOO_DEEP);
    }
}

static void
a_model_of_255_bytes_is_the_longest(void **state)
{
    for (size_t n = REQUEST_MODEL_MAX - 1; n <= REQUEST_MODEL_MAX + 1; n++) {
        char body[REQUEST_MODEL_MAX + 32];
        struct request_scan s;
        int head = snprintf(body, sizeof(body), "{\"model\":\"");

        memset(body + head, 'x', n);
        memcpy(body + head + n, "\"}", 2);
        request_scan_init(&s);
        request_scan_feed(&s, body, (size_t)head + n + 2);
        assert_int_equal(
            request_scan_finish(&s), n <= REQUEST_MODEL_MAX ? REQUEST_OK : REQUEST_MODEL_TOO_LONG);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_case_gives_its_result_wherever_it_is_cut),
        TEST(one_byte_at_a_time_gives_the_same),
        TEST(depth_is_bounded),
        TEST(a_model_of_255_bytes_is_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
