/*
 * The life of a workspace: what was asked for (desired), what was seen (status), and the one table
 * of what may follow what. Every change of a status is an event of this table, made by
 * api/move.c; a pair that is not in it is an error of whoever asks, never a silent overwrite.
 */
#ifndef CORE_LIFECYCLE_H
#define CORE_LIFECYCLE_H

#include "core/str.h"

enum workspace_desired {
    WORKSPACE_DESIRED_RUNNING,
    WORKSPACE_DESIRED_STOPPED,
    WORKSPACE_DESIRED_PAUSED,
    WORKSPACE_DESIRED_REMOVED,
    WORKSPACE_DESIRED_COUNT
};

enum workspace_status {
    WORKSPACE_PROVISIONING,   /* a start is under way */
    WORKSPACE_ONLINE,         /* it is ready */
    WORKSPACE_OFFLINE,        /* not heard of, or ended and about to be started again */
    WORKSPACE_DEGRADED,       /* it runs, and reports too many errors */
    WORKSPACE_FAILED,         /* nothing runs until somebody does something; last_error says why */
    WORKSPACE_PAUSED,         /* nothing runs until it, or who stands above it, is resumed */
    WORKSPACE_STOPPED,        /* nothing runs */
    WORKSPACE_AWAITING_AGENT, /* its agent runs elsewhere and has not come yet */
    WORKSPACE_REMOVED,        /* a tombstone */
    WORKSPACE_STATUS_COUNT
};

/*
 * When a start counts as ready: its process has lived for a second, or it has registered. UNSET, an
 * empty name: the next one decides, of workspace, runtime and ourselves.
 */
enum workspace_readiness {
    READINESS_UNSET,
    READINESS_PROCESS,
    READINESS_REGISTER,
    READINESS_COUNT
};
/* After which ends an agent is started again. */
enum workspace_restart {
    RESTART_UNSET,
    RESTART_ON_FAILURE,
    RESTART_NEVER,
    RESTART_ALWAYS,
    RESTART_COUNT
};

/* How an agent is looked after. */
struct lifecycle_care {
    enum workspace_readiness readiness;
    enum workspace_restart restart;
    int64_t start_timeout_ms; /* 0: unset */
};

/* What own leaves unset comes from hint, and then from otherwise. */
struct lifecycle_care lifecycle_care_of(const struct lifecycle_care *own,
    const struct lifecycle_care *hint, const struct lifecycle_care *otherwise);

struct str workspace_desired_name(enum workspace_desired d); /* "running" ... */
struct str workspace_status_name(enum workspace_status s);   /* "awaiting_agent" ... */
struct str workspace_readiness_name(enum workspace_readiness r);
struct str workspace_restart_name(enum workspace_restart r); /* "on-failure" ... */
bool workspace_desired_from_name(struct str name, enum workspace_desired *ret);
bool workspace_status_from_name(struct str name, enum workspace_status *ret);
bool workspace_readiness_from_name(struct str name, enum workspace_readiness *ret);
bool workspace_restart_from_name(struct str name, enum workspace_restart *ret);

/* What may happen to a workspace. */
enum lifecycle_event {
    LIFECYCLE_START,     /* a start was decided and written down */
    LIFECYCLE_REFUSE,    /* a start was refused, or could not be made */
    LIFECYCLE_READY,     /* its process lives long enough */
    LIFECYCLE_REGISTER,  /* its agent has registered */
    LIFECYCLE_HEARTBEAT, /* its agent was heard */
    LIFECYCLE_DEGRADE,   /* it reports that it is stuck, or too many errors */
    LIFECYCLE_RECOVER,   /* it reports that it is well */
    LIFECYCLE_MISS,      /* it was not heard for too long */
    LIFECYCLE_TIMEOUT,   /* its start took too long */
    LIFECYCLE_END_AGAIN, /* it ended, and is to be started again */
    LIFECYCLE_END_FAIL,  /* it ended, and stays down with a reason */
    LIFECYCLE_END_DONE,  /* it ended as it should */
    LIFECYCLE_STOP,      /* it was stopped */
    LIFECYCLE_PAUSE,     /* it was paused */
    LIFECYCLE_AWAIT,     /* its agent, which runs elsewhere, may come (again) */
    LIFECYCLE_REMOVE,    /* it was removed */
    LIFECYCLE_EVENT_COUNT
};

enum lifecycle_effect {
    LIFECYCLE_MOVES,      /* *ret is the new status; it is told, even when it is the old one */
    LIFECYCLE_STAYS,      /* as it should be already: nothing changes, nothing is told */
    LIFECYCLE_IMPOSSIBLE, /* this cannot happen to a workspace in that status */
};

/* The only place that knows. *ret is set unless it is impossible. */
enum lifecycle_effect lifecycle_next(
    enum workspace_status from, enum lifecycle_event event, enum workspace_status *ret);
struct str lifecycle_event_name(enum lifecycle_event e); /* "heartbeat", for logs and errors */
/* What followers are told: "WORKSPACE_ONLINE", "WORKSPACE_PROVISION_FAILED" ... */
struct str lifecycle_told(enum lifecycle_event e);

/* Is there, or is there about to be, an agent of ours? */
static inline bool
workspace_status_is_up(enum workspace_status s)
{
    return s == WORKSPACE_PROVISIONING || s == WORKSPACE_ONLINE || s == WORKSPACE_DEGRADED ||
        s == WORKSPACE_OFFLINE;
}

/* An agent's end, as far as it is known. Times in milliseconds. */
struct lifecycle_end {
    enum workspace_desired desired;
    enum workspace_restart policy; /* unset: on-failure */
    bool start_due;   /* it was ended in order to be started anew, or purser's own end took it */
    bool lost;        /* nobody knows how it ended: the machine went down, say */
    bool starting;    /* its start was still under way */
    int exit_code;    /* unless lost */
    int64_t ran_ms;   /* how long it had run */
    int64_t restarts; /* how often it was started again in a row */
    int64_t pause_ms; /* before the first start after an end; doubled each time, at most 60 times
                          as long. A run of 60 times as long ends the row */
    int64_t limit;    /* so many starts in a row, then it failed */
};

struct lifecycle_verdict {
    enum lifecycle_event event;
    int64_t restarts; /* from now on */
    int64_t delay_ms; /* LIFECYCLE_END_AGAIN: start it after so long */
    bool loops;       /* LIFECYCLE_END_FAIL: it ended too often in a row */
};

struct lifecycle_verdict lifecycle_judge_end(const struct lifecycle_end *end);

/* What a heartbeat's figures mean for one that is online or degraded. */
enum { LIFECYCLE_DEGRADED_PER_MILLE = 500, LIFECYCLE_WELL_PER_MILLE = 100 };
/* wedged: it says so itself. quiet: it says nothing of a state. LIFECYCLE_HEARTBEAT: no change. */
enum lifecycle_event lifecycle_judge_errors(int64_t errors_per_mille, bool wedged, bool quiet);

#endif
