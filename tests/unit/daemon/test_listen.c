#include "base/cleanup.h"
#include "daemon/listen.h"

#include "unit.h"

#include <netinet/in.h>
#include <unistd.h>

static void
reads_addresses_and_tells_loopback(void **state)
{
    static const struct {
        const char *text;
        const char *host; /* NULL: refused */
        int port;
        bool loopback;
        const char *url;
    } cases[] = {
        {"127.0.0.1:8080", "127.0.0.1", 8080, true, "http://127.0.0.1:8080"},
        {"127.8.8.8:1", "127.8.8.8", 1, true, "http://127.8.8.8:1"},
        {"[::1]:8080", "[::1]", 8080, true, "http://[::1]:8080"},
        {"0.0.0.0:80", "0.0.0.0", 80, false, "http://127.0.0.1:80"},
        {"[::]:443", "[::]", 443, false, "http://[::1]:443"},
        {"10.1.2.3:65535", "10.1.2.3", 65535, false, "http://10.1.2.3:65535"},
        {"127.0.0.1:0", NULL, 0, false, NULL},
        {"127.0.0.1:65536", NULL, 0, false, NULL},
        {"127.0.0.1", NULL, 0, false, NULL},
        {":8080", NULL, 0, false, NULL},
        {"8080", NULL, 0, false, NULL},
        {"localhost:8080", NULL, 0, false, NULL},
        {"127.0.0.1:80x", NULL, 0, false, NULL},
        {"[::1]", NULL, 0, false, NULL},
        {"", NULL, 0, false, NULL},
        {"1111111111111111111111111111111111111111111111111111111111111111111111:80", NULL, 0,
            false, NULL},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listen_address a;
        struct error e = {0};
        char url[LISTEN_URL_BYTES];
        enum err err = listen_parse(str_from_cstr(cases[i].text), &a, &e);

        if (cases[i].host == NULL) {
            if (err != ERR_USAGE)
                fail_msg("%s was not refused", cases[i].text);
            continue;
        }
        if (err != ERR_OK)
            fail_msg("%s: %s", cases[i].text, e.text);
        listen_url(&a, false, url);
        assert_string_equal(a.host, cases[i].host);
        assert_int_equal(a.port, cases[i].port);
        assert_int_equal(a.is_loopback, cases[i].loopback);
        assert_string_equal(url, cases[i].url);
    }
}

static void
names_the_address_of_a_port_in_use(void **state)
{
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof(in);
    struct listen_address a;
    struct error e = {0};
    char text[64];

    assert_int_equal(bind(fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &bytes), 0);
    snprintf(text, sizeof(text), "127.0.0.1:%d", ntohs(in.sin_port));
    assert_int_equal(listen_parse(str_from_cstr(text), &a, &e), ERR_OK);
    assert_int_equal(listen_check_free(&a, &e), ERR_PORT_IN_USE);
    assert_non_null(strstr(e.text, text));
    close(fd);
    fd = -1;
    assert_int_equal(listen_check_free(&a, &e), ERR_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_addresses_and_tells_loopback),
        TEST(names_the_address_of_a_port_in_use),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
