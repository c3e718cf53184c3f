/* Stops, restarts, pauses and removals, and the lock that keeps them apart. */
#include "api/agent.h"

#include "api/move.h"
#include "api/wish.h"
#include "store/budget_lease.h"
#include "store/event_row.h"
#include "store/org_row.h"
#include "store/token_row.h"

/* The ways to stop an agent: what is wanted afterwards, and how that is told. */
enum stop_kind { STOP_ASKED, STOP_PAUSE, STOP_DRAIN, STOP_RESTART, STOP_REMOVE };

static const struct {
    enum workspace_desired desired;
    bool start_due; /* whatever happens to us from here on: it is to be started again */
    bool tells;
    enum lifecycle_event event;
} stop_kinds[] = {
    [STOP_ASKED] = {WORKSPACE_DESIRED_STOPPED, false, true, LIFECYCLE_STOP},
    [STOP_PAUSE] = {WORKSPACE_DESIRED_PAUSED, false, true, LIFECYCLE_PAUSE},
    [STOP_DRAIN] = {WORKSPACE_DESIRED_RUNNING, true, true, LIFECYCLE_END_AGAIN},
    [STOP_RESTART] = {WORKSPACE_DESIRED_RUNNING, true, false, 0},
    [STOP_REMOVE] = {WORKSPACE_DESIRED_REMOVED, false, false, 0},
};

struct stop {
    struct api *api;
    struct arena *arena;
    struct id org, workspace;
    enum stop_kind kind;
    const struct agent_request *restart; /* of STOP_RESTART: what comes after it */
    int64_t now_ms;
    bool elsewhere; /* we were given up: row and tokens are of another node's agent */
};

/* A stop or a pause that another node was asked for meanwhile is not undone: it is wanted, too. */
static enum err
wish_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct stop *s = ctx;
    struct workspace_row w;
    enum err code = ERR_OK;

    if (s->kind == STOP_DRAIN) {
        code = workspace_row_get(tx, s->org, s->workspace, s->arena, &w, e);
        s->elsewhere = code == ERR_OK && wish_is_elsewhere(s->api, &w);
        if (s->elsewhere || (code == ERR_OK && w.desired != WORKSPACE_DESIRED_RUNNING))
            return ERR_OK;
    }
    if (code == ERR_OK && stop_kinds[s->kind].desired == WORKSPACE_DESIRED_RUNNING)
        code = org_row_check_active(tx, s->org, e); /* a restart that could not start again */
    if (code == ERR_OK && s->restart != NULL)
        code = agent_may_start_tx(tx, s->arena, s->restart, e);
    if (code != ERR_OK)
        return code;
    return move_wish_tx(tx, s->arena, s->org, s->workspace, stop_kinds[s->kind].desired,
        stop_kinds[s->kind].start_due ? s->now_ms : 0, e);
}

/* The agent is gone: its token ends, and the row may say so. */
static enum err
settled_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct stop *s = ctx;
    struct move m = {.org = s->org,
        .workspace = s->workspace,
        .event = stop_kinds[s->kind].event,
        .due_ms = s->now_ms};
    enum err code =
        agent_tokens_revoke_tx(s->api, tx, s->arena, s->org, s->workspace, (struct id){0}, e);

    if (s->kind == STOP_DRAIN)
        m.details = STR("{\"reason\":\"shutdown\"}");
    if (code != ERR_OK || !stop_kinds[s->kind].tells)
        return code;
    return move_tx(tx, s->arena, &m, NULL, e);
}

static int64_t
stop_grace_ms(const struct api *a)
{
    return a->o.stop_grace_ms == 0 ? 5000 : a->o.stop_grace_ms;
}

/*
 * What is wanted first: the report of its end must find out that it was wanted, also when it comes
 * to our successor. In a restart the report counts as an old start's.
 */
