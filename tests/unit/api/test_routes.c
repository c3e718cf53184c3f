#include "world.h"

#include "api/routes.h"

#include <strings.h>

#include "unit.h"

static const char nobody[] = "00000000-0000-7000-8000-000000000000";

static void
health_needs_no_credential(void **state)
{
    AUTO_ANSWER struct answer a = ask_with(*state, NULL, NULL, NULL, "GET", "/health", NULL);

    assert_int_equal(a.status, 200);
    assert_string_equal(answer_text(&a, "status"), "ok");
    assert_int_equal(strlen(answer_text(&a, "registry_fingerprint")), 64);
    assert_string_equal(
        json_string_value(json_array_get(json_object_get(a.json, "vendors_unresolved"), 0)),
        "gone.example");
}

static void
health_is_503_without_the_gateway(void **state)
{
    AUTO_ANSWER struct answer a = {0};

    stand_in.gateway_present = false;
    a = ask_with(*state, NULL, NULL, NULL, "GET", "/health", NULL);
    assert_int_equal(a.status, 503);
}

/* Every row but the open ones: no credential and nonsense are 401, whatever the object is. */
static void
every_route_wants_a_credential(void **state)
{
    for (size_t i = 0; i < routes_n; i++) {
        char path[256];
        const char *id = strstr(routes[i].pattern, ":id");
        AUTO_ANSWER struct answer none = {0}, bad = {0};

        if (routes[i].who == WHO_OPEN)
            continue;
        if (id == NULL)
            snprintf(path, sizeof(path), "%s", routes[i].pattern);
        else
            snprintf(path, sizeof(path), "%.*s%s%s", (int)(id - routes[i].pattern),
                routes[i].pattern, nobody, id + 3);
        none = ask_with(*state, NULL, NULL, NULL, http_method_name(routes[i].method), path, NULL);
        bad = ask_with(
            *state, "psr_adm_nonsense", NULL, NULL, http_method_name(routes[i].method), path, NULL);
        assert_answer(none, 401, "UNAUTHORIZED");
        assert_answer(bad, 401, "UNAUTHORIZED");
    }
}

static void
make_token(struct world *w, const char *path, const char *body, char ret[static 64])
{
    AUTO_ANSWER struct answer a = ask(w, "POST", path, body);

    assert_true(a.status == 201);
    snprintf(ret, 64, "%s", answer_text(&a, "auth_token"));
}

/* Each row x each kind of credential: 403 exactly where the table does not list the kind. */
static void
every_route_refuses_other_kinds(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    struct {
        unsigned who;
        char token[64];
    } kinds[3] = {{WHO_ORG, ""}, {WHO_ORG_READ, ""}, {WHO_WORKSPACE, ""}};

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    make_token(w, "/org/tokens", "{}", kinds[0].token);
    make_token(w, "/org/tokens", "{\"read_only\":true}", kinds[1].token);
    make_token(w, path_of(id, "/tokens"), NULL, kinds[2].token);
    for (size_t i = 0; i < routes_n; i++) {
        for (size_t k = 0; k < 3; k++) {
            char path[256];
            const char *at = strstr(routes[i].pattern, ":id");
            AUTO_ANSWER struct answer a = {0};

            if (routes[i].who == WHO_OPEN)
                continue;
            /* A missing object: the kind is judged before any look-up. */
            if (at == NULL)
                snprintf(path, sizeof(path), "%s", routes[i].pattern);
            else
                snprintf(path, sizeof(path), "%.*s%s%s", (int)(at - routes[i].pattern),
                    routes[i].pattern, nobody, at + 3);
            a = ask_with(
                w, kinds[k].token, NULL, NULL, http_method_name(routes[i].method), path, "{}");
            if ((routes[i].who & kinds[k].who) == 0)
                assert_answer(a, 403, "WRONG_CREDENTIAL_KIND");
            else if (a.status == 401 || a.status == 403)
                fail_msg("%s %s: %d for a kind that may", http_method_name(routes[i].method),
                    routes[i].pattern, a.status);
        }
    }
}

