/* Which addresses an agent may give as its own. */
#include "api/url.h"

#include "unit.h"

static void
addresses_that_lead_inside_are_refused(void **state)
{
    static const struct {
        const char *url;
        bool good;
    } cases[] = {
        {"http://agent.example", true},
        {"https://agent.example:8443/a2a?x=1#y", true},
        {"http://localhost:8000/", true},
        {"http://10.1.2.3/", true},
        {"http://192.168.0.1:80", true},
        {"http://[2a01::1]:80/", true},
        {"http://8.8.8.8", true},
        {"", false},
        {"ftp://agent.example", false},
        {"//agent.example", false},
        {"HTTP://agent.example", false},
        {"http://", false},
        {"http:///path", false},
        {"http://:80/", false},
        {"http://127.0.0.1/", false},
        {"http://127.9.9.9:1/", false},
        {"http://0.0.0.0/", false},
        {"http://169.254.169.254/latest", false},
        {"http://100.64.0.1/", false},
        {"http://100.127.255.255/", false},
        {"http://192.0.2.1/", false},
        {"http://198.51.100.7/", false},
        {"http://203.0.113.7/", false},
        {"http://224.0.0.1/", false},
        {"http://255.255.255.255/", false},
        {"http://[::1]/", false},
        {"http://[::]/", false},
        {"http://[fe80::1]/", false},
        {"http://[fc00::1]/", false},
        {"http://[fd12::1]/", false},
        {"http://[ff02::1]/", false},
        {"http://[2001:db8::1]/", false},
        {"http://[::ffff:127.0.0.1]/", false},
        {"http://[::ffff:169.254.1.1]/", false},
        {"http://[::1", false},
        {"http://[x]/", false},
        {"http://2130706433/", false},
        {"http://0x7f.1/", false},
        {"http://127.1/", false},
        {"http://017700000001/", false},
        {"http://user@agent.example/", false},
        {"http://agent.example@127.0.0.1/", false},
        {"http://agent\\.example/", false},
        {"http://agent example/", false},
        {"http://\xc3\xa9.example/", false},
        {"http://127.0.0.1.:80/", false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error e;
        bool good = url_check(str_from_cstr(cases[i].url), &e) == ERR_OK;

        if (good != cases[i].good)
            fail_msg("%s: %s", cases[i].url, good ? "taken" : e.text);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses_that_lead_inside_are_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
