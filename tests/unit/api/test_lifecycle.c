/* How workspaces live: ends and what follows from them, pauses, and what a new purserd finds. */
#include "world.h"

#include "api/agent.h"
#include "api/restart.h"
#include "store/impl.h"
#include "store/query.h"

#include "unit.h"

#include <pthread.h>

/* The launcher's report that the agent which runs has ended. */
static void
end_agent(struct world *w, int exit_code)
{
    struct launch_status st;

    stand_in.status.state = LAUNCH_EXITED;
    stand_in.status.exit_code = exit_code;
    stand_in.status.ended_ms = clock_ms();
    st = stand_in.status;
    api_agent_exited(w->api, stand_in.running, &st);
    api_agent_exited(w->api, stand_in.running, &st); /* reported twice, booked once */
}

static void
an_end_is_booked_by_its_exit_code(void **state)
{
    static const struct {
        int exit_code;
        const char *status, *desired;
    } cases[] = {{0, "stopped", "stopped"}, {3, "failed", "running"}, {137, "failed", "running"}};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char id[ID_TEXT_BYTES], fields[256];
        AUTO_ANSWER struct answer a = {0}, row = {0};
        AUTO(look_done) struct look seen = {0};
        struct launch_status old;

        snprintf(fields, sizeof(fields), "\"restart\":\"never\",%s", PLATFORM_MODEL);
        make_workspace(w, fields, id);
        a = ask(w, "POST", path_of(id, "/start"), NULL);
        assert_int_equal(a.status, 200);
        wait_status(w, id, "online");
        old = stand_in.status;
        old.start = id_new();
        old.state = LAUNCH_EXITED;
        old.exit_code = 9;
        api_agent_exited(w->api, stand_in.running, &old); /* a late report of an earlier start */
        row = ask(w, "GET", path_of(id, ""), NULL);
        assert_string_equal(answer_text(&row, "status"), "online");
        answer_done(&row);
        end_agent(w, cases[i].exit_code);
        row = ask(w, "GET", path_of(id, ""), NULL);
        assert_string_equal(answer_text(&row, "status"), cases[i].status);
        assert_string_equal(answer_text(&row, "desired"), cases[i].desired);
        seen = look(w, id);
        assert_int_equal(seen.live_tokens, 0);
        assert_int_equal(seen.events_n, 4); /* created, provisioning, online, its end */
    }
}

static void
a_failed_agent_is_started_again_until_it_fails_too_often(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer a = {0}, row = {0};
    AUTO(look_done) struct look seen = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    a = ask(w, "POST", path_of(id, "/start"), NULL);
    for (int starts = 1; starts <= 6; starts++) {
        wait_until(__atomic_load_n(&stand_in.launched, __ATOMIC_ACQUIRE) == starts);
        wait_status(w, id, "online");
        end_agent(w, 3);
    }
    row = ask(w, "GET", path_of(id, ""), NULL);
    assert_string_equal(answer_text(&row, "status"), "failed");
    assert_string_equal(
        json_string_value(json_object_get(json_object_get(row.json, "last_error"), "code")),
        "CRASH_LOOP");
    seen = look(w, id);
    assert_int_equal(seen.live_tokens, 0);
    assert_str(seen.events[seen.events_n - 1].type, "WORKSPACE_FAILED");
    assert_int_equal(seen.events_n, 1 + 6 * 3); /* created; provisioning, online, its end */
    assert_int_equal(stand_in.launched, 6);
}