/* The answer to a foreign workspace is, byte for byte, the one to a missing one. */
static void
foreign_and_missing_read_the_same(void **state)
{
    struct world *w = *state;
    char foreign[ID_TEXT_BYTES], mine[ID_TEXT_BYTES], tokens[2][64];
    AUTO_ANSWER struct answer made = ask_with(w, w->admin, w->other, NULL, "POST", "/workspaces",
        "{\"name\":\"f\",\"model\":\"opus\",\"start\":false,"
        "\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"x\"}}");

    assert_int_equal(made.status, 201);
    snprintf(foreign, sizeof(foreign), "%s", answer_text(&made, "id"));
    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", mine);
    make_token(w, "/org/tokens", "{}", tokens[0]);
    make_token(w, path_of(mine, "/tokens"), NULL, tokens[1]);
    for (size_t i = 0; i < routes_n; i++) {
        for (size_t k = 0; k < 2; k++) {
            unsigned who = k == 0 ? WHO_ORG : WHO_WORKSPACE;
            const char *at = strstr(routes[i].pattern, ":id");
            const char *ids[2] = {foreign, nobody};
            char path[256];
            struct answer a[2];

            if (at == NULL || (routes[i].who & who) == 0 || strstr(at, ":key") != NULL)
                continue;
            for (size_t n = 0; n < 2; n++) {
                snprintf(path, sizeof(path), "%.*s%s%s", (int)(at - routes[i].pattern),
                    routes[i].pattern, ids[n], at + 3);
                a[n] = ask_with(w, tokens[k], NULL, NULL, http_method_name(routes[i].method), path,
                    routes[i].max_body == 0
                        ? NULL
                        : "{\"mode\":null,\"model\":\"x\",\"key\":\"A\","
                          "\"value\":\"b\",\"name\":\"n\",\"secrets\":{\"A\":\"b\"}}");
            }
            json_object_del(a[0].json, "workspace_id");
            json_object_del(a[1].json, "workspace_id");
            if (a[0].status != a[1].status || !json_equal(a[0].json, a[1].json))
                fail_msg("%s: foreign %d, missing %d", routes[i].pattern, a[0].status, a[1].status);
            if (a[0].status != 404 && a[0].status != 410)
                fail_msg("%s %s: %d for a foreign object", http_method_name(routes[i].method),
                    routes[i].pattern, a[0].status);
            answer_done(&a[0]);
            answer_done(&a[1]);
        }
    }
}

/* A workspace's token is for its own workspace, not for its siblings of the same org. */
static void
a_workspace_token_sees_no_sibling(void **state)
{
    struct world *w = *state;
    char mine[ID_TEXT_BYTES], sibling[ID_TEXT_BYTES], token[64];

    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", mine);
    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", sibling);
    make_token(w, path_of(mine, "/tokens"), NULL, token);
    for (size_t i = 0; i < routes_n; i++) {
        const char *at = strstr(routes[i].pattern, ":id");
        char path[256];
        AUTO_ANSWER struct answer a = {0};

        if (at == NULL || (routes[i].who & WHO_WORKSPACE) == 0)
            continue;
        snprintf(path, sizeof(path), "%.*s%s%s", (int)(at - routes[i].pattern), routes[i].pattern,
            sibling, at + 3);
        a = ask_with(w, token, NULL, NULL, http_method_name(routes[i].method), path, NULL);
        assert_answer(a, 404, "NOT_FOUND");
    }
}

static void
wrong_method_says_which_are_right(void **state)
{
    AUTO_ANSWER struct answer a = ask(*state, "DELETE", "/workspaces", NULL);
    AUTO_ANSWER struct answer odd = ask(*state, "BREW", "/health", NULL);

    assert_answer(a, 405, "METHOD_NOT_ALLOWED");
    assert_non_null(strstr(a.head, "Allow: POST, GET"));
    assert_answer(odd, 405, "METHOD_NOT_ALLOWED");
}

