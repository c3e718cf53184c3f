#include "sim/sim.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "unit.h"

/* A server with one good key, and a client's connection to it. */
struct stage {
    struct sim *sim;
    int fd;
    struct buf got;
};

/* receive_bytes: how much the kernel takes for us while we do not read; 0: its own idea. */
static int
dial_with(const struct sim *s, int receive_bytes)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    a.sin_port = htons((uint16_t)strtol(strrchr(sim_url(s), ':') + 1, NULL, 10));
    if (receive_bytes > 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof(receive_bytes));
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    return fd;
}

static int
dial(const struct sim *s)
{
    return dial_with(s, 0);
}

static int
set_up(void **state)
{
    static const struct sim_key key = {"a-key-of-the-test", "test"};
    struct stage *t = calloc(1, sizeof(*t));
    struct error e;

    assert_non_null(t);
    assert_int_equal(
        sim_start(&(struct sim_options){.keys = &key, .keys_n = 1}, &t->sim, &e), ERR_OK);
    t->fd = dial(t->sim);
    buf_init(&t->got, 1 << 24);
    *state = t;
    return 0;
}

static int
tear_down(void **state)
{
    struct stage *t = *state;

    if (t->fd >= 0)
        close(t->fd);
    sim_stop(t->sim);
    buf_done(&t->got);
    free(t);
    return 0;
}

static void
say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Reads until the text has come n times, or the peer hangs up: then false. */
static bool
hear(struct stage *t, const char *text, int n)
{
    for (;;) {
        const char *p = buf_cstr(&t->got);
        int seen = 0;
        char *room;
        ssize_t got;

        while ((p = strstr(p, text)) != NULL) {
            seen++;
            p += strlen(text);
        }
        if (seen >= n)
            return true;
        room = buf_reserve(&t->got, 4096);
        assert_non_null(room);
        got = recv(t->fd, room, 4096, 0);
        if (got <= 0)
            return false;
        buf_grown(&t->got, (size_t)got);
    }
}

/* The stats as text, asked for on a connection of their own. */
static bool
stats_say(struct stage *t, const char *text)
{
    struct stage other = {.sim = t->sim, .fd = dial(t->sim)};
    bool found;

    buf_init(&other.got, 1 << 24);
    say(other.fd, "GET /__sim/stats HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert_false(hear(&other, "no such text: read to the end", 1));
    found = strstr(buf_cstr(&other.got), text) != NULL;
    buf_done(&other.got);
    close(other.fd);
    return found;
}

#define CALL(wish, body_bytes, body)                                                               \
    "POST /v1/messages HTTP/1.1\r\nx-api-key: a-key-of-the-test\r\nx-sim: " wish                   \
    "\r\ncontent-length: " body_bytes "\r\n\r\n" body
#define BODY "{\"model\":\"m\"}"
#define STREAM "{\"model\":\"m\",\"stream\":true}"

static void
answers_requests_that_come_in_one_piece_in_order(void **state)
{
    struct stage *t = *state;

    say(t->fd,
        CALL("text=one", "13", BODY) CALL("text=two first_delay_ms=20", "13", BODY)
            CALL("text=three", "13", BODY));
    assert_true(hear(t, "\"text\":\"three\"", 1));
    assert_true(strstr(buf_cstr(&t->got), "one") < strstr(buf_cstr(&t->got), "two"));
    assert_true(strstr(buf_cstr(&t->got), "two") < strstr(buf_cstr(&t->got), "three"));
}

static void
answers_a_request_that_comes_byte_by_byte(void **state)
{
    static const char request[] = CALL("text=drop", "13", BODY) CALL("text=drip", "13", BODY);
    struct stage *t = *state;

    for (const char *p = request; *p != '\0'; p++)
        assert_int_equal(write(t->fd, p, 1), 1);
    assert_true(hear(t, "\"text\":\"drip\"", 1));
}

static void
a_stream_is_counted_when_its_last_byte_is_out(void **state)
{
    struct stage *t = *state;

    say(t->fd, CALL("input=77 output=9 events=3", "27", STREAM));
    assert_true(hear(t, "message_stop\"}\n\n\r\n0\r\n\r\n", 1));
    assert_true(hear(t, "content_block_delta\ndata", 3));
    assert_true(stats_say(t, "\"completed\":1,"));
    assert_true(stats_say(t, "\"input\":77,\"output\":9,"));
}

/* A peer that reads nothing of a long answer: what stands in no socket is not delivered. */
static void
what_the_socket_does_not_take_is_not_delivered(void **state)
{
    struct stage *t = *state;

    close(t->fd);
    t->fd = dial_with(t->sim, 4096);
    say(t->fd, CALL("input=77 output=90000 words=90000 events=90000", "27", STREAM));
    assert_true(hear(t, "message_start", 2));
    assert_true(stats_say(t, "\"outcome\":\"open\""));
    close(t->fd);
    t->fd = -1;
    for (int tries = 0; !stats_say(t, "\"aborted_by_client\":1,"); tries++)
        assert_in_range(tries, 0, 10000);
    assert_true(stats_say(t, "\"input\":77,\"output\":1,"));
    assert_true(stats_say(t, "\"usage_delivered\":false"));
}

static void
hangs_up_on_what_is_not_http(void **state)
{
    struct stage *t = *state;

    say(t->fd, "hello\r\n\r\n");
    assert_false(hear(t, "anything", 1));
}

static void
a_taken_port_and_a_bad_address_are_told(void **state)
{
    struct stage *t = *state;
    struct sim *other = NULL;
    struct error e;

    assert_int_equal(sim_start(&(struct sim_options){.listen = sim_url(t->sim) + 7}, &other, &e),
        ERR_PORT_IN_USE);
    assert_int_equal(sim_start(&(struct sim_options){.listen = "nonsense"}, &other, &e), ERR_USAGE);
    assert_int_equal(
        sim_start(&(struct sim_options){.listen = "127.0.0.1:99999"}, &other, &e), ERR_USAGE);
    assert_null(other);
}

static void
stops_with_calls_open(void **state)
{
    struct stage *t = *state;

    say(t->fd, CALL("stall_after=1", "27", STREAM));
    assert_true(hear(t, "content_block_delta\ndata", 1));
    assert_true(stats_say(t, "\"outcome\":\"open\""));
}

#define STAGED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        STAGED(answers_requests_that_come_in_one_piece_in_order),
        STAGED(answers_a_request_that_comes_byte_by_byte),
        STAGED(a_stream_is_counted_when_its_last_byte_is_out),
        STAGED(what_the_socket_does_not_take_is_not_delivered),
        STAGED(hangs_up_on_what_is_not_http),
        STAGED(a_taken_port_and_a_bad_address_are_told),
        STAGED(stops_with_calls_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
