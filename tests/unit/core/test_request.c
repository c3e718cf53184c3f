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
    {"a limit that this dialect does not know counts for nothing",
        "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":9,\"max_output_tokens\":7}",
        REQUEST_OK, "m", false, 5},
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

/* What only one dialect has, and what the prompt holds besides its bytes. */
static const struct {
    const char *name;
    enum dialect dialect;
    const char *body;
    enum request_problem problem;
    int64_t max_output; /* -1: none */
    int64_t choices;
    bool by_reference;
    uint32_t images, tools, vendor_tools;
} more_cases[] = {
    {"the larger of chat's two limits", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"max_tokens\":5,\"max_completion_tokens\":9,\"max_output_tokens\":70}",
        REQUEST_OK, 9, 1},
    {"the limit of responses", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"max_tokens\":5,\"max_output_tokens\":7}", REQUEST_OK, 7, 1},
    {"choices multiply", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"n\":3}", REQUEST_OK, -1, 3},
    {"choices null", DIALECT_OPENAI_CHAT, "{\"n\":null,\"model\":\"m\"}", REQUEST_OK, -1, 1},
    {"only chat has choices", DIALECT_OPENAI_RESPONSES, "{\"model\":\"m\",\"n\":3}", REQUEST_OK, -1,
        1},
    {"no choices", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"n\":0}", REQUEST_CHOICES_OUT_OF_RANGE},
    {"half a choice", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"n\":1.5}",
        REQUEST_CHOICES_OUT_OF_RANGE},
    {"too many choices", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"n\":129}",
        REQUEST_CHOICES_OUT_OF_RANGE},
    {"choices twice", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"n\":1,\"n\":9}", REQUEST_KEY_TWICE},
    {"the Kelvin sign folds to k", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"max_tokens\":1,\"max_to\xe2\x84\xaa"
        "ens\":9}",
        REQUEST_KEY_VARIANT},
    {"the long s folds to s", DIALECT_ANTHROPIC, "{\"model\":\"m\",\"\xc5\xbftream\":true}",
        REQUEST_KEY_VARIANT},
    {"long s in a tier", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"\xc5\xbf"
        "ervice_tier\":\"priority\"}",
        REQUEST_KEY_VARIANT},
    {"other letters beyond ASCII are other keys", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"str\xc3\xa9"
        "am\":1}",
        REQUEST_OK, -1, 1},

    {"functions are the agent's own", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"parameters\":"
        "{\"type\":\"object\",\"properties\":{\"url\":{\"type\":\"string\"}}}}}]}",
        REQUEST_OK, -1, 1, false, 0, 1, 0},
    {"custom tools without a type", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"name\":\"a\",\"input_schema\":{\"type\":\"object\"}},"
        "{\"type\":\"custom\",\"name\":\"b\"}]}",
        REQUEST_OK, -1, 1, false, 0, 2, 0},
    {"tools that the vendor describes and the agent runs", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"bash_20250124\",\"name\":\"bash\"},"
        "{\"type\":\"computer_20251124\",\"name\":\"computer\"}]}",
        REQUEST_OK, -1, 1, false, 0, 2, 2},
    {"the vendor's web search without a limit", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"the vendor's web search", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"max_uses\":8,\"type\":\"web_search_20250305\"}]}",
        REQUEST_OK, -1, 1, false, 0, 1, 1},
    {"no search at all", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"max_uses\":0,\"type\":\"web_search_20250305\"}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"fewer than no searches", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"max_uses\":-55,\"type\":\"web_search_20250305\"}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"half a search", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"max_uses\":2.5,\"type\":\"web_search_20250305\"}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"more searches than anybody needs", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"max_uses\":101,\"type\":\"web_search_20250305\"}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"two limits of one search", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\",\"max_uses\":null,\"max_"
        "uses\":5}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"a limit in another case", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\",\"Max_Uses\":5}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"a limit with an escape", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\",\"max\\u005fuses\":5}]}",
        REQUEST_TOOL_UNPRICED},
    {"a limit that belongs to the place, not to the search", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"web_search_20250305\",\"user_location\":{\"max_"
        "uses\":5}}]}",
        REQUEST_SEARCHES_UNLIMITED},
    {"the vendor's code execution", DIALECT_ANTHROPIC,
        "{\"tools\":[{\"name\":\"c\",\"type\":\"code_execution_20250825\"}],\"model\":\"m\"}",
        REQUEST_TOOL_UNPRICED},
    {"web search in responses", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"},{\"type\":\"web_"
        "search\"}]}",
        REQUEST_TOOL_UNPRICED},
    {"a tool nobody knows", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"builtin_function\"}]}", REQUEST_TOOL_UNPRICED},
    {"a type said twice", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"function\",\"a\":{\"b\":{}},\"type\":\"web_"
        "search\"}]}",
        REQUEST_TOOL_UNPRICED},
    {"a type in another case", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"Type\":\"web_search\"}]}", REQUEST_TOOL_UNPRICED},
    {"a tool's type with a space behind it", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type \":\"web_search\"}]}", REQUEST_TOOL_UNPRICED},
    {"a tool's type with a space before it", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\" type\":\"web_search\"}]}", REQUEST_TOOL_UNPRICED},
    {"a type key with an escape", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"t\\u0079pe\":\"web_search\"}]}", REQUEST_TOOL_UNPRICED},
    {"a type with an escape", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"func\\u0074ion\"}]}", REQUEST_TOOL_UNPRICED},
    {"a type that is no text", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":[\"web_search\"]}]}", REQUEST_TOOL_UNPRICED},
    {"tools in a namespace", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"namespace\",\"tools\":[{\"type\":\"function\"}]}]"
        "}",
        REQUEST_OK, -1, 1, false, 0, 1, 1},
    {"a vendor's tool in a namespace", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"tools\":[{\"type\":\"namespace\",\"tools\":[{\"type\":\"web_search\"}]}"
        "]}",
        REQUEST_TOOL_UNPRICED},
    {"tools that are no list", DIALECT_OPENAI_RESPONSES, "{\"model\":\"m\",\"tools\":{\"a\":1}}",
        REQUEST_TOOL_UNPRICED},
    {"no tools", DIALECT_OPENAI_RESPONSES, "{\"model\":\"m\",\"tools\":[]}", REQUEST_OK, -1, 1},
    {"searching by a parameter", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"web_search_options\":{}}",
        REQUEST_UNPRICED},
    {"servers that the vendor asks", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"mcp_servers\":[{\"url\":\"https://x\"}]}", REQUEST_UNPRICED},
    {"no servers", DIALECT_ANTHROPIC, "{\"model\":\"m\",\"mcp_servers\":[]}", REQUEST_OK, -1, 1},
    {"an answer to be fetched later", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"background\":true}", REQUEST_UNPRICED},
    {"not in the background", DIALECT_OPENAI_RESPONSES, "{\"model\":\"m\",\"background\":false}",
        REQUEST_OK, -1, 1},
    {"another model when this one fails", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"models\":[\"dear\"]}", REQUEST_UNPRICED},
    {"spoken answers", DIALECT_OPENAI_CHAT, "{\"model\":\"m\",\"audio\":{\"voice\":\"x\"}}",
        REQUEST_UNPRICED},

    {"an image inline", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":"
        "\"base64\","
        "\"media_type\":\"image/png\",\"data\":\"AAAA\"}}]}]}",
        REQUEST_OK, -1, 1, false, 1, 0, 0},
    {"an image by URL", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"type\":\"image\",\"source\":{\"type\":"
        "\"url\","
        "\"url\":\"https://x/y.png\"}}]}]}",
        REQUEST_OK, -1, 1, true},
    {"a document inline", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"source\":{\"media_type\":\"application/"
        "pdf\"}}]}]}",
        REQUEST_OK, -1, 1, true},
    {"plain text inline", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"source\":{\"media_type\":\"text/"
        "plain\"}}]}]}",
        REQUEST_OK, -1, 1, false},
    {"a file by id", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"source\":{\"file_id\":\"file_1\"}}]}]}",
        REQUEST_OK, -1, 1, true},
    {"chat's images", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"image_url\":{\"url\":\"data:image/"
        "png;base64,AA\"}},"
        "{\"image_url\":{\"url\":\"data:image/png;base64,AA\"}}]}]}",
        REQUEST_OK, -1, 1, false, 2},
    {"chat's image by URL", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"image_url\":{\"Url\":\"http://x\"}}]}]}",
        REQUEST_OK, -1, 1, true},
    {"responses' image by URL", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"input\":[{\"role\":\"user\",\"content\":[{\"image_url\":\"http://"
        "x\"}]}]}",
        REQUEST_OK, -1, 1, true},
    {"a kept response", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"input\":\"hi\",\"previous_response_id\":\"resp_1\"}", REQUEST_OK, -1, 1,
        true},
    {"no kept response", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"input\":\"hi\",\"previous_response_id\":null}", REQUEST_OK, -1, 1,
        false},
    {"an item by reference", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"input\":[{\"type\":\"item_reference\",\"id\":\"msg_1\"}]}", REQUEST_OK,
        -1, 1, true},
    {"an item by nothing but its id", DIALECT_OPENAI_RESPONSES,
        "{\"model\":\"m\",\"input\":[{\"id\":\"msg_1\"}]}", REQUEST_OK, -1, 1, true},
    {"an escaped key may be any", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":[{\"source\":{\"\\u0075rl\":\"http://"
        "x\"}}]}]}",
        REQUEST_OK, -1, 1, true},
    {"URLs in text are text", DIALECT_ANTHROPIC,
        "{\"model\":\"m\",\"messages\":[{\"content\":\"see https://x "
        "\\\"url\\\":\\\"http://y\\\"\"}]}",
        REQUEST_OK, -1, 1, false},
    {"stream options that are no object", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"stream_options\":true}", REQUEST_STREAM_OPTIONS},
    {"include_usage twice", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"stream_options\":{\"include_usage\":false,\"include_usage\":true}}",
        REQUEST_STREAM_OPTIONS},
    {"include_usage in another case", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"stream_options\":{\"Include_usage\":true}}", REQUEST_STREAM_OPTIONS},
    {"include_usage that is no boolean", DIALECT_OPENAI_CHAT,
        "{\"model\":\"m\",\"stream_options\":{\"include_usage\":\"true\"}}",
        REQUEST_STREAM_OPTIONS},
};