static void
unknown_paths_and_hosts_are_refused(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer path = ask(w, "GET", "/nothing", NULL);
    AUTO_ANSWER struct answer nul = ask(w, "GET", "/health%00/x", NULL);
    AUTO_ANSWER struct answer slash = ask(w, "GET", "/health/", NULL);
    AUTO_ANSWER struct answer host =
        ask_with(w, NULL, NULL, "Host: evil.example\r\n", "GET", "/health", NULL);
    AUTO_ANSWER struct answer port =
        ask_with(w, NULL, NULL, "Host: 127.0.0.1:8080\r\n", "GET", "/health", NULL);

    assert_answer(path, 404, "NOT_FOUND");
    assert_answer(nul, 404, "NOT_FOUND");
    assert_answer(slash, 404, "NOT_FOUND");
    assert_answer(host, 421, "UNKNOWN_HOST");
    assert_int_equal(port.status, 200);
}

static void
admin_must_choose_an_org_where_one_is_needed(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer list = ask_with(w, w->admin, NULL, NULL, "GET", "/workspaces", NULL);
    AUTO_ANSWER struct answer slug =
        ask_with(w, w->admin, "demo", NULL, "GET", "/workspaces", NULL);
    AUTO_ANSWER struct answer none =
        ask_with(w, w->admin, "nosuch", NULL, "GET", "/workspaces", NULL);
    AUTO_ANSWER struct answer own = {0}, wrong = {0};

    assert_answer(list, 400, "ORG_REQUIRED");
    assert_int_equal(slug.status, 200);
    assert_answer(none, 404, "NOT_FOUND");
    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    own = ask_with(w, w->admin, NULL, NULL, "GET", path_of(id, ""), NULL);
    wrong = ask_with(w, w->admin, w->other, NULL, "GET", path_of(id, ""), NULL);
    assert_int_equal(own.status, 200);
    assert_answer(wrong, 404, "NOT_FOUND");
}

static void
bodies_are_checked_before_anything_happens(void **state)
{
    static const struct {
        const char *body;
        int status;
    } cases[] = {
        {"", 400},
        {"{", 400},
        {"[]", 400},
        {"{\"name\":\"a\",\"name\":\"b\"}", 400},
        {"{\"name\":7}", 400},
        {"{\"name\":\"a\\u0000b\"}", 400},
        {"nonsense", 400},
        {"{\"slug\":\"UPPER\",\"name\":\"x\"}", 400},
        {"{\"slug\":\"demo\",\"name\":\"x\"}", 409},
    };
    char *big = malloc(8192);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_ANSWER struct answer a = ask_with(*state, ((struct world *)*state)->admin, NULL, NULL,
            "POST", "/admin/orgs", cases[i].body);

        if (a.status != cases[i].status)
            fail_msg("%s: got %d", cases[i].body, a.status);
    }
    memset(big, ' ', 8191);
    big[8191] = '\0';
    {
        AUTO_ANSWER struct answer a = ask(*state, "POST", "/admin/orgs", big);

        assert_answer(a, 413, "PAYLOAD_TOO_LARGE");
    }
    free(big);
}

static void
a_name_is_taken_once_in_an_org(void **state)
{
    struct world *w = *state;
    const char *body =
        "{\"name\":\"twin\",\"model\":\"anthropic/claude-opus-4-7\",\"start\":false}";
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer first = ask(w, "POST", "/workspaces", body);
    AUTO_ANSWER struct answer second = ask(w, "POST", "/workspaces", body);
    AUTO_ANSWER struct answer elsewhere =
        ask_with(w, w->admin, w->other, NULL, "POST", "/workspaces", body);
    AUTO_ANSWER struct answer renamed = {0}, same = {0}, gone = {0}, free_again = {0};

    assert_int_equal(first.status, 201);
    assert_answer(second, 409, "CONFLICT");
    assert_string_equal(answer_text(&second, "error"),
        "the name \"twin\" is taken by another workspace of this org");
    assert_int_equal(elsewhere.status, 201);
    make_workspace(w, "\"model\":\"anthropic/claude-opus-4-7\"", id);
    renamed = ask(w, "PATCH", path_of(id, ""), "{\"name\":\"twin\"}");
    assert_answer(renamed, 409, "CONFLICT");
    same = ask(w, "PATCH", path_of(answer_text(&first, "id"), ""), "{\"name\":\"twin\"}");
    assert_int_equal(same.status, 200);
    gone = ask_with(w, w->admin, w->org, "X-Confirm-Name: twin\r\n", "DELETE",
        path_of(answer_text(&first, "id"), ""), NULL);
    assert_int_equal(gone.status, 200);
    free_again = ask(w, "POST", "/workspaces", body);
    assert_int_equal(free_again.status, 201);
}

