#include "sim/scan.h"

#include "unit.h"

static void
unescapes_what_json_escapes(void **state)
{
    static const struct {
        const char *raw, *plain;
    } cases[] = {
        {"plain", "plain"},
        {"a\\nb\\tc\\r\\b\\f", "a\nb\tc\r\b\f"},
        {"\\\"\\\\\\/", "\"\\/"},
        {"mod\\u0065l", "model"},
        {"\\u00fc\\u20ac", "\xc3\xbc\xe2\x82\xac"},
        {"\\ud83c\\udf4d!", "\xf0\x9f\x8d\x8d!"},
        {"cut\\u00", "cut"},
        {"end\\", "end"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_BUF struct buf b;

        buf_init(&b, 100);
        sim_scan_unescape(&b, str_from_cstr(cases[i].raw));
        assert_str(buf_str(&b), cases[i].plain);
    }
}

static void
walks_members_and_skips_what_is_inside(void **state)
{
    struct str text =
        STR("{\"a\": {\"b\": [1, \"}\"]}, \"c\":\"x\\\"y\" , \"d\":[ ],\"e\":-1.5e3,\"f\":true}");
    static const char *const keys[] = {"a", "c", "d", "e", "f"};
    static const char *const values[] = {"{\"b\": [1, \"}\"]}", "x\\\"y", "[ ]", "-1.5e3", "true"};
    struct sim_scan s;
    struct str key;
    bool first = true;
    size_t n = 0;

    sim_scan_init(&s, text);
    assert_true(sim_scan_enter(&s, '{'));
    while (sim_scan_member(&s, &first, &key)) {
        assert_in_range(n, 0, 4);
        assert_str(key, keys[n]);
        assert_str(sim_scan_value(&s), values[n]);
        n++;
    }
    assert_int_equal(n, 5);
    assert_true(sim_scan_at_end(&s));
}

/* Walks one level; true when the text is what it should be. */
static bool
walks(const char *text)
{
    struct sim_scan s;
    struct str key;
    bool first = true;

    sim_scan_init(&s, str_from_cstr(text));
    sim_scan_enter(&s, '{');
    while (sim_scan_member(&s, &first, &key))
        sim_scan_value(&s);
    return sim_scan_at_end(&s);
}

static void
sees_what_is_no_json(void **state)
{
    static const char *const bad[] = {"", "hello", "[1]", "{", "{\"a\"", "{\"a\":", "{\"a\":1",
        "{\"a\":1,}", "{\"a\":1 \"b\":2}", "{\"a\":\"x}", "{\"a\":[1}", "{\"a\":nope}", "{} {}",
        "{a:1}", "{\"a\":\"\\"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (walks(bad[i]))
            fail_msg("\"%s\" was taken for JSON", bad[i]);
    }
    assert_true(walks("{}"));
    assert_true(walks(" {\"a\" : null } \n"));
}

static void
every_cut_of_good_json_is_bad(void **state)
{
    static const char good[] = "{\"a\":[1,{\"b\":\"\\u00e4\"}],\"c\":\"x\",\"d\":false}";
    char cut[sizeof(good)];

    assert_true(walks(good));
    for (size_t n = 0; n < sizeof(good) - 1; n++) {
        memcpy(cut, good, n);
        cut[n] = '\0';
        assert_false(walks(cut));
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(unescapes_what_json_escapes),
        TEST(walks_members_and_skips_what_is_inside),
        TEST(sees_what_is_no_json),
        TEST(every_cut_of_good_json_is_bad),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
