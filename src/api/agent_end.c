/* The other half of agent.h: how starts end, and how purserd finds its agents again. */
#include "api/agent.h"

#include "api/plan.h"
#include "store/event_row.h"
#include "store/token_row.h"

/* Kept for the life of the process: as many as there are workspaces that were started. */
struct agent_run {
    struct agent_run *next;
    struct id workspace;
    struct id start;
};

static struct agent_run *
run_find(struct api *a, struct id workspace)
{
    struct agent_run *r = a->runs;

    while (r != NULL && !id_equal(r->workspace, workspace))
        r = r->next;
    return r;
}

void
agent_run_set(struct api *a, struct id workspace, struct id start)
{
    struct agent_run *r;

    pthread_mutex_lock(&a->runs_lock);
    r = run_find(a, workspace);
    if (r == NULL) {
        r = calloc(1, sizeof(*r));
        ENSURE(r != NULL);
        r->workspace = workspace;
        r->next = a->runs;
        a->runs = r;
    }
    r->start = start;
    pthread_mutex_unlock(&a->runs_lock);
}

bool
agent_run_is_stale(struct api *a, struct id workspace, struct id start)
{
    struct agent_run *r;
    bool stale;

    pthread_mutex_lock(&a->runs_lock);
    r = run_find(a, workspace);
    stale = r != NULL && !id_equal(r->start, start);
    pthread_mutex_unlock(&a->runs_lock);
    return stale;
}

void
agent_runs_free(struct api *a)
{
    while (a->runs != NULL) {
        struct agent_run *r = a->runs;

        a->runs = r->next;
        free(r);
    }
}

enum err
agent_tokens_revoke_tx(struct store_tx *tx, struct arena *arena, struct id org, struct id workspace,
    struct id start, struct agent_revoked *ret, struct error *e)
{
    int64_t now = clock_ms();
    struct token_row *tokens;
    struct agent_revoked out = {0};
    size_t n;
    enum err code = token_row_list(tx, org, workspace, TOKEN_USAGE, now, arena, &tokens, &n, e);

    if (code != ERR_OK)
        return code;
    out.tokens = arena_array(arena, n + 1, sizeof(*out.tokens));
    for (size_t i = 0; i < n; i++) {
        /* One that ends by itself is a run's, not a start's. */
        if (tokens[i].expires_ms != 0 ||
            (!id_is_zero(start) && !id_equal(tokens[i].decision, start)))
            continue;
        code = token_row_revoke(tx, org, tokens[i].id, now, arena, &out.tokens[out.n], e);
        if (code != ERR_OK)
            return code;
        out.n++;
    }
    *ret = out;
    return ERR_OK;
}

void
agent_tokens_revoked(struct api *a, const struct agent_revoked *r)
{
    for (size_t i = 0; i < r->n; i++)
        edge_token_revoke(a->o.edge, r->tokens[i].digest);
}

struct end {
    struct api *api;
    struct arena *arena;
    struct id workspace;
    const struct launch_status *status; /* NULL: found gone when we started */
    struct agent_revoked revoked;
};

static bool
is_up(enum workspace_status s)
{
    return s == WORKSPACE_PROVISIONING || s == WORKSPACE_ONLINE || s == WORKSPACE_DEGRADED ||
        s == WORKSPACE_OFFLINE;
}

/* Wanted or finished: stopped. Anything else is a failure that somebody should see. */
static enum err
end_row(struct store_tx *tx, struct end *x, const struct workspace_row *w, struct error *e)
{
    bool finished = x->status != NULL && x->status->exit_code == 0;
    bool wanted = w->desired != WORKSPACE_DESIRED_RUNNING;
    struct event_row event = {.org = w->org, .workspace = w->id, .created_ms = clock_ms()};
    struct str text = STR_NONE;
    enum workspace_status next = WORKSPACE_STOPPED;
    enum err code = ERR_OK;

    if (w->desired == WORKSPACE_DESIRED_PAUSED)
        next = WORKSPACE_PAUSED;
    if (!wanted && !finished) {
        next = WORKSPACE_FAILED;
        text = x->status == NULL
            ? STR("the agent was gone when purser started")
            : arena_printf(x->arena, "the agent ended with exit code %d; its log says more",
                  x->status->exit_code);
    }
    if (!wanted && finished)
        code = workspace_row_set_desired(tx, w->org, w->id, WORKSPACE_DESIRED_STOPPED, e);
    if (code == ERR_OK) {
        code = workspace_row_set_status(
            tx, w->org, w->id, next, text.n == 0 ? STR_NONE : STR("AGENT_EXITED"), text, e);
    }
    if (code != ERR_OK)
        return code;
    event.type = next == WORKSPACE_FAILED ? STR("workspace.failed") : STR("workspace.stopped");
    event.json = x->status == NULL
        ? STR("{\"exit_code\":null}")
        : arena_printf(x->arena, "{\"exit_code\":%d}", x->status->exit_code);
    return event_row_append(tx, &event, NULL, e);
}

