/* The life of a workspace: every pair of status and event, and what an end is taken for. */
#include "core/lifecycle.h"

#include <stdio.h>

#include "unit.h"

#define S(name) WORKSPACE_##name
enum { NO = -1, STAYS = -2 };

/* One row per event, one column per status: where it leads, STAYS, or NO. Written out on purpose. */
static const struct {
    enum lifecycle_event event;
    int to[WORKSPACE_STATUS_COUNT]; /* in the order of enum workspace_status */
} table[] = {
    /* provisioning, online, offline, degraded, failed, paused, stopped, awaiting_agent, removed */
    {LIFECYCLE_START,
        {S(PROVISIONING), S(PROVISIONING), S(PROVISIONING), S(PROVISIONING), S(PROVISIONING),
            S(PROVISIONING), S(PROVISIONING), NO, NO}},
    {LIFECYCLE_REFUSE,
        {S(FAILED), S(FAILED), S(FAILED), S(FAILED), S(FAILED), S(FAILED), S(FAILED), NO, NO}},
    {LIFECYCLE_READY, {S(ONLINE), STAYS, NO, STAYS, NO, NO, NO, NO, NO}},
    {LIFECYCLE_REGISTER, {S(ONLINE), STAYS, S(ONLINE), S(ONLINE), NO, NO, NO, S(ONLINE), NO}},
    {LIFECYCLE_HEARTBEAT, {S(ONLINE), STAYS, S(ONLINE), STAYS, NO, NO, NO, S(ONLINE), NO}},
    {LIFECYCLE_DEGRADE, {NO, S(DEGRADED), NO, STAYS, NO, NO, NO, NO, NO}},
    {LIFECYCLE_RECOVER, {NO, STAYS, NO, S(ONLINE), NO, NO, NO, NO, NO}},
    {LIFECYCLE_MISS, {NO, S(OFFLINE), STAYS, S(OFFLINE), NO, NO, NO, NO, NO}},
    {LIFECYCLE_TIMEOUT, {S(FAILED), NO, NO, NO, NO, NO, NO, NO, NO}},
    {LIFECYCLE_END_AGAIN, {S(OFFLINE), S(OFFLINE), S(OFFLINE), S(OFFLINE), NO, NO, NO, NO, NO}},
    {LIFECYCLE_END_FAIL, {S(FAILED), S(FAILED), S(FAILED), S(FAILED), NO, NO, NO, NO, NO}},
    {LIFECYCLE_END_DONE, {S(STOPPED), S(STOPPED), S(STOPPED), S(STOPPED), NO, NO, NO, NO, NO}},
    {LIFECYCLE_STOP,
        {S(STOPPED), S(STOPPED), S(STOPPED), S(STOPPED), S(STOPPED), S(STOPPED), STAYS, S(STOPPED),
            NO}},
    {LIFECYCLE_PAUSE,
        {S(PAUSED), S(PAUSED), S(PAUSED), S(PAUSED), S(PAUSED), STAYS, S(PAUSED), S(PAUSED), NO}},
    {LIFECYCLE_AWAIT, {NO, NO, NO, NO, NO, S(AWAITING_AGENT), S(AWAITING_AGENT), STAYS, NO}},
    {LIFECYCLE_REMOVE,
        {S(REMOVED), S(REMOVED), S(REMOVED), S(REMOVED), S(REMOVED), S(REMOVED), S(REMOVED),
            S(REMOVED), NO}},
};