/* A machine that went down took the agents, and what was meant to run is started with purserd. */
static void
what_was_meant_to_run_is_started_with_purserd(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], never[ID_TEXT_BYTES], stopped[ID_TEXT_BYTES], fields[256];
    AUTO_ANSWER struct answer a = {0}, b = {0};

    make_workspace(w, PLATFORM_MODEL, stopped);
    snprintf(fields, sizeof(fields), "\"restart\":\"never\",%s", PLATFORM_MODEL);
    make_workspace(w, fields, never);
    make_workspace(w, PLATFORM_MODEL, id);
    a = ask(w, "POST", path_of(never, "/start"), NULL);
    wait_status(w, never, "online");
    b = ask(w, "POST", path_of(id, "/start"), NULL);
    wait_status(w, id, "online");
    stand_in.running = (struct id){0};
    world_restart(w);
    wait_status(w, id, "online");
    wait_status(w, never, "failed");
    wait_status(w, stopped, "stopped");
    assert_int_equal(stand_in.launched, 3);
}

struct wish {
    struct id org, workspace;
    struct workspace_life life;
};

static enum err
wish_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct wish *w = ctx;

    return workspace_row_set_life(tx, w->org, w->workspace, &w->life, e);
}

/* purserd died when it had written down what is wanted, and before it came to do it. */
static void
what_was_wanted_is_done_by_the_next_purserd(void **state)
{
    static const struct {
        enum workspace_desired desired;
        bool start_due;
        const char *status; /* "": 410 */
        int launched;
    } cases[] = {
        {WORKSPACE_DESIRED_STOPPED, false, "stopped", 1},
        {WORKSPACE_DESIRED_PAUSED, false, "paused", 1},
        {WORKSPACE_DESIRED_REMOVED, false, "", 1},
        {WORKSPACE_DESIRED_RUNNING, true, "online", 2},
        {WORKSPACE_DESIRED_RUNNING, false, "online", 1},
    };
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct wish wish = {.life = {.desired = cases[i].desired, .status = WORKSPACE_ONLINE}};
        char id[ID_TEXT_BYTES];
        AUTO_ANSWER struct answer a = {0}, stop = {0};
        AUTO(look_done) struct look seen = {0};
        struct error e;

        make_workspace(w, PLATFORM_MODEL, id);
        a = ask(w, "POST", path_of(id, "/start"), NULL);
        wait_status(w, id, "online");
        stand_in.launched = 1;
        assert_true(id_parse(str_from_cstr(w->org), &wish.org));
        assert_true(id_parse(str_from_cstr(id), &wish.workspace));
        wish.life.start_due_ms = cases[i].start_due ? clock_ms() : 0;
        assert_int_equal(store_tx(w->store, wish_tx, &wish, &e), ERR_OK);
        world_restart(w);
        wait_until(__atomic_load_n(&stand_in.launched, __ATOMIC_ACQUIRE) == cases[i].launched);
        wait_status(w, id, cases[i].status);
        seen = look(w, id);
        assert_int_equal(seen.live_tokens, strcmp(cases[i].status, "online") == 0);
        stop = ask(w, "POST", path_of(id, "/stop"), NULL); /* the next round is another's */
        stand_in.running = (struct id){0};
    }
}

/* It is meant to run, the gateway comes a moment after us: no refusal, it is waited for. */
static void
an_automatic_start_waits_for_the_gateway(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES], body[128];
    AUTO_ANSWER struct answer a = {0}, token = {0}, ghost = {0};
    AUTO(look_done) struct look before = {0};
    AUTO(look_done) struct look after = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    a = ask(w, "POST", path_of(id, "/start"), NULL);
    wait_status(w, id, "online");
    stand_in.running = (struct id){0};
    stand_in.gateway_present = false;
    world_restart(w);
    wait_status(w, id, "offline");
    token = ask(w, "POST", path_of(id, "/tokens"), "{}");
    snprintf(body, sizeof(body), "{\"workspace_id\":\"%s\"}", id);
    ghost = ask_with(
        w, answer_text(&token, "auth_token"), NULL, NULL, "POST", "/registry/heartbeat", body);
    assert_answer(ghost, 409, "CONFLICT"); /* nothing runs that could have said this */
    wait_status(w, id, "offline");
    before = look(w, id);
    stand_in.gateway_present = true;
    wait_status(w, id, "online");
    after = look(w, id);
    assert_int_equal(after.events_n, before.events_n + 2); /* provisioning, online */
}