static enum err
end_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct end *x = ctx;
    struct id start = x->status == NULL ? (struct id){0} : x->status->start;
    struct workspace_row w;
    struct id org;
    enum err code = workspace_row_find_org(tx, x->workspace, &org, e);

    if (code == ERR_OK)
        code = workspace_row_get(tx, org, x->workspace, x->arena, &w, e);
    if (code == ERR_OK) {
        code = agent_tokens_revoke_tx(tx, x->arena, org, x->workspace, start, &x->revoked, e);
    }
    if (code != ERR_OK || !is_up(w.status) || agent_run_is_stale(x->api, x->workspace, start))
        return code;
    return end_row(tx, x, &w, e);
}

static enum err
end_book(struct api *a, struct id workspace, const struct launch_status *status, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct end x = {.api = a, .arena = &arena, .workspace = workspace, .status = status};
    enum err code = store_tx(a->o.store, end_tx, &x, e);

    if (code == ERR_OK)
        agent_tokens_revoked(a, &x.revoked);
    return code;
}

void
agent_ended(struct api *a, struct id workspace, const struct launch_status *status)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    struct error e;

    id_text(workspace, ws + 3);
    log_info(ws, "agent ended exit_code=%d", status->exit_code);
    if (end_book(a, workspace, status, &e) != ERR_OK)
        log_error(ws, "the agent's end could not be booked: %s", e.text);
}

struct recovery {
    struct api *api;
    struct arena arena;
    struct token_row *tokens;
    size_t tokens_n;
    struct workspace_row *workspaces; /* of this node */
    size_t workspaces_n;
    struct id *ours;                /* their ids, sorted */
    const struct token_row *ended;  /* the one that ended_tx revokes */
    const struct workspace_row *up; /* the one that up_tx sets online */
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
    enum err code =
        token_row_list_live_usage(tx, clock_ms(), &r->arena, &r->tokens, &r->tokens_n, e);

    if (code != ERR_OK)
        return code;
    return workspace_row_list_node(tx, &r->arena, &r->workspaces, &r->workspaces_n, e);
}

static enum err
ended_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;
    struct token_row revoked;

    return token_row_revoke(tx, r->ended->org, r->ended->id, clock_ms(), &r->arena, &revoked, e);
}

static enum err
up_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct recovery *r = ctx;

    return workspace_row_set_status(
        tx, r->up->org, r->up->id, WORKSPACE_ONLINE, STR_NONE, STR_NONE, e);
}

static bool
runs(const struct launch_status *st)
{
    return st->state == LAUNCH_RUNNING || st->state == LAUNCH_STARTING;
}

static int
compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct id));
}

/* Other nodes on this store have agents, too; only they know whether those run. */
static bool
is_ours(const struct recovery *r, struct id workspace)
{
    return bsearch(&workspace, r->ours, r->workspaces_n, sizeof(workspace), compare_ids) != NULL;
}

/* A token lives as long as its start does, or, for a run, until it expires. */
static enum err
recover_token(struct recovery *r, const struct token_row *t, struct error *e)
{
    struct launch_status st = launch_status(r->api->launcher, t->workspace);
    bool alive = t->expires_ms != 0 || (runs(&st) && id_equal(st.start, t->decision)) ||
        !is_ours(r, t->workspace);
    struct edge_token published = {.token = t->id,
        .org = t->org,
        .workspace = t->workspace,
        .decision = t->decision,
        .expires_ms = t->expires_ms};

    memcpy(published.digest, t->digest, sizeof(published.digest));
    if (!alive) {
        edge_token_revoke(r->api->o.edge, t->digest);
        r->ended = t;
        return store_tx(r->api->o.store, ended_tx, r, e);
    }
    published.models = plan_list(&r->arena, t->models, &published.models_n);
    return edge_token_publish(r->api->o.edge, &published, e);
}

static enum err
recover_workspace(struct recovery *r, const struct workspace_row *w, struct error *e)
{
    struct launch_status st = launch_status(r->api->launcher, w->id);

    if (!runs(&st)) {
        if (!is_up(w->status) || plan_runtime_is_external(w->runtime))
            return ERR_OK;
        return end_book(r->api, w->id, st.state == LAUNCH_EXITED ? &st : NULL, e);
    }
    agent_run_set(r->api, w->id, st.start);
    if (w->desired != WORKSPACE_DESIRED_RUNNING)
        return agent_stop(r->api, w->org, w->id, e);
    if (w->status == WORKSPACE_ONLINE)
        return ERR_OK;
    r->up = w;
    return store_tx(r->api->o.store, up_tx, r, e);
}

enum err
agent_recover(struct api *a, struct error *e)
{
    AUTO(recovery_done) struct recovery r = {.api = a};
    enum err code = store_read(a->o.store, recovery_tx, &r, e);

    if (code == ERR_OK) {
        r.ours = arena_array(&r.arena, r.workspaces_n + 1, sizeof(*r.ours));
        for (size_t i = 0; i < r.workspaces_n; i++)
            r.ours[i] = r.workspaces[i].id;
        qsort(r.ours, r.workspaces_n, sizeof(*r.ours), compare_ids);
    }
    for (size_t i = 0; code == ERR_OK && i < r.tokens_n; i++)
        code = recover_token(&r, &r.tokens[i], e);
    if (code == ERR_OK)
        edge_tokens_settled(a->o.edge);
    for (size_t i = 0; code == ERR_OK && i < r.workspaces_n; i++)
        code = recover_workspace(&r, &r.workspaces[i], e);
    return code == ERR_OK ? ERR_OK : wrap(e, "finding running agents again");
}
