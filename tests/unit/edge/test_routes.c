#include "unit.h"

#include "edge/nginx_conf.h"
#include "edge/routes.h"
#include "registry/registry_load.h"

static struct registry_set *set;
static struct routes routes;

static int
set_up(void **state)
{
    struct error e;

    return registry_load_embedded(&set, &e) == ERR_OK ? 0 : -1;
}

static int
tear_down(void **state)
{
    registry_free(set);
    return 0;
}

static void
base_urls_are_taken_apart_or_refused(void **state)
{
    static const struct {
        const char *url, *host, *port, *path;
        bool tls;
    } good[] = {
        {"https://api.anthropic.com", "api.anthropic.com", "443", "", true},
        {"https://api.moonshot.ai/anthropic/", "api.moonshot.ai", "443", "/anthropic", true},
        {"http://127.0.0.1:9000/v1", "127.0.0.1", "9000", "/v1", false},
        {"http://[::1]:9000", "::1", "9000", "", false},
        {"http://localhost", "localhost", "80", "", false},
    };
    static const char *const bad[] = {"", "api.anthropic.com", "ftp://x", "https://", "https://:80",
        "https://a:", "https://a:0", "https://a:123456", "https://a:b", "https://u@h/",
        "https://h/?q=1", "https://h/a b", "https://h/$x", "https://h/;", "https://[::1",
        "https://h/{"};
    struct routes_url url;

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(routes_url_parse(str_from_cstr(good[i].url), &url));
        assert_str(url.host, good[i].host);
        assert_str(url.port, good[i].port);
        assert_str(url.path, good[i].path);
        assert_int_equal(url.tls, good[i].tls);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (routes_url_parse(str_from_cstr(bad[i]), &url))
            fail_msg("\"%s\" was taken for a base URL", bad[i]);
    }
}

static bool
only_anthropic(void *ctx, struct str provider)
{
    return str_equal(provider, STR("anthropic-api"));
}

static const struct policy_route *
route(const char *id)
{
    for (size_t i = 0; i < routes.n; i++) {
        if (strcmp(routes.routes[i].id, id) == 0)
            return &routes.routes[i];
    }
    fail_msg("no route %s", id);
    return NULL;
}

static void
every_platform_model_has_a_route_and_only_keyed_vendors_a_host(void **state)
{
    const struct registry *r = registry_block(set);
    struct error e;

    assert_int_equal(routes_make(r, STR_NONE, only_anthropic, NULL, &routes, &e), ERR_OK);
    assert_int_equal(routes.n, r->platform_models.n);
    assert_int_equal(routes.hosts_n, 1);
    assert_string_equal(routes.hosts[0].host, "api.anthropic.com");
    assert_string_equal(routes.hosts[0].upstream, "purser_tls_api.anthropic.com_443");
    assert_string_equal(
        route("anthropic/claude-opus-4-7")->targets[0].vendor_model, "claude-opus-4-7");
    assert_true(route("anthropic/claude-opus-4-7")->targets[0].prices_n > 0);
    assert_int_equal(
        route("anthropic/claude-opus-4-7")->targets[0].endpoint[DIALECT_ANTHROPIC].header,
        AUTH_HEADER_X_API_KEY);
    /* Nothing was resolved: nothing is reachable. */
    routes_mark_reachable(&routes);
    assert_false(
        route("anthropic/claude-opus-4-7")->targets[0].endpoint[DIALECT_ANTHROPIC].reachable);
}

static void
an_override_moves_every_vendor_and_keeps_their_paths(void **state)
{
    struct error e;

    assert_int_equal(routes_make(registry_block(set), STR("http://127.0.0.1:7"), only_anthropic,
                         NULL, &routes, &e),
        ERR_OK);
    assert_int_equal(routes.hosts_n, 1);
    routes_resolve(&routes);
    routes_mark_reachable(&routes);
    assert_string_equal(routes.hosts[0].addresses[0], "127.0.0.1:7");
    assert_true(
        route("anthropic/claude-opus-4-7")->targets[0].endpoint[DIALECT_ANTHROPIC].reachable);
    assert_string_equal(
        route("moonshot/kimi-k2.6")->targets[0].endpoint[DIALECT_ANTHROPIC].path, "/anthropic");
    assert_string_equal(
        route("moonshot/kimi-k2.6")->targets[0].endpoint[DIALECT_ANTHROPIC].host, "127.0.0.1:7");
}

static void
an_unresolved_host_is_left_out_of_the_configuration(void **state)
{
    struct edge_options o = {.run_dir = STR("/r"),
        .log_dir = STR("/l"),
        .module_path = STR("/m.so"),
        .recorder_path = STR("/rec"),
        .listen = STR("127.0.0.1:1"),
        .worker_processes = STR("1"),
        .api_socket = STR("/r/api.sock")};
    struct buf out;
    struct error e;

    assert_int_equal(
        routes_make(registry_block(set), STR_NONE, only_anthropic, NULL, &routes, &e), ERR_OK);
    buf_init(&out, 1 << 20);
    nginx_conf_render(&o, &routes, &out);
    assert_null(strstr(buf_cstr(&out), "upstream purser_"));
    snprintf(routes.hosts[0].addresses[0], ROUTES_ADDRESS_BYTES, "192.0.2.1:443");
    routes.hosts[0].addresses_n = 1;
    buf_clear(&out);
    nginx_conf_render(&o, &routes, &out);
    assert_non_null(strstr(
        buf_cstr(&out), "upstream purser_tls_api.anthropic.com_443 {\n    server 192.0.2.1:443 "));
    buf_done(&out);
}

static void
set_addresses(struct routes *rs, const char *first, const char *second)
{
    memset(rs, 0, sizeof(*rs));
    rs->hosts_n = 1;
    snprintf(rs->hosts[0].upstream, sizeof(rs->hosts[0].upstream), "purser_tls_v_443");
    for (int i = 0; i < 2; i++) {
        const char *address = i == 0 ? first : second;

        if (address != NULL)
            snprintf(rs->hosts[0].addresses[rs->hosts[0].addresses_n++], ROUTES_ADDRESS_BYTES, "%s",
                address);
    }
}

static void
a_rotated_answer_overlaps_and_a_lost_one_keeps_the_addresses_before(void **state)
{
    static struct routes before, fresh;

    set_addresses(&before, "192.0.2.1:443", "192.0.2.2:443");
    set_addresses(&fresh, "192.0.2.2:443", "192.0.2.3:443");
    assert_false(routes_same_hosts(&before, &fresh));
    assert_true(routes_overlap(&before, &fresh));
    set_addresses(&fresh, "192.0.2.7:443", NULL);
    assert_false(routes_overlap(&before, &fresh));
    set_addresses(&fresh, NULL, NULL);
    assert_false(routes_overlap(&before, &fresh));
    routes_keep_addresses(&fresh, &before);
    assert_true(routes_same_hosts(&before, &fresh));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(base_urls_are_taken_apart_or_refused),
        TEST(every_platform_model_has_a_route_and_only_keyed_vendors_a_host),
        TEST(an_override_moves_every_vendor_and_keeps_their_paths),
        TEST(a_rotated_answer_overlaps_and_a_lost_one_keeps_the_addresses_before),
        TEST(an_unresolved_host_is_left_out_of_the_configuration),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
