#include "sim/head.h"

#include "unit.h"

static const char request[] = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nX-Api-Key:  "
                              "secret \r\ncontent-length: 5\r\n"
                              "Connection: keep-alive\r\nX-SIM: output=3\r\n\r\nhello";

static void
reads_what_a_request_says(void **state)
{
    struct sim_head h;

    assert_int_equal(sim_head_parse(STR(request), &h), SIM_HEAD_OK);
    assert_str(h.method, "POST");
    assert_str(h.target, "/v1/messages?beta=true");
    assert_str(h.path, "/v1/messages");
    assert_str(h.key, "secret");
    assert_str(h.wish, "output=3");
    assert_int_equal(h.content_length, 5);
    assert_true(h.anthropic);
    assert_false(h.close);
}

static void
waits_for_the_rest_of_a_head(void **state)
{
    struct sim_head h;
    size_t head = (size_t)(strstr(request, "\r\n\r\n") - request) + 4;

    for (size_t n = 0; n < head; n++)
        assert_int_equal(sim_head_parse((struct str){request, n}, &h), SIM_HEAD_MORE);
    assert_int_equal(sim_head_parse((struct str){request, head}, &h), SIM_HEAD_OK);
}

static void
refuses_what_is_not_http(void **state)
{
    static const char *const bad[] = {"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: 5x\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"};
    struct sim_head h;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (sim_head_parse(str_from_cstr(bad[i]), &h) != SIM_HEAD_BAD)
            fail_msg("taken: %s", bad[i]);
    }
}

static void
joins_chunks_however_they_arrive(void **state)
{
    static const char chunked[] =
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n "
        "\r\nA\r\n0123456789\r\n0\r\n\r\nNEXT";
    size_t total = sizeof(chunked) - 1;

    /* All bytes up to `cut` first, then one more at a time. */
    for (size_t cut = 1; cut < total; cut++) {
        char p[sizeof(chunked)];
        struct sim_body body = {0};
        enum sim_head_result r = SIM_HEAD_MORE;
        struct sim_head h;

        memcpy(p, chunked, sizeof(p));
        for (size_t n = cut; r == SIM_HEAD_MORE && n <= total; n++) {
            r = sim_head_parse((struct str){p, n}, &h);
            if (r == SIM_HEAD_OK)
                r = sim_body_take(&body, &h, p, n);
        }
        assert_int_equal(r, SIM_HEAD_OK);
        assert_str(((struct str){p + body.from, body.bytes}), "hello 0123456789");
        assert_str(((struct str){p + body.at, 4}), "NEXT");
    }
}

static void
refuses_chunks_that_are_none(void **state)
{
    static const char *const bad[] = {"x\r\nhello\r\n", "FFFFFFFFFFFFFFFFFF\r\n", "8000000\r\nx"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char p[256];
        struct sim_body body = {0};
        struct sim_head h;
        int n = snprintf(
            p, sizeof(p), "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n%s", bad[i]);

        assert_int_equal(sim_head_parse((struct str){p, (size_t)n}, &h), SIM_HEAD_OK);
        assert_int_equal(sim_body_take(&body, &h, p, (size_t)n), SIM_HEAD_BAD);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_what_a_request_says),
        TEST(waits_for_the_rest_of_a_head),
        TEST(refuses_what_is_not_http),
        TEST(joins_chunks_however_they_arrive),
        TEST(refuses_chunks_that_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
