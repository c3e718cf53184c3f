#include "launch/order.h"

#include "launch/control.h"

#include <sodium.h>

#include "unit.h"

static const struct str argv[] = {STR_INIT("agent"), STR_INIT(""), STR_INIT("--x")};
static const struct launch_options options = {
    STR_INIT("/run/p"), STR_INIT("/var/p"), STR_INIT("/bin/p")};

static struct secret *
encode(void)
{
    struct secret *key = NULL, *order = NULL;
    struct error e;

    assert_int_equal(secret_new(STR("value=1"), &key, &e), ERR_OK);
    {
        const struct launch_env env[] = {{STR("PATH"), STR("/bin"), NULL},
            {STR("KEY"), STR_NONE, key}, {STR("E"), STR(""), NULL}};
        const struct launch_file files[] = {
            {.path = STR(".a/b"), .content = key, .stamp = {7}, .refreshed = true},
            {.path = STR("c"), .content = key}};
        const struct launch_spec spec = {
            .files = files,
            .files_n = 2,
            .workspace = {{1, 2, 3}},
            .start = {{4, 5, 6}},
            .argv = argv,
            .argv_n = 3,
            .env = env,
            .env_n = 3,
            .home = STR("/home/a"),
            .uid = 200001,
        };

        if (order_encode(&spec, &options, &order, &e) != ERR_OK)
            fail_msg("%s", e.text);
    }
    secret_free(key);
    return order;
}

static void
decodes_what_it_encodes(void **state)
{
    struct secret *bytes = encode();
    static struct order order;
    size_t n;

    assert_true(order_decode_header(secret_room(bytes), &n));
    assert_int_equal(n, secret_bytes(bytes) - ORDER_HEADER_BYTES);
    assert_true(order_decode(secret_room(bytes) + ORDER_HEADER_BYTES, n, &order));
    assert_int_equal(order.workspace.b[2], 3);
    assert_int_equal(order.start.b[0], 4);
    assert_int_equal(order.uid, 200001);
    assert_int_equal(order.gid, 200001);
    assert_string_equal(order.run_dir, "/run/p");
    assert_string_equal(order.state_dir, "/var/p");
    assert_string_equal(order.home, "/home/a");
    assert_string_equal(order.work_dir, "/home/a");
    assert_int_equal(order.argv_n, 3);
    assert_string_equal(order.argv[0], "agent");
    assert_string_equal(order.argv[1], "");
    assert_string_equal(order.argv[2], "--x");
    assert_null(order.argv[3]);
    assert_int_equal(order.env_n, 3);
    assert_string_equal(order.envp[0], "PATH=/bin");
    assert_string_equal(order.envp[1], "KEY=value=1");
    assert_string_equal(order.envp[2], "E=");
    assert_null(order.envp[3]);
    assert_false(order.env[0].secret);
    assert_true(order.env[1].secret);
    assert_str(order_env_name(&order, 1), "KEY");
    assert_str(order_env_value(&order, 1), "value=1");
    assert_int_equal(order.files_n, 2);
    assert_string_equal(order.files[0].path, ".a/b");
    assert_str(order.files[0].content, "value=1");
    assert_int_equal(order.files[0].stamp[0], 7);
    assert_true(order.files[0].refreshed);
    assert_string_equal(order.files[1].path, "c");
    assert_false(order.files[1].refreshed);
    secret_free(bytes);
}

static void
refuses_every_shorter_and_longer_body(void **state)
{
    struct secret *bytes = encode();
    size_t n = secret_bytes(bytes) - ORDER_HEADER_BYTES;
    char *body = calloc(1, n + 1);
    static struct order order;

    assert_non_null(body);
    memcpy(body, secret_room(bytes) + ORDER_HEADER_BYTES, n);
    assert_true(order_decode(body, n, &order));
    assert_false(order_decode(body, n + 1, &order));
    for (size_t cut = 0; cut < n; cut++)
        assert_false(order_decode(body, cut, &order));
    free(body);
    secret_free(bytes);
}