/* What a person reads names the thing and the next command. */
static void
refusals_of_a_create_say_what_to_type(void **state)
{
    static const struct {
        const char *fields, *code, *sentence;
    } cases[] = {
        {"\"name\":\"x\"", "MODEL_REQUIRED",
            "name a model with --model (purser registry offered claude-code)"},
        {"\"name\":\"x\",\"model\":\"nonsense-1\"", "UNREGISTERED_MODEL_FOR_RUNTIME",
            "(purser registry offered claude-code lists them)"},
        {"\"name\":\"x\",\"model\":\"claude-opus-4-7\"", "MISSING_BYOK_CREDENTIAL",
            "that provider anthropic-api accepts (ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN); give "
            "the key with the "
            "workspace (purser workspace create --secret NAME < key-file; API: \"secrets\")"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char body[256];
        AUTO_ANSWER struct answer a = {0};

        snprintf(body, sizeof(body), "{%s}", cases[i].fields);
        a = ask(*state, "POST", "/workspaces", body);
        assert_answer(a, 422, cases[i].code);
        if (strstr(answer_text(&a, "error"), cases[i].sentence) == NULL)
            fail_msg("%s: %s", cases[i].code, answer_text(&a, "error"));
    }
}

static void
a_repeated_key_repeats_the_answer_and_not_the_effect(void **state)
{
    struct world *w = *state;
    const char *key = "Idempotency-Key: k1\r\n";
    const char *body =
        "{\"name\":\"once\",\"model\":\"anthropic/claude-opus-4-7\",\"start\":false}";
    AUTO_ANSWER struct answer first =
        ask_with(w, w->admin, w->org, key, "POST", "/workspaces", body);
    AUTO_ANSWER struct answer second =
        ask_with(w, w->admin, w->org, key, "POST", "/workspaces", body);
    AUTO_ANSWER struct answer other = ask_with(w, w->admin, w->org, key, "POST", "/workspaces",
        "{\"name\":\"two\",\"model\":\"anthropic/claude-opus-4-7\",\"start\":false}");
    AUTO_ANSWER struct answer list = ask(w, "GET", "/workspaces", NULL);

    assert_int_equal(first.status, 201);
    assert_int_equal(second.status, 201);
    assert_true(json_equal(first.json, second.json));
    assert_answer(other, 409, "CONFLICT");
    assert_int_equal(json_array_size(list.json), 1);
}

static void
a_credential_is_never_repeated(void **state)
{
    struct world *w = *state;
    const char *key = "Idempotency-Key: k2\r\n";
    AUTO_ANSWER struct answer first =
        ask_with(w, w->admin, w->org, key, "POST", "/org/tokens", "{}");
    AUTO_ANSWER struct answer second =
        ask_with(w, w->admin, w->org, key, "POST", "/org/tokens", "{}");

    assert_int_equal(first.status, 201);
    assert_answer(second, 409, "CONFLICT");
}

static void
store_failure_is_503_and_billing_still_answers_closed(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], path[128];
    long calls;

    make_workspace(w, "\"model\":\"opus\",\"secrets\":{\"CLAUDE_CODE_OAUTH_TOKEN\":\"x\"}", id);
    snprintf(path, sizeof(path), "/admin/workspaces/%s/llm-billing-mode", id);
    store_fault_set(w->store, 0);
    {
        AUTO_ANSWER struct answer whole = ask(w, "GET", path, NULL);

        assert_int_equal(whole.status, 200);
        assert_string_equal(answer_text(&whole, "resolved_mode"), "byok");
    }
    calls = store_fault_calls(w->store);
    assert_true(calls > 3);
    for (long n = 1; n <= calls; n++) {
        AUTO_ANSWER struct answer a = {0};

        store_fault_set(w->store, n);
        a = ask(w, "GET", path, NULL);
        store_fault_set(w->store, 0);
        if (a.status == 200) /* a courtesy failed (last use) */
            continue;
        assert_answer(a, 503, "STORE_UNAVAILABLE");
        assert_string_equal(answer_text(&a, "resolved_mode"), "platform_managed");
        assert_string_equal(answer_text(&a, "source"), "constant_fallback");
    }
}

