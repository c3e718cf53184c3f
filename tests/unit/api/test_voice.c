/* What an agent says of itself, with the secrets taken out: also what a hostile agent sends. */
#include "world.h"

#include "unit.h"

#include <stdlib.h>
#include <sys/resource.h>

enum { REPEATS = 7000 }; /* of an eight-byte secret: just below what a body may have */
enum { MEMORY_MAX_KB = 32 * 1024 };

struct voice {
    char id[ID_TEXT_BYTES];
    char token[TOKEN_TEXT_BYTES + 1];
};

/* An external workspace, so that nothing has to run, with a secret of its own. */
static struct voice
voice_make(struct world *w, const char *secret)
{
    struct voice v;
    AUTO_ANSWER struct answer set = {0}, token = {0};
    char body[256];

    make_workspace(w, "\"runtime\":\"external\"", v.id);
    snprintf(body, sizeof(body), "{\"key\":\"CANARY\",\"value\":\"%s\"}", secret);
    set = ask(w, "POST", path_of(v.id, "/secrets"), body);
    assert_int_equal(set.status, 200);
    token = ask(w, "POST", path_of(v.id, "/tokens"), "{}");
    snprintf(v.token, sizeof(v.token), "%s", answer_text(&token, "auth_token"));
    return v;
}

static struct answer
say(struct world *w, const struct voice *v, const char *path, const char *fields)
{
    char *body = NULL;
    struct answer a;

    assert_true(
        asprintf(&body, "{\"%s\":\"%s\",%s}",
            strcmp(path, "/registry/register") == 0 ? "id" : "workspace_id", v->id, fields) > 0);
    a = ask_with(w, v->token, NULL, NULL, "POST", path, body);
    free(body);
    return a;
}

/* What is kept of it, as people see it. */
static const json_t *
kept(struct answer *row, struct world *w, const struct voice *v, const char *key)
{
    *row = ask(w, "GET", path_of(v->id, ""), NULL);
    return json_object_get(json_object_get(row->json, "agent"), key);
}

static void
a_secret_repeated_thousands_of_times_costs_no_more_than_its_text(void **state)
{
    struct world *w = *state;
    struct voice v = voice_make(w, "8bytes-x");
    AUTO_ANSWER struct answer a = {0}, row = {0};
    char *fields = calloc(1, REPEATS * 8 + 64);
    struct rusage before, after;
    const json_t *said;

    assert_non_null(fields);
    memcpy(fields, "\"sample_error\":\"", 16);
    for (int i = 0; i < REPEATS; i++)
        memcpy(fields + 16 + (size_t)i * 8, "8bytes-x", 8);
    fields[16 + REPEATS * 8] = '"';
    assert_int_equal(getrusage(RUSAGE_SELF, &before), 0);
    a = say(w, &v, "/registry/heartbeat", fields);
    assert_int_equal(getrusage(RUSAGE_SELF, &after), 0);
    free(fields);
    assert_int_equal(a.status, 200);
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, MEMORY_MAX_KB);
    said = kept(&row, w, &v, "sample_error");
    assert_int_equal(strncmp(json_string_value(said), "[CANARY][CANARY]", 16), 0);
}

/* In JSON its quotes and line ends are spelled otherwise than in the secret. */
static void
a_card_holds_no_secret_however_it_is_spelled(void **state)
{
    struct world *w = *state;
    struct voice v = voice_make(w, "line one\\nline \\\"two\\\"");
    AUTO_ANSWER struct answer a = {0}, row = {0};
    const json_t *card;
    char *text;

    a = say(w, &v, "/registry/register",
        "\"delivery_mode\":\"poll\",\"agent_card\":{\"name\":\"x\",\"deep\":[{\"note\":"
        "\"<line one\\nline \\\"two\\\">\"}],\"line one\\nline \\\"two\\\"\":1,\"n\":7}");
    assert_int_equal(a.status, 200);
    card = kept(&row, w, &v, "card");
    text = json_dumps(card, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(
        text, "{\"[CANARY]\":1,\"deep\":[{\"note\":\"<[CANARY]>\"}],\"n\":7,\"name\":\"x\"}");
    free(text);
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(a_secret_repeated_thousands_of_times_costs_no_more_than_its_text),
        WORLD_TEST(a_card_holds_no_secret_however_it_is_spelled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
