/* Starts and their ends: what an agent is given, what is written down, what is taken back. */
#include "world.h"

#include "api/agent.h"
#include "store/decision_row.h"
#include "store/event_row.h"
#include "store/token_row.h"

#include "unit.h"

static const char own_model[] = "\"model\":\"opus\",\"command\":[\"agent\"],\"secrets\":{\"CLAUDE_"
                                "CODE_OAUTH_TOKEN\":\"CANARY-oauth\"}";

static bool
has_env(const char *line)
{
    char needle[600];

    snprintf(needle, sizeof(needle), "%s\n", line);
    return strncmp(stand_in.env, needle, strlen(needle)) == 0 ||
        (snprintf(needle, sizeof(needle), "\n%s\n", line) > 0 &&
            strstr(stand_in.env, needle) != NULL);
}

static bool
has_name(const char *name)
{
    char needle[128];

    snprintf(needle, sizeof(needle), "\n%s=", name);
    return strstr(stand_in.env, needle) != NULL;
}

static void
platform_managed_start_mints_publishes_and_launches(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer a = {0}, again = {0}, stop = {0};
    AUTO(look_done) struct look seen = {0};
    AUTO(look_done) struct look after = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    a = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_text(&a, "status"), "provisioning");
    wait_status(w, id, "online");
    assert_int_equal(stand_in.launched, 1);
    assert_string_equal(stand_in.argv, "agent;-x;");
    assert_string_equal(stand_in.models, "anthropic/claude-opus-4-7;");
    assert_true(has_env("MOLECULE_LLM_BILLING_MODE=platform_managed"));
    assert_true(has_env("MODEL=anthropic/claude-opus-4-7"));
    assert_true(has_env("ANTHROPIC_BASE_URL=http://127.0.0.1:8080/api/v1/internal/llm/anthropic"));
    assert_non_null(strstr(stand_in.env, "ANTHROPIC_API_KEY=psr_use_"));
    assert_non_null(strstr(stand_in.env, "HOME=/tmp/homes/"));
    seen = look(w, id);
    assert_int_equal(seen.live_tokens, 1);
    assert_int_equal(seen.decisions_n, 1);
    assert_int_equal(seen.decisions[0].kind, DECISION_START);
    assert_true(memmem(seen.decisions[0].json.p, seen.decisions[0].json.n, "psr_use_", 8) == NULL);
    assert_true(id_equal(seen.decisions[0].id, stand_in.status.start));
    again = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(again, 409, "CONFLICT");
    stop = ask(w, "POST", path_of(id, "/stop"), NULL);
    assert_int_equal(stop.status, 200);
    assert_string_equal(answer_text(&stop, "status"), "stopped");
    assert_int_equal(stand_in.revoked, 1);
    after = look(w, id);
    assert_int_equal(after.live_tokens, 0);
}

static void
byok_start_keeps_the_own_key_and_mints_nothing(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer a = {0};
    AUTO(look_done) struct look seen = {0};

    make_workspace(w, own_model, id);
    a = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_int_equal(a.status, 200);
    assert_true(has_env("CLAUDE_CODE_OAUTH_TOKEN=CANARY-oauth"));
    assert_true(has_env("MOLECULE_LLM_BILLING_MODE_RESOLVED=byok"));
    assert_false(has_name("ANTHROPIC_BASE_URL"));
    assert_false(has_name("MOLECULE_LLM_USAGE_TOKEN"));
    assert_int_equal(stand_in.published, 0);
    seen = look(w, id);
    assert_int_equal(seen.live_tokens, 0);
    assert_int_equal(seen.decisions_n, 1);
    assert_true(memmem(seen.decisions[0].json.p, seen.decisions[0].json.n, "CANARY", 6) == NULL);
}

static void
a_refusal_starts_nothing_and_says_the_way_out(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer gone = {0}, a = {0}, row = {0}, audit = {0};
    AUTO(look_done) struct look seen = {0};

    make_workspace(w, own_model, id);
    gone = ask(w, "DELETE", path_of(id, "/secrets/CLAUDE_CODE_OAUTH_TOKEN"), NULL);
    assert_int_equal(gone.status, 200);
    a = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(a, 422, "MISSING_BYOK_CREDENTIAL");
    assert_int_equal(stand_in.launched, 0);
    row = ask(w, "GET", path_of(id, ""), NULL);
    assert_string_equal(answer_text(&row, "status"), "failed");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(row.json, "last_error"), "code")),
        "MISSING_BYOK_CREDENTIAL");
    audit = ask(w, "GET", path_of(id, "/audit"), NULL);
    assert_int_equal(audit.status, 200);
    assert_true(json_is_true(json_object_get(audit.json, "chain_valid")));
    assert_int_equal(json_array_size(json_object_get(audit.json, "events")), 1);
    seen = look(w, id);
    assert_int_equal(seen.decisions_n, 1);
    assert_int_equal(seen.decisions[0].kind, DECISION_REFUSAL);
    assert_str(seen.decisions[0].code, "MISSING_BYOK_CREDENTIAL");
    assert_str(seen.events[seen.events_n - 1].type, "WORKSPACE_PROVISION_FAILED");
}