static void
every_pair_of_status_and_event_does_what_the_table_says(void **state)
{
    assert_int_equal(sizeof(table) / sizeof(table[0]), LIFECYCLE_EVENT_COUNT);
    for (size_t e = 0; e < LIFECYCLE_EVENT_COUNT; e++) {
        assert_int_equal(table[e].event, e);
        for (int from = 0; from < WORKSPACE_STATUS_COUNT; from++) {
            enum workspace_status next = WORKSPACE_STATUS_COUNT;
            enum lifecycle_effect got =
                lifecycle_next((enum workspace_status)from, table[e].event, &next);
            int to = table[e].to[from];
            enum lifecycle_effect wanted = to == NO ? LIFECYCLE_IMPOSSIBLE
                : to == STAYS                       ? LIFECYCLE_STAYS
                                                    : LIFECYCLE_MOVES;
            int status = to == NO ? WORKSPACE_STATUS_COUNT : to == STAYS ? from : to;

            if (got != wanted || (int)next != status) {
                fail_msg("%.*s when %.*s: effect %d, status %d",
                    STR_ARG(lifecycle_event_name(table[e].event)),
                    STR_ARG(workspace_status_name((enum workspace_status)from)), got, next);
            }
        }
    }
}

static void
every_event_is_told_by_a_name_of_its_own_kind(void **state)
{
    for (int e = 0; e < LIFECYCLE_EVENT_COUNT; e++) {
        assert_true(lifecycle_event_name((enum lifecycle_event)e).n > 0);
        assert_true(str_starts_with(lifecycle_told((enum lifecycle_event)e), STR("WORKSPACE_")));
    }
}

static void
every_name_comes_back(void **state)
{
    enum workspace_status s;
    enum workspace_desired d;
    enum workspace_readiness r;
    enum workspace_restart p;

    for (int i = 0; i < WORKSPACE_STATUS_COUNT; i++) {
        assert_true(
            workspace_status_from_name(workspace_status_name((enum workspace_status)i), &s));
        assert_int_equal(s, i);
    }
    for (int i = 0; i < WORKSPACE_DESIRED_COUNT; i++) {
        assert_true(
            workspace_desired_from_name(workspace_desired_name((enum workspace_desired)i), &d));
        assert_int_equal(d, i);
    }
    for (int i = 0; i < READINESS_COUNT; i++) {
        assert_true(workspace_readiness_from_name(
            workspace_readiness_name((enum workspace_readiness)i), &r));
        assert_int_equal(r, i);
    }
    for (int i = 0; i < RESTART_COUNT; i++) {
        assert_true(
            workspace_restart_from_name(workspace_restart_name((enum workspace_restart)i), &p));
        assert_int_equal(p, i);
    }
    assert_false(workspace_status_from_name(STR("hibernated"), &s));
    assert_true(workspace_restart_from_name(STR(""), &p) && p == RESTART_UNSET);
    assert_false(workspace_restart_from_name(STR("sometimes"), &p));
}

