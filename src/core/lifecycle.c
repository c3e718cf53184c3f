#include "core/lifecycle.h"

#define BIT(status) (1U << WORKSPACE_##status)
#define UP (BIT(PROVISIONING) | BIT(ONLINE) | BIT(DEGRADED) | BIT(OFFLINE))
#define DOWN (BIT(FAILED) | BIT(PAUSED) | BIT(STOPPED))
#define LIVING (UP | DOWN | BIT(AWAITING_AGENT))

struct transition {
    struct str name;
    unsigned from;  /* it moves these */
    unsigned stays; /* these need no move */
    enum workspace_status to;
    struct str told;
};

static const struct transition table[LIFECYCLE_EVENT_COUNT] = {
    [LIFECYCLE_START] = {STR_INIT("start"), UP | DOWN, 0, WORKSPACE_PROVISIONING,
        STR_INIT("WORKSPACE_PROVISIONING")},
    [LIFECYCLE_REFUSE] = {STR_INIT("refuse"), UP | DOWN, 0, WORKSPACE_FAILED,
        STR_INIT("WORKSPACE_PROVISION_FAILED")},
    [LIFECYCLE_READY] = {STR_INIT("ready"), BIT(PROVISIONING), BIT(ONLINE) | BIT(DEGRADED),
        WORKSPACE_ONLINE, STR_INIT("WORKSPACE_ONLINE")},
    [LIFECYCLE_REGISTER] = {STR_INIT("register"),
        BIT(PROVISIONING) | BIT(DEGRADED) | BIT(OFFLINE) | BIT(AWAITING_AGENT), BIT(ONLINE),
        WORKSPACE_ONLINE, STR_INIT("WORKSPACE_ONLINE")},
    [LIFECYCLE_HEARTBEAT] = {STR_INIT("heartbeat"),
        BIT(PROVISIONING) | BIT(OFFLINE) | BIT(AWAITING_AGENT), BIT(ONLINE) | BIT(DEGRADED),
        WORKSPACE_ONLINE, STR_INIT("WORKSPACE_ONLINE")},
    [LIFECYCLE_DEGRADE] = {STR_INIT("degrade"), BIT(ONLINE), BIT(DEGRADED), WORKSPACE_DEGRADED,
        STR_INIT("WORKSPACE_DEGRADED")},
    [LIFECYCLE_RECOVER] = {STR_INIT("recover"), BIT(DEGRADED), BIT(ONLINE), WORKSPACE_ONLINE,
        STR_INIT("WORKSPACE_ONLINE")},
    [LIFECYCLE_MISS] = {STR_INIT("miss"), BIT(ONLINE) | BIT(DEGRADED), BIT(OFFLINE),
        WORKSPACE_OFFLINE, STR_INIT("WORKSPACE_OFFLINE")},
    [LIFECYCLE_TIMEOUT] = {STR_INIT("timeout"), BIT(PROVISIONING), 0, WORKSPACE_FAILED,
        STR_INIT("WORKSPACE_PROVISION_FAILED")},
    [LIFECYCLE_END_AGAIN] = {STR_INIT("end-again"), UP, 0, WORKSPACE_OFFLINE,
        STR_INIT("WORKSPACE_OFFLINE")},
    [LIFECYCLE_END_FAIL] = {STR_INIT("end-fail"), UP, 0, WORKSPACE_FAILED,
        STR_INIT("WORKSPACE_FAILED")},
    [LIFECYCLE_END_DONE] = {STR_INIT("end-done"), UP, 0, WORKSPACE_STOPPED,
        STR_INIT("WORKSPACE_STOPPED")},
    [LIFECYCLE_STOP] = {STR_INIT("stop"), LIVING & ~BIT(STOPPED), BIT(STOPPED), WORKSPACE_STOPPED,
        STR_INIT("WORKSPACE_STOPPED")},
    [LIFECYCLE_PAUSE] = {STR_INIT("pause"), LIVING & ~BIT(PAUSED), BIT(PAUSED), WORKSPACE_PAUSED,
        STR_INIT("WORKSPACE_PAUSED")},
    [LIFECYCLE_AWAIT] = {STR_INIT("await"), BIT(PAUSED) | BIT(STOPPED), BIT(AWAITING_AGENT),
        WORKSPACE_AWAITING_AGENT, STR_INIT("WORKSPACE_AWAITING_AGENT")},
    [LIFECYCLE_REMOVE] = {STR_INIT("remove"), LIVING, 0, WORKSPACE_REMOVED,
        STR_INIT("WORKSPACE_REMOVED")},
};

enum lifecycle_effect
lifecycle_next(enum workspace_status from, enum lifecycle_event event, enum workspace_status *ret)
{
    const struct transition *t = &table[event];

    if ((t->from & 1U << from) != 0) {
        *ret = t->to;
        return LIFECYCLE_MOVES;
    }
    if ((t->stays & 1U << from) == 0)
        return LIFECYCLE_IMPOSSIBLE;
    *ret = from;
    return LIFECYCLE_STAYS;
}

struct str
lifecycle_event_name(enum lifecycle_event e)
{
    return table[e].name;
}

struct str
lifecycle_told(enum lifecycle_event e)
{
    return table[e].told;
}

enum { STEADY_PAUSES = 60 };