static void
a_pause_takes_those_below_along_and_a_resume_brings_them_back(void **state)
{
    struct world *w = *state;
    char top[ID_TEXT_BYTES], below[ID_TEXT_BYTES], idle[ID_TEXT_BYTES], fields[256];
    AUTO_ANSWER struct answer start = {0}, pause = {0}, twice = {0}, blocked = {0}, own = {0},
                              refused = {0}, resume = {0}, again = {0}, loop = {0}, late = {0};

    make_workspace(w, PLATFORM_MODEL, top);
    snprintf(fields, sizeof(fields), "\"parent_id\":\"%s\",%s", top, PLATFORM_MODEL);
    make_workspace(w, fields, below);
    make_workspace(w, fields, idle);
    start = ask(w, "POST", path_of(below, "/start"), NULL);
    wait_status(w, below, "online");
    pause = ask(w, "POST", path_of(top, "/pause"), NULL);
    assert_int_equal(pause.status, 200);
    assert_int_equal(json_integer_value(json_object_get(pause.json, "paused_count")), 2);
    wait_status(w, below, "paused");
    wait_status(w, idle, "stopped");
    twice = ask(w, "POST", path_of(top, "/pause"), NULL);
    assert_answer(twice, 404, "NOT_FOUND");
    blocked = ask(w, "POST", path_of(idle, "/start"), NULL);
    assert_answer(blocked, 409, "CONFLICT");
    assert_non_null(strstr(answer_text(&blocked, "error"), "parent workspace \"w1\" is paused"));
    snprintf(fields, sizeof(fields), "{\"name\":\"late\",\"parent_id\":\"%s\",%s}", idle,
        PLATFORM_MODEL);
    late = ask(w, "POST", "/workspaces", fields);
    assert_answer(late, 409, "CONFLICT");
    own = ask(w, "POST", path_of(top, "/start"), NULL);
    assert_answer(own, 409, "CONFLICT");
    refused = ask(w, "POST", path_of(below, "/resume"), NULL);
    assert_answer(refused, 409, "CONFLICT");
    resume = ask(w, "POST", path_of(top, "/resume"), NULL);
    assert_int_equal(resume.status, 200);
    assert_int_equal(json_integer_value(json_object_get(resume.json, "resumed_count")), 2);
    again = ask(w, "POST", path_of(top, "/resume"), NULL);
    assert_answer(again, 404, "NOT_FOUND");
    wait_status(w, idle, "stopped");
    snprintf(fields, sizeof(fields), "{\"parent_id\":\"%s\"}", below);
    loop = ask(w, "PATCH", path_of(top, ""), fields);
    assert_answer(loop, 400, "INVALID_REQUEST");
}

/* What somebody else, another node say, writes into the row just then. */
static struct {
    struct world *world;
    char id[ID_TEXT_BYTES];
    struct workspace_life life;
} meanwhile;

static enum err
given_up_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO nodes (id, created_ms, last_seen_ms) VALUES "
        "('00000000-0000-7000-8000-000000000001', 0, 0)");
    enum err code = query_run(&q, e);

    if (code != ERR_OK)
        return code;
    q = query_start(tx, "UPDATE workspaces SET node_id = '00000000-0000-7000-8000-000000000001'");
    return query_run(&q, e);
}

static void
write_meanwhile(void)
{
    struct wish wish = {.life = meanwhile.life};
    struct error e;

    assert_true(id_parse(str_from_cstr(meanwhile.world->org), &wish.org));
    assert_true(id_parse(str_from_cstr(meanwhile.id), &wish.workspace));
    assert_int_equal(store_tx(meanwhile.world->store, wish_tx, &wish, &e), ERR_OK);
}

static void
write_then(
    struct world *w, const char *id, enum workspace_desired desired, enum workspace_status status)
{
    meanwhile.world = w;
    snprintf(meanwhile.id, sizeof(meanwhile.id), "%s", id);
    meanwhile.life = (struct workspace_life){.desired = desired, .status = status};
}

