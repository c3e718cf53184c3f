/* How starts end, and which start is the current one. */
#include "api/agent.h"

#include "api/care.h"
#include "api/move.h"
#include "api/wish.h"
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

bool
agent_runs(struct api *a, struct id workspace)
{
    enum launch_state state = launch_status(a->launcher, workspace).state;

    return state == LAUNCH_RUNNING || state == LAUNCH_STARTING;
}

enum err
agent_tokens_revoke_tx(struct api *a, struct store_tx *tx, struct arena *arena, struct id org,
    struct id workspace, struct id start, struct error *e)
{
    int64_t now = clock_ms();
    struct token_row *tokens, revoked;
    size_t n;
    enum err code = token_row_list_bound(tx, org, workspace, now, arena, &tokens, &n, e);

    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        if (!id_is_zero(start) && !id_equal(tokens[i].decision, start))
            continue;
        code = token_row_revoke(tx, org, tokens[i].id, now, arena, &revoked, e);
        if (code == ERR_OK && revoked.kind == TOKEN_USAGE)
            edge_token_revoke(a->o.edge, revoked.digest);
    }
    return code;
}

struct end {
    struct api *api;
    struct arena *arena;
    struct id org, workspace;
    const struct launch_status *status; /* NULL: found gone when we started */
    struct lifecycle_verdict verdict;
    bool again;     /* it is to be started again, after verdict.delay_ms */
    bool elsewhere; /* we were given up meanwhile: what the row says is of another node's agent */
};

static struct lifecycle_verdict
judge(const struct end *x, const struct workspace_row *w)
{
    const struct api_options *o = &x->api->o;
    struct lifecycle_end end = {.desired = w->desired,
        .policy = care_of(x->api, w).restart,
        .start_due = w->start_due_ms != 0,
        .lost = x->status == NULL,
        .starting = w->status == WORKSPACE_PROVISIONING,
        .restarts = w->restarts,
        .pause_ms = o->restart_pause_ms == 0 ? 1000 : o->restart_pause_ms,
        .limit = o->restart_limit == 0 ? 5 : o->restart_limit};

    if (x->status != NULL) {
        end.exit_code = x->status->exit_code;
        end.ran_ms = x->status->ended_ms - x->status->started_ms;
    }
    return lifecycle_judge_end(&end);
}

/* Why it is down, for people: the code goes to m->code. */
static void
explain_end(const struct end *x, struct move *m)
{
    bool again = m->event == LIFECYCLE_END_AGAIN;

    if (m->event != LIFECYCLE_END_FAIL && (!again || x->verdict.delay_ms == 0))
        return;
    if (x->verdict.loops) {
        m->code = STR("CRASH_LOOP");
        m->text = arena_printf(x->arena,
            "the agent ended %lld times in a row, at last with exit code %d, and is not started "
            "again: see its log (purser workspace logs), then start it (purser workspace start)",
            (long long)x->verdict.restarts + 1, x->status->exit_code);
        return;
    }
    m->code = STR("AGENT_EXITED");
    if (x->status == NULL) {
        m->text =
            STR("the agent was gone when purser started, and its restart policy is \"never\": "
                "start it (purser workspace start)");
    } else {
        m->text = arena_printf(x->arena,
            "the agent ended with exit code %d%s; its log says more (purser workspace logs)",
            x->status->exit_code, again ? " and is started again" : "");
    }
}

static enum err
end_row(struct store_tx *tx, struct end *x, const struct workspace_row *w, struct error *e)
{
    struct move m = {.org = w->org, .workspace = w->id};
    json_t *details = json_pack(
        "{s:o}", "exit_code", x->status == NULL ? json_null() : json_integer(x->status->exit_code));

    x->verdict = judge(x, w);
    x->again = x->verdict.event == LIFECYCLE_END_AGAIN;
    m.event = x->verdict.event;
    m.restarts = x->verdict.restarts;
    m.due_ms = clock_ms() + x->verdict.delay_ms;
    explain_end(x, &m);
    if (m.code.n > 0) {
        json_object_set_new(details, "code", json_str(m.code));
        json_object_set_new(details, "error", json_str(m.text));
    }
    if (x->again) {
        json_object_set_new(details, "restart", json_integer(m.restarts));
        json_object_set_new(details, "restart_in_ms", json_integer(x->verdict.delay_ms));
    }
    m.details = move_details(x->arena, details);
    return move_tx(tx, x->arena, &m, NULL, e);
}

/* An end that is booked already leaves a row that is down, or waits for its next start. */
static bool
is_booked(const struct workspace_row *w)
{
    return !workspace_status_is_up(w->status) ||
        (w->status == WORKSPACE_OFFLINE && w->start_due_ms != 0);
}

static enum err
end_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct end *x = ctx;
    struct id start = x->status == NULL ? (struct id){0} : x->status->start;
    struct workspace_row w;
    enum err code = workspace_row_find_org(tx, x->workspace, &x->org, e);

    x->again = false;
    if (code == ERR_OK)
        code = workspace_row_get(tx, x->org, x->workspace, x->arena, &w, e);
    if (code == ERR_OK)
        code = agent_tokens_revoke_tx(x->api, tx, x->arena, x->org, x->workspace, start, e);
    if (code != ERR_OK || is_booked(&w) || agent_run_is_stale(x->api, x->workspace, start))
        return code;
    x->elsewhere = wish_is_elsewhere(x->api, &w);
    return x->elsewhere ? ERR_OK : end_row(tx, x, &w, e);
}

enum err
agent_end_book(
    struct api *a, struct id workspace, const struct launch_status *status, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct end x = {.api = a, .arena = &arena, .workspace = workspace, .status = status};
    enum err code = store_tx(a->o.store, end_tx, &x, e);

    if (code != ERR_OK)
        return code;
    if (x.elsewhere)
        log_warn("api",
            "another node has taken this workspace over: that its agent here ended is "
            "not booked");
    if (x.again)
        later_put(a, LATER_START, x.org, workspace, (struct id){0}, x.verdict.delay_ms);
    return ERR_OK;
}

void
agent_ended(struct api *a, struct id workspace, const struct launch_status *status)
{
    char ws[ID_TEXT_BYTES + 3] = "ws=";
    struct error e;

    id_text(workspace, ws + 3);
    log_info(ws, "agent ended exit_code=%d", status->exit_code);
    if (agent_end_book(a, workspace, status, &e) != ERR_OK)
        log_error(ws, "the agent's end could not be booked: %s", e.text);
}