static void
no_gateway_and_no_platform_key_refuse(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer gateway = {0}, key = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    stand_in.gateway_present = false;
    gateway = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(gateway, 503, "MISSING_PLATFORM_PROXY");
    stand_in.gateway_present = true;
    stand_in.has_platform_key = false;
    key = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(key, 503, "MISSING_PLATFORM_PROXY");
    assert_int_equal(stand_in.launched, 0);
}

static void
what_fails_after_minting_takes_the_token_back(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];

    make_workspace(w, PLATFORM_MODEL, id);
    for (int round = 0; round < 2; round++) {
        AUTO_ANSWER struct answer a = {0}, row = {0};
        AUTO(look_done) struct look seen = {0};

        stand_in.launch_error = round == 0 ? ERR_LAUNCH_FAILED : ERR_OK;
        stand_in.publish_error = round == 1 ? ERR_GATEWAY_UNUSABLE : ERR_OK;
        a = ask(w, "POST", path_of(id, "/start"), NULL);
        assert_answer(a, round == 0 ? 422 : 500, round == 0 ? "LAUNCH_FAILED" : "GATEWAY_UNUSABLE");
        seen = look(w, id);
        assert_int_equal(seen.live_tokens, 0);
        assert_true(stand_in.revoked > 0);
        row = ask(w, "GET", path_of(id, ""), NULL);
        assert_string_equal(answer_text(&row, "status"), "failed");
    }
}

static void
create_tells_a_refused_start_by_its_row(void **state)
{
    struct world *w = *state;
    AUTO_ANSWER struct answer ok = {0}, failed = {0};

    ok = ask(w, "POST", "/workspaces",
        "{\"name\":\"a\",\"model\":\"anthropic/claude-opus-4-7\",\"command\":\"x\"}");
    assert_int_equal(ok.status, 201);
    assert_string_equal(answer_text(&ok, "status"), "provisioning");
    stand_in.gateway_present = false;
    failed = ask(w, "POST", "/workspaces",
        "{\"name\":\"b\",\"model\":\"anthropic/claude-opus-4-7\",\"command\":\"x\"}");
    assert_int_equal(failed.status, 201);
    assert_string_equal(answer_text(&failed, "status"), "failed");
}

static void
a_restarted_purserd_finds_its_agents(void **state)
{
    struct world *w = *state;
    char alive[ID_TEXT_BYTES], gone[ID_TEXT_BYTES], fields[256];
    AUTO_ANSWER struct answer a = {0}, b = {0};
    AUTO(look_done) struct look lost = {0};
    AUTO(look_done) struct look kept = {0};

    snprintf(fields, sizeof(fields), "\"restart\":\"never\",%s", PLATFORM_MODEL);
    make_workspace(w, fields, gone);
    make_workspace(w, PLATFORM_MODEL, alive);
    a = ask(w, "POST", path_of(gone, "/start"), NULL);
    wait_status(w, gone, "online");
    b = ask(w, "POST", path_of(alive, "/start"), NULL); /* the stand-in knows one: this one */
    assert_int_equal(a.status, 200);
    assert_int_equal(b.status, 200);
    wait_status(w, alive, "online");
    stand_in.published = stand_in.revoked = stand_in.settled = 0;
    world_restart(w);
    assert_int_equal(stand_in.published, 1);
    assert_int_equal(stand_in.revoked, 1);
    assert_int_equal(stand_in.settled, 1);
    wait_status(w, alive, "online");
    wait_status(w, gone, "failed");
    kept = look(w, alive);
    lost = look(w, gone);
    assert_int_equal(kept.live_tokens, 1);
    assert_int_equal(lost.live_tokens, 0);
}

static void
the_model_of_a_start_request_counts_for_that_start(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer a = {0}, b = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    a = ask(w, "POST", path_of(id, "/start"), "{\"model\":\"moonshot/kimi-k2.6\"}");
    assert_int_equal(a.status, 200);
    assert_true(has_env("MODEL=moonshot/kimi-k2.6"));
    assert_string_equal(stand_in.models, "moonshot/kimi-k2.6;");
    b = ask(w, "POST", path_of(id, "/restart"), NULL);
    assert_int_equal(b.status, 200);
    assert_true(has_env("MODEL=anthropic/claude-opus-4-7"));
}