static void
a_pause_that_comes_while_a_start_is_planned_holds(void **state)
{
    struct world *w = *state;
    char top[ID_TEXT_BYTES], below[ID_TEXT_BYTES], fields[256];

    make_workspace(w, PLATFORM_MODEL, top);
    snprintf(fields, sizeof(fields), "\"parent_id\":\"%s\",%s", top, PLATFORM_MODEL);
    make_workspace(w, fields, below);
    for (int of_itself = 0; of_itself <= 1; of_itself++) {
        AUTO_ANSWER struct answer start = {0};
        AUTO(look_done) struct look seen = {0};

        write_then(w, of_itself ? below : top, WORKSPACE_DESIRED_PAUSED, WORKSPACE_PAUSED);
        stand_in.on_plan = write_meanwhile;
        start = ask(w, "POST", path_of(below, "/start"), NULL);
        assert_answer(start, 409, "CONFLICT");
        assert_int_equal(stand_in.launched, 0);
        seen = look(w, below);
        assert_int_equal(seen.live_tokens, 0);
        write_then(w, top, WORKSPACE_DESIRED_STOPPED, WORKSPACE_STOPPED);
        write_meanwhile();
    }
}

/* As when this machine slept so long that it was given up, and wakes in the middle of a start. */
static void
give_this_node_up(void)
{
    static struct db_driver shared;
    struct store *store = meanwhile.world->store;

    shared = *store->driver;
    shared.listen_sql = "";
    store->driver = &shared;
    assert_int_equal(store_tx(store, given_up_tx, NULL, &(struct error){0}), ERR_OK);
}

static void
a_start_on_a_node_that_was_given_up_meanwhile_is_none(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer start = {0};
    AUTO(look_done) struct look seen = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    meanwhile.world = w;
    stand_in.on_plan = give_this_node_up;
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    assert_answer(start, 409, "CONFLICT");
    assert_int_equal(stand_in.launched, 0);
    seen = look(w, id);
    assert_int_equal(seen.live_tokens, 0);
}

static unsigned live_when_forgotten;

static void *
look_main(void *unused)
{
    AUTO(look_done) struct look seen = look(meanwhile.world, meanwhile.id);

    live_when_forgotten = (unsigned)seen.live_tokens;
    return NULL;
}

/* From a thread of its own: ours is in its transaction. */
static void
look_meanwhile(void)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, look_main, NULL), 0);
    pthread_join(thread, NULL);
}

/* Who finds it revoked in the store, a stop that comes upon an end say, answers at once. */
static void
the_gateway_forgets_a_token_before_the_store_does(void **state)
{
    struct world *w = *state;

    make_workspace(w, PLATFORM_MODEL, meanwhile.id);
    meanwhile.world = w;
    for (int by_itself = 0; by_itself <= 1; by_itself++) {
        AUTO_ANSWER struct answer start = ask(w, "POST", path_of(meanwhile.id, "/start"), NULL);
        AUTO_ANSWER struct answer stop = {0};
        AUTO(look_done) struct look seen = {0};

        assert_int_equal(start.status, 200);
        wait_status(w, meanwhile.id, "online");
        live_when_forgotten = 0;
        stand_in.on_revoke = look_meanwhile;
        if (by_itself)
            end_agent(w, 0);
        else
            stop = ask(w, "POST", path_of(meanwhile.id, "/stop"), NULL);
        seen = look(w, meanwhile.id);
        assert_int_equal(seen.live_tokens, 0);
        assert_true(live_when_forgotten > 0);
    }
}

