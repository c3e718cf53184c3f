/* Stops, restarts and removals, and the lock that keeps them apart. Starts: agent_start.c. */
#include "api/agent.h"

#include "store/event_row.h"
#include "store/org_row.h"
#include "store/token_row.h"

struct stop {
    struct arena *arena;
    struct id org, workspace;
    enum workspace_desired desired; /* afterwards */
    bool settled;                   /* the agent is gone: the row may say so */
    struct agent_revoked revoked;
};

static enum err
stop_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct stop *s = ctx;
    struct event_row event = {.org = s->org,
        .workspace = s->workspace,
        .type = STR("workspace.stopped"),
        .json = STR("{}"),
        .created_ms = clock_ms()};
    struct workspace_row w;
    enum err code = workspace_row_get(tx, s->org, s->workspace, s->arena, &w, e);

    if (code == ERR_OK && w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (code == ERR_OK && s->desired == WORKSPACE_DESIRED_RUNNING)
        code = org_row_check_active(tx, s->org, e); /* a restart that could not start again */
    if (code == ERR_OK) {
        code = workspace_row_set_desired(tx, s->org, s->workspace, s->desired, e);
    }
    if (code != ERR_OK || !s->settled)
        return call_not_found(code, "workspace not found", e);
    code =
        agent_tokens_revoke_tx(tx, s->arena, s->org, s->workspace, (struct id){0}, &s->revoked, e);
    if (code == ERR_OK) {
        code = workspace_row_set_status(
            tx, s->org, s->workspace, WORKSPACE_STOPPED, STR_NONE, STR_NONE, e);
    }
    if (code == ERR_OK && w.status != WORKSPACE_STOPPED)
        code = event_row_append(tx, &event, NULL, e);
    return code;
}

/*
 * desired first: the report of its end must find out that it was wanted. In a restart it stays
 * "running", so that a crash half-way shows as a failure; the report then counts as an old start's.
 */
static enum err
stop_locked(struct api *a, struct arena *arena, struct id org, struct id workspace,
    enum workspace_desired desired, struct error *e)
{
    struct stop s = {.arena = arena, .org = org, .workspace = workspace, .desired = desired};
    struct id start = launch_status(a->launcher, workspace).start;
    int64_t grace = a->o.stop_grace_ms == 0 ? 5000 : a->o.stop_grace_ms;
    enum err code = store_tx(a->o.store, stop_tx, &s, e);

    if (code != ERR_OK)
        return code;
    if (desired == WORKSPACE_DESIRED_RUNNING)
        agent_run_set(a, workspace, id_new());
    code = launch_stop(a->launcher, workspace, grace, e);
    if (code != ERR_OK) {
        agent_run_set(a, workspace, start);
        return code;
    }
    s.settled = true;
    code = store_tx(a->o.store, stop_tx, &s, e);
    if (code == ERR_OK)
        agent_tokens_revoked(a, &s.revoked);
    return code;
}

enum err
agent_start(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, q->workspace);
    enum err code;

    pthread_mutex_lock(lock);
    code = agent_start_locked(a, registry, arena, q, e);
    pthread_mutex_unlock(lock);
    return code;
}

enum err
agent_stop(struct api *a, struct id org, struct id workspace, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, workspace);
    AUTO_ARENA struct arena arena = {0};
    enum err code;

    pthread_mutex_lock(lock);
    code = stop_locked(a, &arena, org, workspace, WORKSPACE_DESIRED_STOPPED, e);
    pthread_mutex_unlock(lock);
    return code;
}

enum err
agent_restart(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, q->workspace);
    enum err code;

    pthread_mutex_lock(lock);
    code = stop_locked(a, arena, q->org, q->workspace, WORKSPACE_DESIRED_RUNNING, e);
    if (code == ERR_OK)
        code = agent_start_locked(a, registry, arena, q, e);
    pthread_mutex_unlock(lock);
    return code;
}

struct removal {
    struct arena *arena;
    struct id org, workspace;
    struct token_row *tokens;
    size_t n;
};

/* All usage tokens, those of runs too: the gateway must forget them before the rows are gone. */
static enum err
removal_tokens_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct removal *r = ctx;

    return token_row_list(
        tx, r->org, r->workspace, TOKEN_USAGE, clock_ms(), r->arena, &r->tokens, &r->n, e);
}

static enum err
removal_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct removal *r = ctx;
    struct event_row event = {.org = r->org,
        .workspace = r->workspace,
        .type = STR("workspace.removed"),
        .json = STR("{}"),
        .created_ms = clock_ms()};
    enum err code = workspace_row_remove(tx, r->org, r->workspace, e);

    return code != ERR_OK ? code : event_row_append(tx, &event, NULL, e);
}

static enum err
remove_locked(
    struct api *a, struct arena *arena, struct id org, struct id workspace, struct error *e)
{
    struct removal r = {.arena = arena, .org = org, .workspace = workspace};
    struct error forget;
    enum err code = stop_locked(a, arena, org, workspace, WORKSPACE_DESIRED_STOPPED, e);

    if (code == ERR_OK)
        code = store_read(a->o.store, removal_tokens_tx, &r, e);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < r.n; i++)
        edge_token_revoke(a->o.edge, r.tokens[i].digest);
    code = store_tx_durable(a->o.store, removal_tx, &r, e);
    if (code == ERR_OK && launch_forget(a->launcher, workspace, &forget) != ERR_OK)
        log_warn("api", "a removed workspace's run file stays: %s", forget.text);
    return code;
}

enum err
agent_remove(struct api *a, struct id org, struct id workspace, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, workspace);
    AUTO_ARENA struct arena arena = {0};
    enum err code;

    pthread_mutex_lock(lock);
    code = remove_locked(a, &arena, org, workspace, e);
    pthread_mutex_unlock(lock);
    return code;
}