/* Where the usage of a stream is asked for, so that the body says what it must. */
static const struct {
    const char *body, *spliced; /* NULL: nothing to do */
} splices[] = {
    {"{\"model\":\"m\",\"stream\":true}",
        "{\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"stream\":true}"},
    {" {\"stream\":true,\"stream_options\":null,\"model\":\"m\"}",
        " {\"stream\":true,\"stream_options\":{\"include_usage\":true},\"model\":\"m\"}"},
    {"{\"stream_options\":{ },\"model\":\"m\",\"stream\":true}",
        "{\"stream_options\":{\"include_usage\":true },\"model\":\"m\",\"stream\":true}"},
    {"{\"stream_options\":{\"a\":{\"include_usage\":true}},\"model\":\"m\",\"stream\":true}",
        "{\"stream_options\":{\"include_usage\":true,\"a\":{\"include_usage\":true}},\"model\":"
        "\"m\","
        "\"stream\":true}"},
    {"{\"stream_options\":{\"a\":1,\"include_usage\" : false},\"model\":\"m\",\"stream\":true}",
        "{\"stream_options\":{\"a\":1,\"include_usage\" : true},\"model\":\"m\",\"stream\":true}"},
    {"{\"stream_options\":{\"include_usage\":null,\"b\":[]},\"model\":\"m\",\"stream\":true}",
        "{\"stream_options\":{\"include_usage\":true,\"b\":[]},\"model\":\"m\",\"stream\":true}"},
    {"{\"stream_options\":{\"include_usage\":true},\"model\":\"m\",\"stream\":true}", NULL},
    {"{\"model\":\"m\",\"stream\":false}", NULL},
};