static void
a_pause_takes_along_who_was_started_meanwhile(void **state)
{
    struct world *w = *state;
    char top[ID_TEXT_BYTES], below[ID_TEXT_BYTES], fields[256];
    AUTO_ANSWER struct answer pause = {0};

    make_workspace(w, PLATFORM_MODEL, top);
    snprintf(fields, sizeof(fields), "\"parent_id\":\"%s\",%s", top, PLATFORM_MODEL);
    make_workspace(w, fields, below);
    write_then(w, below, WORKSPACE_DESIRED_RUNNING, WORKSPACE_ONLINE);
    stand_in.on_stop = write_meanwhile;
    pause = ask(w, "POST", path_of(top, "/pause"), NULL);
    assert_int_equal(pause.status, 200);
    assert_int_equal(json_integer_value(json_object_get(pause.json, "paused_count")), 2);
    wait_status(w, below, "paused");
}

/* Another node is asked to stop what we restart, or take down with us. */
static void
a_stop_that_comes_meanwhile_is_not_undone(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    AUTO_ANSWER struct answer start = {0}, restart = {0}, row = {0};
    struct id org, workspace;
    struct error e;

    make_workspace(w, PLATFORM_MODEL, id);
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    wait_status(w, id, "online");
    write_then(w, id, WORKSPACE_DESIRED_PAUSED, WORKSPACE_ONLINE);
    stand_in.on_stop = write_meanwhile;
    restart = ask(w, "POST", path_of(id, "/restart"), NULL);
    assert_answer(restart, 409, "CONFLICT");
    row = ask(w, "GET", path_of(id, ""), NULL);
    assert_string_equal(answer_text(&row, "desired"), "paused");
    write_then(w, id, WORKSPACE_DESIRED_STOPPED, WORKSPACE_ONLINE);
    stand_in.on_stop = write_meanwhile;
    assert_true(id_parse(str_from_cstr(w->org), &org));
    assert_true(id_parse(str_from_cstr(id), &workspace));
    assert_int_equal(agent_drain(w->api, org, workspace, &e), ERR_OK);
    answer_done(&row);
    row = ask(w, "GET", path_of(id, ""), NULL);
    assert_string_equal(answer_text(&row, "desired"), "stopped");
}

static void
a_restart_that_is_due_outlives_an_outage_of_the_store(void **state)
{
    struct world *w = *state;
    char id[ID_TEXT_BYTES];
    struct later_entry due = {.kind = LATER_RESTART};
    AUTO_ANSWER struct answer start = {0};

    make_workspace(w, PLATFORM_MODEL, id);
    start = ask(w, "POST", path_of(id, "/start"), NULL);
    wait_status(w, id, "online");
    assert_true(id_parse(str_from_cstr(w->org), &due.org));
    assert_true(id_parse(str_from_cstr(id), &due.workspace));
    due.asked_ms = clock_ms();
    store_fault_set(w->store, 1);
    restart_due(w->api, &due);
    store_fault_set(w->store, 0);
    assert_int_equal(stand_in.launched, 1);
    wait_until(__atomic_load_n(&stand_in.launched, __ATOMIC_ACQUIRE) == 2);
}

int
main(void)
{
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)
    const struct CMUnitTest tests[] = {
        WORLD_TEST(an_end_is_booked_by_its_exit_code),
        WORLD_TEST(a_failed_agent_is_started_again_until_it_fails_too_often),
        WORLD_TEST(what_was_meant_to_run_is_started_with_purserd),
        WORLD_TEST(what_was_wanted_is_done_by_the_next_purserd),
        WORLD_TEST(an_automatic_start_waits_for_the_gateway),
        WORLD_TEST(a_pause_takes_those_below_along_and_a_resume_brings_them_back),
        WORLD_TEST(a_pause_that_comes_while_a_start_is_planned_holds),
        WORLD_TEST(a_start_on_a_node_that_was_given_up_meanwhile_is_none),
        WORLD_TEST(the_gateway_forgets_a_token_before_the_store_does),
        WORLD_TEST(a_pause_takes_along_who_was_started_meanwhile),
        WORLD_TEST(a_stop_that_comes_meanwhile_is_not_undone),
        WORLD_TEST(a_restart_that_is_due_outlives_an_outage_of_the_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