static int64_t
pause_before(const struct lifecycle_end *end, int64_t restarts)
{
    int64_t longest = end->pause_ms * STEADY_PAUSES;
    int64_t pause = end->pause_ms;

    for (int64_t i = 1; i < restarts && pause < longest; i++)
        pause *= 2;
    return pause < longest ? pause : longest;
}

struct lifecycle_verdict
lifecycle_judge_end(const struct lifecycle_end *end)
{
    struct lifecycle_verdict v = {.event = LIFECYCLE_END_AGAIN, .restarts = end->restarts};
    bool done = !end->lost && end->exit_code == 0;

    if (end->desired != WORKSPACE_DESIRED_RUNNING) {
        v.event = end->desired == WORKSPACE_DESIRED_PAUSED ? LIFECYCLE_PAUSE : LIFECYCLE_STOP;
        return v;
    }
    if (end->start_due || (end->lost && (end->starting || end->policy != RESTART_NEVER)))
        return v;
    if (done && end->policy != RESTART_ALWAYS) {
        v.event = LIFECYCLE_END_DONE;
        return v;
    }
    if (end->policy == RESTART_NEVER) {
        v.event = LIFECYCLE_END_FAIL;
        return v;
    }
    if (end->ran_ms >= end->pause_ms * STEADY_PAUSES)
        v.restarts = 0;
    if (v.restarts >= end->limit) {
        v.event = LIFECYCLE_END_FAIL;
        v.loops = true;
        return v;
    }
    v.restarts++;
    v.delay_ms = pause_before(end, v.restarts);
    return v;
}

enum lifecycle_event
lifecycle_judge_errors(int64_t errors_per_mille, bool wedged, bool quiet)
{
    if (wedged || errors_per_mille >= LIFECYCLE_DEGRADED_PER_MILLE)
        return LIFECYCLE_DEGRADE;
    if (quiet && errors_per_mille < LIFECYCLE_WELL_PER_MILLE)
        return LIFECYCLE_RECOVER;
    return LIFECYCLE_HEARTBEAT;
}

static const struct str desired_names[WORKSPACE_DESIRED_COUNT] = {
    [WORKSPACE_DESIRED_RUNNING] = STR_INIT("running"),
    [WORKSPACE_DESIRED_STOPPED] = STR_INIT("stopped"),
    [WORKSPACE_DESIRED_PAUSED] = STR_INIT("paused"),
    [WORKSPACE_DESIRED_REMOVED] = STR_INIT("removed"),
};

static const struct str status_names[WORKSPACE_STATUS_COUNT] = {
    [WORKSPACE_PROVISIONING] = STR_INIT("provisioning"),
    [WORKSPACE_ONLINE] = STR_INIT("online"),
    [WORKSPACE_OFFLINE] = STR_INIT("offline"),
    [WORKSPACE_DEGRADED] = STR_INIT("degraded"),
    [WORKSPACE_FAILED] = STR_INIT("failed"),
    [WORKSPACE_PAUSED] = STR_INIT("paused"),
    [WORKSPACE_STOPPED] = STR_INIT("stopped"),
    [WORKSPACE_AWAITING_AGENT] = STR_INIT("awaiting_agent"),
    [WORKSPACE_REMOVED] = STR_INIT("removed"),
};

static const struct str readiness_names[READINESS_COUNT] = {
    [READINESS_UNSET] = STR_INIT(""),
    [READINESS_PROCESS] = STR_INIT("process"),
    [READINESS_REGISTER] = STR_INIT("register"),
};

static const struct str restart_names[RESTART_COUNT] = {
    [RESTART_UNSET] = STR_INIT(""),
    [RESTART_ON_FAILURE] = STR_INIT("on-failure"),
    [RESTART_NEVER] = STR_INIT("never"),
    [RESTART_ALWAYS] = STR_INIT("always"),
};

/* The number of the name; n when it is none of them. */
static int
find_name(const struct str *names, int n, struct str name)
{
    int i = 0;

    while (i < n && !str_equal(names[i], name))
        i++;
    return i;
}

/* name_of and from_name of one enum, from its table of names. */
#define NAMES(kind, names, count)                                                                  \
    struct str kind##_name(enum kind v)                                                            \
    {                                                                                              \
        return names[v];                                                                           \
    }                                                                                              \
    bool kind##_from_name(struct str name, enum kind *ret)                                         \
    {                                                                                              \
        int i = find_name(names, count, name);                                                     \
        if (i == (count))                                                                          \
            return false;                                                                          \
        *ret = (enum kind)i;                                                                       \
        return true;                                                                               \
    }

NAMES(workspace_desired, desired_names, WORKSPACE_DESIRED_COUNT)
NAMES(workspace_status, status_names, WORKSPACE_STATUS_COUNT)
NAMES(workspace_readiness, readiness_names, READINESS_COUNT)
NAMES(workspace_restart, restart_names, RESTART_COUNT)

struct lifecycle_care
lifecycle_care_of(const struct lifecycle_care *own, const struct lifecycle_care *hint,
    const struct lifecycle_care *otherwise)
{
    const struct lifecycle_care *order[] = {own, hint, otherwise};
    struct lifecycle_care care = {0};

    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        if (care.readiness == READINESS_UNSET)
            care.readiness = order[i]->readiness;
        if (care.restart == RESTART_UNSET)
            care.restart = order[i]->restart;
        if (care.start_timeout_ms == 0)
            care.start_timeout_ms = order[i]->start_timeout_ms;
    }
    return care;
}