/* Whatever bytes come: no access outside, and what is accepted keeps the promises execve needs. */
static void
keeps_its_promises_for_any_bytes(void **state)
{
    struct secret *bytes = encode();
    size_t n = secret_bytes(bytes) - ORDER_HEADER_BYTES;
    char *body = malloc(n);
    static struct order order;

    assert_non_null(body);
    for (size_t at = 0; at < n; at++) {
        for (int value = 0; value < 256; value++) {
            memcpy(body, secret_room(bytes) + ORDER_HEADER_BYTES, n);
            body[at] = (char)value;
            if (!order_decode(body, n, &order))
                continue;
            assert_true(order.argv_n > 0 && order.argv[0][0] != '\0');
            assert_null(order.argv[order.argv_n]);
            assert_null(order.envp[order.env_n]);
            assert_int_equal(order.home[0], '/');
            assert_true(order.uid == 0 || order.gid != 0);
            assert_true(order.files_n <= HOMEFILES_MAX);
            for (size_t i = 0; i < order.files_n; i++) {
                assert_true(order.files[i].path[0] != '/' && order.files[i].path[0] != '\0');
                assert_null(strstr(order.files[i].path, ".."));
            }
            for (size_t i = 0; i < order.env_n; i++) {
                assert_true(order.env[i].name_n > 0);
                assert_int_equal(order.envp[i][order.env[i].name_n], '=');
                assert_int_equal(
                    strlen(order.envp[i]), order.env[i].name_n + 1 + order.env[i].value_n);
            }
        }
    }
    free(body);
    secret_free(bytes);
}

static void
refuses_headers_that_are_not_ours(void **state)
{
    size_t n;

    assert_true(order_decode_header("PRO1\0\0\0", &n));
    assert_false(order_decode_header("PRO2\0\0\0", &n));
    assert_false(order_decode_header("PRO1\xff\xff\xff\x7f", &n));
}

static void
answer_survives_the_wire(void **state)
{
    struct order_answer a = {.record = {.state = LAUNCH_EXITED, .pid = 77, .exit_code = 3}}, b;
    unsigned char bytes[ORDER_ANSWER_BYTES];

    a.error = (struct error){ERR_LAUNCH_FAILED, "no way"};
    order_answer_encode(&a, bytes);
    assert_true(order_answer_decode(bytes, &b));
    assert_int_equal(b.error.code, ERR_LAUNCH_FAILED);
    assert_string_equal(b.error.text, "no way");
    assert_int_equal(b.record.pid, 77);
    memset(bytes, 0xff, 4);
    assert_false(order_answer_decode(bytes, &b));
}

static void
record_survives_the_disk_and_shows_damage(void **state)
{
    const struct record r = {
        .state = LAUNCH_RUNNING,
        .reported = true,
        .workspace = {{1}},
        .start = {{2}},
        .boot = {{3}},
        .pid = 4,
        .pid_ticks = UINT64_MAX,
        .uid = 1199999,
        .exit_code = -1,
        .started_ms = INT64_MAX,
        .ended_ms = 8,
    };
    unsigned char bytes[RECORD_BYTES], again[RECORD_BYTES];
    struct record back;

    record_encode(&r, bytes);
    assert_true(record_decode(bytes, sizeof(bytes), &back));
    record_encode(&back, again);
    assert_memory_equal(bytes, again, sizeof(bytes));
    assert_int_equal(back.exit_code, -1);
    assert_true(back.pid_ticks == UINT64_MAX);
    assert_false(record_decode(bytes, sizeof(bytes) - 1, &back));
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 1;
        assert_false(record_decode(bytes, sizeof(bytes), &back));
        bytes[i] ^= 1;
    }
}

static void
control_takes_requests_only(void **state)
{
    const struct control_request stop = {CONTROL_STOP, 1500};
    unsigned char bytes[CONTROL_REQUEST_BYTES];
    struct control_request back;

    control_encode(&stop, bytes);
    assert_true(control_decode(bytes, sizeof(bytes), &back));
    assert_int_equal(back.command, CONTROL_STOP);
    assert_int_equal(back.argument, 1500);
    assert_false(control_decode(bytes, sizeof(bytes) - 1, &back));
    assert_false(control_decode(bytes, 0, &back));
    bytes[4] = 9;
    assert_false(control_decode(bytes, sizeof(bytes), &back));
    bytes[4] = CONTROL_STOP;
    bytes[15] = 0x80; /* a negative grace */
    assert_false(control_decode(bytes, sizeof(bytes), &back));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(decodes_what_it_encodes),
        TEST(refuses_every_shorter_and_longer_body),
        TEST(keeps_its_promises_for_any_bytes),
        TEST(refuses_headers_that_are_not_ours),
        TEST(answer_survives_the_wire),
        TEST(record_survives_the_disk_and_shows_damage),
        TEST(control_takes_requests_only),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
