/*
 * Agents' starts and ends: gather -> decide -> plan -> record -> mint -> launch, and what must be
 * undone when a later step fails. The tokens of a start end with it, whatever ends it.
 * Statuses change through api/move.h only.
 *
 *   agent.c          stop, restart, pause, removal; the lock that keeps actions apart
 *   agent_start.c    starts
 *   agent_end.c      ends, and which start is the current one
 *   agent_tend.c     what is due in between: readiness, time-outs, silence, automatic starts
 *   agent_recover.c  purserd finds its agents again
 */
#ifndef API_AGENT_H
#define API_AGENT_H

#include "api/gather.h"
#include "api/later.h"

struct agent_request {
    enum gather_caller caller; /* GATHER_START or GATHER_RESTART */
    struct id org;
    struct id workspace;
    struct str model; /* of this start alone; empty: none */
    bool resumes;     /* a paused one may be started */
    /*
     * Nobody asked for it just now: only what is still meant to run is started, the count of starts
     * in a row goes on, and a gateway that is not there yet, shortly after our own start, is waited
     * for (ERR_MISSING_PLATFORM_PROXY, with nothing booked).
     */
    bool automatic;
    int64_t changed_ms; /* 0, or: not needed by what was started, or failed, after that */
};

/*
 * Starts the workspace's agent: it is then provisioning. A refusal is its code
 * (ERR_MISSING_BYOK_CREDENTIAL ...) with a sentence that names the way out; the row is then failed,
 * with an event and a decision record. ERR_CONFLICT: it runs already, or it or one above it is
 * paused.
 */
enum err agent_start(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/* The same for who holds the workspace's lock (api_workspace_lock). */
enum err agent_start_locked(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/*
 * ERR_CONFLICT when it, or one above it, is paused (the sentence names who must be resumed first);
 * or, for an automatic start, when it is not meant to be started any more.
 */
enum err agent_may_start(
    struct api *a, struct arena *arena, const struct agent_request *q, struct error *e) MUST_CHECK;
/* The same within the transaction that counts on it. */
enum err agent_may_start_tx(struct store_tx *tx, struct arena *arena, const struct agent_request *q,
    struct error *e) MUST_CHECK;
/* Stops it (if it runs) and ends its usage token. desired and status become stopped. */
enum err agent_stop(struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;
/* The same, but paused. */
enum err agent_pause(struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;
/* Stops it because we stop: it stays meant to run, and is started when purserd is. */
enum err agent_drain(struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;
/* Stop and start as one: nobody gets in between. */
enum err agent_restart(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/* Stops it for good: then the row, its secrets and tokens go. */
enum err agent_remove(
    struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;

/*
 * What runs is not what is wanted, since we, or a purserd before us, did not get to the end of it:
 * brings it about, as the row says it by then. ERR_GONE: it is removed.
 */
enum err agent_settle(
    struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;

/* The launcher says that an agent ended. Any thread; may come more than once for one end. */
void agent_ended(struct api *a, struct id workspace, const struct launch_status *status);
/*
 * Books an end (status NULL: it was found gone) as core/lifecycle judges it, and has it started
 * again if so.
 */
enum err agent_end_book(struct api *a, struct id workspace, const struct launch_status *status,
    struct error *e) MUST_CHECK;
/* When purserd starts: rows, usage tokens and the gateway's policy follow what really runs. */
enum err agent_recover(struct api *a, struct error *e) MUST_CHECK;
/* The same for workspaces that were another node's, which is gone. */
enum err agent_take_over(
    struct api *a, const struct id *moved, size_t n, struct error *e) MUST_CHECK;

/* Is this an automatic start shortly after our own, when the gateway may not be there yet? */
bool agent_is_patient(struct api *a, const struct agent_request *q);
/* agent_start or agent_restart with a registry and an arena of its own, logged with why. */
typedef enum err agent_start_fn(struct api *a, const struct api_registry *registry,
    struct arena *arena, const struct agent_request *q, struct error *e);
void agent_act_later(
    struct api *a, const struct agent_request *q, agent_start_fn *act, const char *why);
/* After a launch: the reminders that belong to a start. */
void agent_tend(struct api *a, const struct workspace_row *w, struct id start, int64_t ran_ms);
later_fn agent_start_due, agent_ready_due, agent_timeout_due, agent_settle_due, agent_sweep_due;
/* Starts the sweep. */
void agent_sweep_begin(struct api *a);

/* Which start of a workspace is the current one, so that a late report of an older one is told
 * apart. */
void agent_run_set(struct api *a, struct id workspace, struct id start);
bool agent_run_is_stale(struct api *a, struct id workspace, struct id start);
void agent_runs_free(struct api *a);
/* From the launcher: there is an agent, or about to be. */
bool agent_runs(struct api *a, struct id workspace);

/*
 * Revokes the tokens that are bound to a start of a workspace: to one, or (start zero) to any. The
 * gateway forgets them before the store does: whoever finds them revoked may answer at once. So this
 * comes last in a transaction that may fail while the agent still runs.
 */
enum err agent_tokens_revoke_tx(struct api *a, struct store_tx *tx, struct arena *arena,
    struct id org, struct id workspace, struct id start, struct error *e) MUST_CHECK;

#endif
