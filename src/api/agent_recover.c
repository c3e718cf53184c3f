/* purserd starts: rows, tokens and the gateway's policy follow what really runs. */
#include "api/agent.h"

#include "api/handout.h"

struct recovery {
    struct api *api;
    struct arena arena;
    struct token_row *tokens; /* bound to starts of this node, then: every node's for the gateway */
    size_t tokens_n;
    struct workspace_row *workspaces;
    size_t workspaces_n;
    const struct token_row *ended; /* the one that ended_tx revokes */
};

static void
recovery_done(struct recovery *r)
{
    arena_done(&r->arena);
}

static enum err
recovery_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;
    struct id none = {0};
    enum err code =
        token_row_list_bound(tx, none, none, clock_ms(), &r->arena, &r->tokens, &r->tokens_n, e);

    if (code != ERR_OK)
        return code;
    return workspace_row_list_node(tx, &r->arena, &r->workspaces, &r->workspaces_n, e);
}

static enum err
usage_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;

    return token_row_list_live_usage(tx, clock_ms(), &r->arena, &r->tokens, &r->tokens_n, e);
}

static enum err
ended_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;
    struct token_row revoked;
    enum err code =
        token_row_revoke(tx, r->ended->org, r->ended->id, clock_ms(), &r->arena, &revoked, e);

    /* The launcher's report of its agent's end may have come first. */
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

/* A token lives as long as its start does. */
static enum err
end_token(struct recovery *r, const struct token_row *t, struct error *e)
{
    if (agent_runs(r->api, t->workspace) &&
        id_equal(launch_status(r->api->launcher, t->workspace).start, t->decision))
        return ERR_OK;
    if (t->kind == TOKEN_USAGE)
        edge_token_revoke(r->api->o.edge, t->digest);
    r->ended = t;
    return store_tx(r->api->o.store, ended_tx, r, e);
}

/* Ours that are over end; what is live after that, also of other nodes, the gateway is told. */
static enum err
recover_tokens(struct recovery *r, struct error *e)
{
    enum err code = ERR_OK;

    for (size_t i = 0; code == ERR_OK && i < r->tokens_n; i++)
        code = end_token(r, &r->tokens[i], e);
    if (code == ERR_OK)
        code = store_read(r->api->o.store, usage_tx, r, e);
    for (size_t i = 0; code == ERR_OK && i < r->tokens_n; i++)
        code = handout_publish_row(r->api, &r->arena, &r->tokens[i], e);
    if (code == ERR_OK)
        edge_tokens_settled(r->api->o.edge);
    return code;
}

/* It runs: is that what is wanted, and what is due for it? */
static void
adopt(struct recovery *r, const struct workspace_row *w, const struct launch_status *st)
{
    agent_run_set(r->api, w->id, st->start);
    if (w->desired != WORKSPACE_DESIRED_RUNNING || !workspace_status_is_up(w->status))
        later_put(r->api, LATER_SETTLE, w->org, w->id, (struct id){0}, 0);
    else if (w->start_due_ms != 0) /* a restart that did not get to its stop */
        later_put(r->api, LATER_RESTART, w->org, w->id, (struct id){0}, 0);
    else if (w->status == WORKSPACE_PROVISIONING)
        agent_tend(r->api, w, st->start, clock_ms() - st->started_ms);
}

static enum err
recover_workspace(struct recovery *r, const struct workspace_row *w, struct error *e)
{
    struct launch_status st = launch_status(r->api->launcher, w->id);
    int64_t wait = w->start_due_ms - clock_ms();
    enum err code;

    if (st.state == LAUNCH_RUNNING || st.state == LAUNCH_STARTING) {
        adopt(r, w, &st);
        return ERR_OK;
    }
    if (w->desired == WORKSPACE_DESIRED_REMOVED) {
        later_put(r->api, LATER_SETTLE, w->org, w->id, (struct id){0}, 0);
        return ERR_OK;
    }
    if (plan_runtime_is_external(w->runtime) || !workspace_status_is_up(w->status))
        return ERR_OK;
    code = agent_end_book(r->api, w->id, st.state == LAUNCH_EXITED ? &st : NULL, e);
    if (code == ERR_OK && w->start_due_ms != 0) {
        later_put(r->api, LATER_START, w->org, w->id, (struct id){0}, wait < 0 ? 0 : wait);
    }
    return code;
}

static enum err
workspaces_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;

    return workspace_row_list_node(tx, &r->arena, &r->workspaces, &r->workspaces_n, e);
}

static bool
is_among(const struct id *ids, size_t n, struct id id)
{
    for (size_t i = 0; i < n; i++) {
        if (id_equal(ids[i], id))
            return true;
    }
    return false;
}

/* In each workspace's turn: somebody may be starting it by now. */
enum err
agent_take_over(struct api *a, const struct id *moved, size_t n, struct error *e)
{
    AUTO(recovery_done) struct recovery r = {.api = a};
    enum err code = store_read(a->o.store, workspaces_tx, &r, e);

    for (size_t i = 0; code == ERR_OK && i < r.workspaces_n; i++) {
        pthread_mutex_t *lock = api_workspace_lock(a, r.workspaces[i].id);

        if (!is_among(moved, n, r.workspaces[i].id))
            continue;
        pthread_mutex_lock(lock);
        code = recover_workspace(&r, &r.workspaces[i], e);
        pthread_mutex_unlock(lock);
    }
    return code == ERR_OK ? ERR_OK : wrap(e, "taking over its workspaces");
}

enum err
agent_recover(struct api *a, struct error *e)
{
    AUTO(recovery_done) struct recovery r = {.api = a};
    enum err code = store_read(a->o.store, recovery_tx, &r, e);

    if (code == ERR_OK)
        code = recover_tokens(&r, e);
    for (size_t i = 0; code == ERR_OK && i < r.workspaces_n; i++)
        code = recover_workspace(&r, &r.workspaces[i], e);
    return code == ERR_OK ? ERR_OK : wrap(e, "finding running agents again");
}