static enum err
stop_locked(struct api *a, struct arena *arena, struct id org, struct id workspace,
    enum stop_kind kind, const struct agent_request *restart, struct error *e)
{
    struct stop s = {.api = a,
        .arena = arena,
        .org = org,
        .workspace = workspace,
        .kind = kind,
        .restart = restart,
        .now_ms = clock_ms()};
    struct id start = launch_status(a->launcher, workspace).start;
    enum err code = store_tx(a->o.store, wish_tx, &s, e);

    if (code != ERR_OK)
        return code;
    if (stop_kinds[kind].start_due)
        agent_run_set(a, workspace, id_new());
    code = launch_stop(a->launcher, workspace, stop_grace_ms(a), e);
    if (code != ERR_OK) {
        agent_run_set(a, workspace, start);
        return code;
    }
    if (s.elsewhere)
        return ERR_OK;
    return store_tx(a->o.store, settled_tx, &s, e);
}

/* One that stops with an answer, in the workspace's turn. */
static enum err
stop_in_turn(
    struct api *a, struct id org, struct id workspace, enum stop_kind kind, struct error *e)
{
    const struct wish wish = {
        .org = org, .workspace = workspace, .desired = stop_kinds[kind].desired};
    pthread_mutex_t *lock = api_workspace_lock(a, workspace);
    AUTO_ARENA struct arena arena = {0};
    bool sent = false;
    enum err code = kind == STOP_DRAIN ? ERR_OK : wish_send(a, &wish, &sent, e);

    if (code != ERR_OK || sent)
        return code;
    pthread_mutex_lock(lock);
    code = stop_locked(a, &arena, org, workspace, kind, NULL, e);
    pthread_mutex_unlock(lock);
    return code;
}

enum err
agent_stop(struct api *a, struct id org, struct id workspace, struct error *e)
{
    return stop_in_turn(a, org, workspace, STOP_ASKED, e);
}

enum err
agent_pause(struct api *a, struct id org, struct id workspace, struct error *e)
{
    return stop_in_turn(a, org, workspace, STOP_PAUSE, e);
}

enum err
agent_drain(struct api *a, struct id org, struct id workspace, struct error *e)
{
    return stop_in_turn(a, org, workspace, STOP_DRAIN, e);
}

struct look {
    struct arena *arena;
    const struct agent_request *request;
    struct workspace_row row;
};

static enum err
look_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct look *l = ctx;

    return workspace_row_get(tx, l->request->org, l->request->workspace, l->arena, &l->row, e);
}

/* Another node's agent is started, or started anew, there. */
static enum err
send_start(struct api *a, struct arena *arena, const struct agent_request *q, bool *ret_sent,
    struct error *e)
{
    const struct wish wish = {.org = q->org,
        .workspace = q->workspace,
        .desired = WORKSPACE_DESIRED_RUNNING,
        .restart = q->caller == GATHER_RESTART,
        .when_running = q->automatic};
    struct look l = {.arena = arena, .request = q};
    enum err code = ERR_OK;

    if (!store_is_shared(a->o.store))
        return ERR_OK;
    code = store_read(a->o.store, look_tx, &l, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (!wish_is_elsewhere(a, &l.row))
        return ERR_OK;
    if (q->model.n > 0)
        return wish_ask_there(&l.row, "a start with a model of its own", e);
    code = q->automatic ? ERR_OK : agent_may_start(a, arena, q, e);
    return code == ERR_OK ? wish_send(a, &wish, ret_sent, e) : code;
}

typedef enum err start_fn(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e);

/* On the node that has the workspace: here under its lock, elsewhere as a wish. */
static enum err
start_where_it_lives(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, start_fn *start, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, q->workspace);
    bool sent = false;
    enum err code = send_start(a, arena, q, &sent, e);

    if (code != ERR_OK || sent)
        return code;
    pthread_mutex_lock(lock);
    code = start(a, registry, arena, q, e);
    pthread_mutex_unlock(lock);
    return code;
}

enum err
agent_start(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    return start_where_it_lives(a, registry, arena, q, agent_start_locked, e);
}

/* A start's id carries the time at which it began to gather. */
static int64_t
start_ms(struct id start)
{
    int64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | start.b[i];
    return ms;
}

