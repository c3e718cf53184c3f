#include "api/wish.h"

#include "api/agent.h"
#include "api/move.h"
#include "store/budget_lease.h"
#include "store/watch.h"

bool
wish_is_elsewhere(const struct api *a, const struct workspace_row *w)
{
    return store_is_shared(a->o.store) && !id_equal(w->node, store_node(a->o.store));
}

enum err
wish_ask_there(const struct workspace_row *w, const char *what, struct error *e)
{
    char node[ID_TEXT_BYTES];

    id_text(w->node, node);
    return fail(e, ERR_CONFLICT,
        "this workspace's agent runs on the node %s: %s can only be had there, so ask that node's "
        "purser",
        node, what);
}

struct sending {
    struct api *api;
    const struct wish *wish;
    struct arena arena;
    bool sent;
};

static void
sending_done(struct sending *s)
{
    arena_done(&s->arena);
}

/* Is there anything to be wished for? */
static bool
matters(const struct wish *wish, const struct workspace_row *w)
{
    return !wish->when_running ||
        (w->desired == WORKSPACE_DESIRED_RUNNING && w->status != WORKSPACE_AWAITING_AGENT);
}

static enum err
send_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct sending *s = ctx;
    const struct wish *wish = s->wish;
    bool runs = wish->desired == WORKSPACE_DESIRED_RUNNING;
    char key[ID_TEXT_BYTES];
    struct workspace_row w;
    enum err code = workspace_row_get(tx, wish->org, wish->workspace, &s->arena, &w, e);

    s->sent = false;
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (!wish_is_elsewhere(s->api, &w))
        return ERR_OK;
    s->sent = true;
    if (!matters(wish, &w))
        return ERR_OK;
    if (runs && !wish->restart && w.desired == WORKSPACE_DESIRED_RUNNING &&
        workspace_status_is_up(w.status))
        return fail(e, ERR_CONFLICT, "the workspace runs already; restart it instead");
    code = move_wish_tx(
        tx, &s->arena, wish->org, wish->workspace, wish->desired, runs ? clock_ms() : 0, e);
    id_text(wish->workspace, key);
    return code == ERR_OK ? store_notify(tx, STORE_CHANGE_WISH, str_from_cstr(key), e) : code;
}

enum err
wish_send(struct api *a, const struct wish *w, bool *ret_sent, struct error *e)
{
    AUTO(sending_done) struct sending s = {.api = a, .wish = w};
    enum err code = ERR_OK;

    if (store_is_shared(a->o.store))
        code = store_tx(a->o.store, send_tx, &s, e);
    if (code == ERR_OK)
        *ret_sent = s.sent;
    return code;
}

struct arrived {
    struct api *api;
    struct id workspace; /* zero: all of this node */
    struct arena arena;
    struct workspace_row *rows;
    size_t n;
};

static void
arrived_done(struct arrived *x)
{
    arena_done(&x->arena);
}

static enum err
arrived_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct arrived *x = ctx;
    struct id org;
    enum err code;

    if (id_is_zero(x->workspace))
        return workspace_row_list_node(tx, &x->arena, &x->rows, &x->n, e);
    x->rows = arena_array(&x->arena, 1, sizeof(*x->rows));
    code = workspace_row_find_org(tx, x->workspace, &org, e);
    if (code == ERR_OK)
        code = workspace_row_get(tx, org, x->workspace, &x->arena, &x->rows[0], e);
    x->n = code == ERR_OK && id_equal(x->rows[0].node, store_tx_node(tx));
    return code == ERR_NOT_FOUND ? ERR_OK : code;
}

static bool
is_settled(const struct workspace_row *w)
{
    return w->status == WORKSPACE_REMOVED ||
        (w->desired == WORKSPACE_DESIRED_STOPPED && w->status == WORKSPACE_STOPPED) ||
        (w->desired == WORKSPACE_DESIRED_PAUSED && w->status == WORKSPACE_PAUSED);
}

/* Reminders only: what they lead to is decided when their time comes. */
static void
act(struct api *a, const struct workspace_row *w)
{
    int64_t wait = w->start_due_ms - clock_ms();
    struct id any = {0};

    if (w->desired != WORKSPACE_DESIRED_RUNNING) {
        if (!is_settled(w))
            later_put(a, LATER_SETTLE, w->org, w->id, any, 0);
    } else if (w->start_due_ms != 0) {
        later_put(a, agent_runs(a, w->id) ? LATER_RESTART : LATER_START, w->org, w->id, any,
            wait < 0 ? 0 : wait);
    }
}

bool
api_wishes_changed(struct api *a, struct id workspace)
{
    AUTO(arrived_done) struct arrived x = {.api = a, .workspace = workspace};
    struct error e;

    if (store_read(a->o.store, arrived_tx, &x, &e) != ERR_OK)
        return false;
    for (size_t i = 0; i < x.n; i++)
        act(a, &x.rows[i]);
    return true;
}