static void
usage_is_asked_for_where_it_is_not(void **state)
{
    for (size_t i = 0; i < sizeof(splices) / sizeof(splices[0]); i++) {
        const char *body = splices[i].body;
        struct request_scan s;
        size_t off, cut;
        struct str text;
        char made[256];

        request_scan_init(&s, DIALECT_OPENAI_CHAT);
        for (size_t k = 0; k < strlen(body); k++)
            request_scan_feed(&s, body + k, 1);
        assert_int_equal(request_scan_finish(&s), REQUEST_OK);
        assert_int_equal(request_usage_splice(&s, &off, &cut, &text), splices[i].spliced != NULL);
        if (splices[i].spliced == NULL)
            continue;
        snprintf(made, sizeof(made), "%.*s%.*s%s", (int)off, body, STR_ARG(text), body + off + cut);
        assert_string_equal(made, splices[i].spliced);
        request_scan_init(&s, DIALECT_OPENAI_RESPONSES);
        request_scan_feed(&s, body, strlen(body));
        assert_false(request_usage_splice(&s, &off, &cut, &text));
    }
}

static void
each_dialect_is_read_as_it_is_wherever_it_is_cut(void **state)
{
    for (size_t i = 0; i < sizeof(more_cases) / sizeof(more_cases[0]); i++) {
        const char *body = more_cases[i].body;

        for (size_t cut = 0; cut <= strlen(body); cut++) {
            struct request_scan s;

            request_scan_init(&s, more_cases[i].dialect);
            request_scan_feed(&s, body, cut);
            request_scan_feed(&s, body + cut, strlen(body) - cut);
            if (request_scan_finish(&s) != more_cases[i].problem)
                fail_msg("%s (cut at %zu): got \"%s\"", more_cases[i].name, cut,
                    request_problem_text(s.problem).p);
            if (s.problem != REQUEST_OK)
                continue;
            if (s.by_reference != more_cases[i].by_reference || s.images != more_cases[i].images ||
                s.tools != more_cases[i].tools || s.vendor_tools != more_cases[i].vendor_tools ||
                s.choices != more_cases[i].choices ||
                (s.has_max_output ? s.max_output : -1) != more_cases[i].max_output)
                fail_msg(
                    "%s (cut at %zu): reference %d images %u tools %u/%u choices %lld max %lld",
                    more_cases[i].name, cut, s.by_reference, s.images, s.tools, s.vendor_tools,
                    (long long)s.choices, (long long)s.max_output);
        }
    }
}

static struct request_scan
scan_in_pieces(const char *body, size_t cut)
{
    struct request_scan s;
    size_t n = strlen(body);

    request_scan_init(&s, DIALECT_ANTHROPIC);
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

        request_scan_init(&s, DIALECT_ANTHROPIC);
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
        request_scan_init(&s, DIALECT_ANTHROPIC);
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
        request_scan_init(&s, DIALECT_ANTHROPIC);
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
        TEST(each_dialect_is_read_as_it_is_wherever_it_is_cut),
        TEST(usage_is_asked_for_where_it_is_not),
        TEST(depth_is_bounded),
        TEST(a_model_of_255_bytes_is_the_longest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