/* Is a change of that time in force already, or of no matter? */
static bool
change_is_in_force(struct api *a, const struct agent_request *q, const struct workspace_row *w)
{
    struct launch_status st = launch_status(a->launcher, q->workspace);

    if (w->desired != WORKSPACE_DESIRED_RUNNING)
        return true;
    if (st.state == LAUNCH_RUNNING || st.state == LAUNCH_STARTING)
        return start_ms(st.start) > q->changed_ms;
    /* Nothing runs: a start that is due gathers anew, one that failed before may succeed now. */
    return w->status != WORKSPACE_FAILED || w->updated_ms > q->changed_ms;
}

static enum err
restart_locked(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    struct look l = {.arena = arena, .request = q};
    enum err code = ERR_OK;

    if (q->changed_ms != 0) {
        code = store_read(a->o.store, look_tx, &l, e);
        if (code != ERR_OK || change_is_in_force(a, q, &l.row))
            return code;
    }
    code = agent_may_start(a, arena, q, e);
    if (code == ERR_OK)
        code = stop_locked(a, arena, q->org, q->workspace, STOP_RESTART, q, e);
    return code == ERR_OK ? agent_start_locked(a, registry, arena, q, e) : code;
}

enum err
agent_restart(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct agent_request *q, struct error *e)
{
    return start_where_it_lives(a, registry, arena, q, restart_locked, e);
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
    struct move m = {.org = r->org, .workspace = r->workspace, .event = LIFECYCLE_REMOVE};

    return move_tx(tx, r->arena, &m, NULL, e);
}

static enum err
remove_locked(
    struct api *a, struct arena *arena, struct id org, struct id workspace, struct error *e)
{
    struct removal r = {.arena = arena, .org = org, .workspace = workspace};
    struct error forget;
    enum err code = stop_locked(a, arena, org, workspace, STOP_REMOVE, NULL, e);

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
    const struct wish wish = {
        .org = org, .workspace = workspace, .desired = WORKSPACE_DESIRED_REMOVED};
    pthread_mutex_t *lock = api_workspace_lock(a, workspace);
    AUTO_ARENA struct arena arena = {0};
    bool sent = false;
    enum err code = wish_send(a, &wish, &sent, e);

    if (code != ERR_OK || sent)
        return code;
    pthread_mutex_lock(lock);
    code = remove_locked(a, &arena, org, workspace, e);
    pthread_mutex_unlock(lock);
    return code;
}

/* Somebody may have started it anew since this was put off: the row is read in its turn. */
static enum err
settle_locked(
    struct api *a, struct arena *arena, struct id org, struct id workspace, struct error *e)
{
    struct agent_request q = {.org = org, .workspace = workspace};
    struct look l = {.arena = arena, .request = &q};
    enum err code = store_read(a->o.store, look_tx, &l, e);

    if (code != ERR_OK)
        return code;
    if (l.row.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (l.row.desired == WORKSPACE_DESIRED_REMOVED)
        return remove_locked(a, arena, org, workspace, e);
    if (l.row.desired == WORKSPACE_DESIRED_PAUSED)
        return stop_locked(a, arena, org, workspace, STOP_PAUSE, NULL, e);
    if (l.row.desired == WORKSPACE_DESIRED_STOPPED)
        return stop_locked(a, arena, org, workspace, STOP_ASKED, NULL, e);
    if (l.row.status == WORKSPACE_FAILED)
        return launch_stop(a->launcher, workspace, stop_grace_ms(a), e);
    return ERR_OK;
}

enum err
agent_settle(struct api *a, struct id org, struct id workspace, struct error *e)
{
    pthread_mutex_t *lock = api_workspace_lock(a, workspace);
    AUTO_ARENA struct arena arena = {0};
    enum err code;

    pthread_mutex_lock(lock);
    code = settle_locked(a, &arena, org, workspace, e);
    pthread_mutex_unlock(lock);
    return code;
}