static void
an_end_is_judged_by_what_was_wanted_and_the_policy(void **state)
{
    static const struct {
        const char *name;
        struct lifecycle_end end; /* pause 1000, limit 5 */
        enum lifecycle_event event;
        int64_t restarts, delay_ms;
        bool loops;
    } cases[] = {
        {"stopped on purpose", {.desired = WORKSPACE_DESIRED_STOPPED, .exit_code = 143},
            LIFECYCLE_STOP, 0, 0, false},
        {"paused on purpose", {.desired = WORKSPACE_DESIRED_PAUSED, .exit_code = 143},
            LIFECYCLE_PAUSE, 0, 0, false},
        {"about to be removed", {.desired = WORKSPACE_DESIRED_REMOVED, .exit_code = 143},
            LIFECYCLE_STOP, 0, 0, false},
        {"a restart that was cut off", {.start_due = true, .exit_code = 143, .restarts = 3},
            LIFECYCLE_END_AGAIN, 3, 0, false},
        {"the same, never to be restarted by itself",
            {.start_due = true, .exit_code = 143, .policy = RESTART_NEVER}, LIFECYCLE_END_AGAIN, 0,
            0, false},
        {"the machine went down", {.lost = true}, LIFECYCLE_END_AGAIN, 0, 0, false},
        {"the same, never", {.lost = true, .policy = RESTART_NEVER}, LIFECYCLE_END_FAIL, 0, 0,
            false},
        {"never, but its start was cut off",
            {.lost = true, .starting = true, .policy = RESTART_NEVER}, LIFECYCLE_END_AGAIN, 0, 0,
            false},
        {"finished", {.exit_code = 0}, LIFECYCLE_END_DONE, 0, 0, false},
        {"finished, never", {.policy = RESTART_NEVER}, LIFECYCLE_END_DONE, 0, 0, false},
        {"finished, always", {.policy = RESTART_ALWAYS}, LIFECYCLE_END_AGAIN, 1, 1000, false},
        {"failed", {.exit_code = 3}, LIFECYCLE_END_AGAIN, 1, 1000, false},
        {"failed, never", {.exit_code = 3, .policy = RESTART_NEVER}, LIFECYCLE_END_FAIL, 0, 0,
            false},
        {"killed", {.exit_code = 137, .restarts = 1}, LIFECYCLE_END_AGAIN, 2, 2000, false},
        {"failed the fifth time", {.exit_code = 3, .restarts = 4}, LIFECYCLE_END_AGAIN, 5, 16000,
            false},
        {"failed once too often", {.exit_code = 3, .restarts = 5}, LIFECYCLE_END_FAIL, 5, 0, true},
        {"always, once too often", {.policy = RESTART_ALWAYS, .restarts = 5}, LIFECYCLE_END_FAIL, 5,
            0, true},
        {"failed after a minute", {.exit_code = 3, .restarts = 5, .ran_ms = 60000},
            LIFECYCLE_END_AGAIN, 1, 1000, false},
        {"failed just before", {.exit_code = 3, .restarts = 5, .ran_ms = 59999}, LIFECYCLE_END_FAIL,
            5, 0, true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lifecycle_end end = cases[i].end;
        struct lifecycle_verdict v;

        end.pause_ms = 1000;
        end.limit = 5;
        v = lifecycle_judge_end(&end);
        if (v.event != cases[i].event || v.restarts != cases[i].restarts ||
            v.delay_ms != cases[i].delay_ms || v.loops != cases[i].loops)
            fail_msg("%s: %.*s, restarts %lld, delay %lld", cases[i].name,
                STR_ARG(lifecycle_event_name(v.event)), (long long)v.restarts,
                (long long)v.delay_ms);
    }
}

static void
pauses_double_up_to_sixty_times_the_first(void **state)
{
    static const int64_t wanted[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        struct lifecycle_end end = {
            .exit_code = 1, .restarts = (int64_t)i, .pause_ms = 1000, .limit = 1000};

        assert_int_equal(lifecycle_judge_end(&end).delay_ms, wanted[i] * 1000);
    }
}

static void
errors_degrade_from_a_half_and_are_well_below_a_tenth(void **state)
{
    static const struct {
        int64_t per_mille;
        bool wedged, quiet;
        enum lifecycle_event verdict;
    } cases[] = {
        {500, false, true, LIFECYCLE_DEGRADE},
        {499, false, true, LIFECYCLE_HEARTBEAT},
        {0, true, false, LIFECYCLE_DEGRADE},
        {100, false, true, LIFECYCLE_HEARTBEAT},
        {99, false, true, LIFECYCLE_RECOVER},
        {0, false, false, LIFECYCLE_HEARTBEAT},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(
            lifecycle_judge_errors(cases[i].per_mille, cases[i].wedged, cases[i].quiet),
            cases[i].verdict);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_status_and_event_does_what_the_table_says),
        cmocka_unit_test(every_event_is_told_by_a_name_of_its_own_kind),
        cmocka_unit_test(every_name_comes_back),
        cmocka_unit_test(an_end_is_judged_by_what_was_wanted_and_the_policy),
        cmocka_unit_test(pauses_double_up_to_sixty_times_the_first),
        cmocka_unit_test(errors_degrade_from_a_half_and_are_well_below_a_tenth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