static void
removal_wants_the_name_and_ends_everything(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], child[ID_TEXT_BYTES], fields[256];
    AUTO_ANSWER struct answer start = {0}, unsure = {0}, family = {0}, done = {0}, after = {0},
                              list = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    snprintf(fields, sizeof(fields), "\"parent_id\":\"%s\",%s", id, PLATFORM_MODEL);
    make_workspace(w, fields, child);
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_int_equal(start.status, 200);
    unsure = ask(w, "DELETE", path_of(id, ""), NULL);
    assert_answer(unsure, 400, "CONFIRMATION_REQUIRED");
    assert_string_equal(answer_text(&unsure, "workspace_name"), "w1");
    family =
        ask_with(w, w->admin, w->org, "X-Confirm-Name: w1\r\n", "DELETE", path_of(id, ""), NULL);
    assert_answer(family, 409, "CONFLICT");
    done = ask_with(w, w->admin, w->org, "X-Confirm-Name: w1\r\n", "DELETE",
        path_of(id, "?confirm=true"), NULL);
    assert_int_equal(done.status, 200);
    assert_int_equal(json_integer_value(json_object_get(done.json, "cascade_deleted")), 1);
    assert_true(stand_in.revoked >= 1);
    after = ask(w, "GET", path_of(id, ""), NULL);
    assert_answer(after, 410, "GONE");
    list = ask(w, "GET", "/workspaces", NULL);
    assert_int_equal(json_array_size(list.json), 0);
}

static void
a_changed_secret_restarts_what_runs(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer start = {0}, put = {0};

    make_workspace(w, own_model, id);
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_int_equal(start.status, 200);
    put = ask(w, "POST", path_of(id, "/secrets"), "{\"key\":\"EXTRA\",\"value\":\"1\"}");
    assert_int_equal(put.status, 200);
    wait_until(__atomic_load_n(&stand_in.launched, __ATOMIC_ACQUIRE) == 2);
    assert_true(has_env("EXTRA=1"));
}

static void
a_runtime_nobody_knows_needs_a_command(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer refused = {0}, patched = {0}, started = {0};

    make_workspace(w, "\"runtime\":\"claudecode\",\"model\":\"anthropic/claude-opus-4-7\"", id);
    refused = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(refused, 422, "RUNTIME_UNSUPPORTED");
    assert_non_null(strstr(answer_text(&refused, "error"), "\"claudecode\""));
    assert_non_null(strstr(answer_text(&refused, "error"), "claude-code, "));
    assert_non_null(strstr(answer_text(&refused, "error"), "-- COMMAND"));
    patched = ask(w, "PATCH", path_of(id, ""), "{\"command\":[\"/bin/true\"]}");
    assert_int_equal(patched.status, 200);
    started = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_int_equal(started.status, 200);
}

/* The n-th store call of a start fails, for every n: then it runs as recorded, or it does not run.
 */
static void
a_store_fault_never_leaves_a_start_halfway(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    long calls = 1;

    make_workspace(w, PLATFORM_MODEL, id);
    for (long n = 0; n <= calls; n++) {
        AUTO_ANSWER struct answer a = {0}, stop = {0};
        AUTO(look_done) struct look seen = {0};
        int launched = stand_in.launched;

        store_fault_set(w->store, n);
        a = ask(w, "POST", path_of(id, "/start"), NULL);
        if (n == 0)
            calls = store_fault_calls(w->store);
        store_fault_set(w->store, 0);
        seen = look(w, id);
        if (stand_in.launched > launched) {
            assert_int_equal(seen.live_tokens, 1);
            assert_true(id_equal(seen.decisions[0].id, stand_in.status.start));
        } else {
            assert_true(a.status >= 500);
            assert_int_equal(seen.live_tokens, 0);
        }
        stop = ask(w, "POST", path_of(id, "/stop"), NULL);
        assert_int_equal(stop.status, 200);
    }
    assert_true(calls > 20);
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(platform_managed_start_mints_publishes_and_launches),
        WORLD_TEST(byok_start_keeps_the_own_key_and_mints_nothing),
        WORLD_TEST(a_refusal_starts_nothing_and_says_the_way_out),
        WORLD_TEST(no_gateway_and_no_platform_key_refuse),
        WORLD_TEST(what_fails_after_minting_takes_the_token_back),
        WORLD_TEST(create_tells_a_refused_start_by_its_row),
        WORLD_TEST(a_restarted_purserd_finds_its_agents),
        WORLD_TEST(the_model_of_a_start_request_counts_for_that_start),
        WORLD_TEST(removal_wants_the_name_and_ends_everything),
        WORLD_TEST(a_changed_secret_restarts_what_runs),
        WORLD_TEST(a_runtime_nobody_knows_needs_a_command),
        WORLD_TEST(a_store_fault_never_leaves_a_start_halfway),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