/* "/a/:b" as OpenAPI writes it: "/a/{b}". */
static void
openapi_path(const char *pattern, char ret[static 256])
{
    size_t n = 0;
    bool open = false;

    for (const char *p = pattern; *p != '\0'; p++) {
        if (*p == '/' && open)
            ret[n++] = '}';
        open = (open && *p != '/') || *p == ':';
        ret[n++] = *p == ':' ? '{' : *p;
    }
    if (open)
        ret[n++] = '}';
    ret[n] = '\0';
}

/* docs/openapi.yaml has every row of the table, and no operation besides. */
static void
openapi_lists_exactly_the_table(void **state)
{
    char file[512], line[1024], at[256] = "", path[256], method[16];
    bool seen[256] = {false};
    size_t operations = 0;
    FILE *f;

    assert_true(routes_n <= 256);
    snprintf(file, sizeof(file), "%s/docs/openapi.yaml", getenv("SOURCE_ROOT"));
    f = fopen(file, "r");
    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL && strncmp(line, "components:", 11) != 0) {
        if (strncmp(line, "  /", 3) == 0)
            snprintf(at, sizeof(at), "%.*s", (int)strcspn(line + 2, ":\n"), line + 2);
        if (strncmp(line, "    ", 4) != 0 || line[4] == ' ' ||
            sscanf(line + 4, "%15[a-z]", method) != 1 || strcmp(method, "parameters") == 0)
            continue;
        operations++;
        for (size_t i = 0; i < routes_n; i++) {
            openapi_path(routes[i].pattern, path);
            if (strcmp(path, at) == 0 &&
                strcasecmp(method, http_method_name(routes[i].method)) == 0)
                seen[i] = true;
        }
    }
    fclose(f);
    for (size_t i = 0; i < routes_n; i++) {
        if (!seen[i])
            fail_msg("%s %s is not in docs/openapi.yaml", http_method_name(routes[i].method),
                routes[i].pattern);
    }
    assert_int_equal(operations, routes_n);
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openapi_lists_exactly_the_table),
        WORLD_TEST(health_needs_no_credential),
        WORLD_TEST(health_is_503_without_the_gateway),
        WORLD_TEST(every_route_wants_a_credential),
        WORLD_TEST(every_route_refuses_other_kinds),
        WORLD_TEST(foreign_and_missing_read_the_same),
        WORLD_TEST(a_workspace_token_sees_no_sibling),
        WORLD_TEST(wrong_method_says_which_are_right),
        WORLD_TEST(unknown_paths_and_hosts_are_refused),
        WORLD_TEST(admin_must_choose_an_org_where_one_is_needed),
        WORLD_TEST(bodies_are_checked_before_anything_happens),
        WORLD_TEST(a_name_is_taken_once_in_an_org),
        WORLD_TEST(refusals_of_a_create_say_what_to_type),
        WORLD_TEST(a_repeated_key_repeats_the_answer_and_not_the_effect),
        WORLD_TEST(a_credential_is_never_repeated),
        WORLD_TEST(store_failure_is_503_and_billing_still_answers_closed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
