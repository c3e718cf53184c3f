/*
 * Agents' starts and ends: gather -> decide -> plan -> record -> mint -> launch, and what must be
 * undone when a later step fails. The usage token of a start ends with it, whatever ends it.
 */
#ifndef API_AGENT_H
#define API_AGENT_H

#include "api/gather.h"

struct agent_request {
    enum gather_caller caller; /* GATHER_START or GATHER_RESTART */
    struct id org;
    struct id workspace;
    struct str model; /* of this start alone; empty: none */
};

/*
 * Starts the workspace's agent. A refusal is its code (ERR_MISSING_BYOK_CREDENTIAL ...) with a
 * sentence that names the way out; the row is then failed, with an event and a decision record.
 * ERR_CONFLICT: it runs already.
 */
enum err agent_start(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/* The same for who holds the workspace's lock (api_workspace_lock). */
enum err agent_start_locked(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/* Stops it (if it runs) and ends its usage token. desired and status become stopped. */
enum err agent_stop(struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;
/* Stop and start as one: nobody gets in between. */
enum err agent_restart(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e) MUST_CHECK;
/* Stops it for good: then the row, its secrets and tokens go. */
enum err agent_remove(
    struct api *a, struct id org, struct id workspace, struct error *e) MUST_CHECK;

/* The launcher says that an agent ended. Any thread; may come more than once for one end. */
void agent_ended(struct api *a, struct id workspace, const struct launch_status *status);
/* When purserd starts: rows, usage tokens and the gateway's policy follow what really runs. */
enum err agent_recover(struct api *a, struct error *e) MUST_CHECK;

/* Which start of a workspace is the current one, so that a late report of an older one is told
 * apart. */
void agent_run_set(struct api *a, struct id workspace, struct id start);
bool agent_run_is_stale(struct api *a, struct id workspace, struct id start);
void agent_runs_free(struct api *a);

/* Revokes start-bound usage tokens of a workspace: of one start, or (start zero) of all. */
struct agent_revoked {
    struct token_row *tokens;
    size_t n;
};
enum err agent_tokens_revoke_tx(struct store_tx *tx, struct arena *arena, struct id org,
    struct id workspace, struct id start, struct agent_revoked *ret, struct error *e) MUST_CHECK;
/* Tells the gateway, after the transaction is through. */
void agent_tokens_revoked(struct api *a, const struct agent_revoked *r);

#endif
