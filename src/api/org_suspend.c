/* POST /admin/orgs/:org/suspend and /resume. */
#include "api/agent.h"
#include "api/org.h"
#include "store/event_row.h"
#include "store/token_row.h"

#include <stdatomic.h>

enum { THREADS_MAX = 8 };

struct suspension {
    struct api *api;
    struct arena *arena;
    struct id org;
    bool on;
    struct token_row *tokens; /* usage tokens that were live */
    size_t tokens_n;
    struct workspace_row *workspaces;
    size_t workspaces_n;
    _Atomic size_t next, stopped;
    pthread_mutex_t lock;
    struct error failure; /* of the first stop that failed */
};

static void
suspension_done(struct suspension *s)
{
    pthread_mutex_destroy(&s->lock);
}

static enum err
flag_tx(struct store_tx *tx, struct suspension *s, struct error *e)
{
    struct event_row event = {.org = s->org,
        .type = s->on ? STR("org.suspended") : STR("org.resumed"),
        .json = STR("{}"),
        .created_ms = clock_ms()};
    struct org_row org;
    enum err code = org_row_get(tx, s->org, s->arena, &org, e);

    if (code != ERR_OK || org.suspended == s->on)
        return code;
    code = org_row_set_suspended(tx, s->org, s->on, e);
    return code == ERR_OK ? event_row_append(tx, &event, NULL, e) : code;
}

static enum err
suspend_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct suspension *s = ctx;
    int64_t now = clock_ms();
    enum err code = flag_tx(tx, s, e);

    if (code == ERR_OK)
        code = token_row_list(
            tx, s->org, (struct id){0}, TOKEN_USAGE, now, s->arena, &s->tokens, &s->tokens_n, e);
    if (code == ERR_OK)
        code = token_row_revoke_all(tx, s->org, TOKEN_USAGE, now, e);
    if (code == ERR_OK)
        code = workspace_row_list(tx, s->org, s->arena, &s->workspaces, &s->workspaces_n, e);
    return code;
}

static bool
has_agent(const struct suspension *s, const struct workspace_row *w)
{
    struct launch_status st = launch_status(s->api->launcher, w->id);

    return w->desired == WORKSPACE_DESIRED_RUNNING || st.state == LAUNCH_RUNNING ||
        st.state == LAUNCH_STARTING;
}

static void *
stop_some(void *ctx)
{
    struct suspension *s = ctx;
    size_t i;

    while ((i = atomic_fetch_add(&s->next, 1)) < s->workspaces_n) {
        const struct workspace_row *w = &s->workspaces[i];
        struct error e;

        if (!has_agent(s, w))
            continue;
        if (agent_stop(s->api, w->org, w->id, &e) == ERR_OK || e.code == ERR_GONE) {
            atomic_fetch_add(&s->stopped, 1);
            continue;
        }
        pthread_mutex_lock(&s->lock);
        if (s->failure.code == ERR_OK)
            s->failure = e;
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

static void
stop_all(struct suspension *s)
{
    pthread_t threads[THREADS_MAX];
    size_t n = 0;

    while (n < THREADS_MAX && n + 1 < s->workspaces_n &&
        pthread_create(&threads[n], NULL, stop_some, s) == 0)
        n++;
    stop_some(s);
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

static void
forget_tokens(const struct suspension *s)
{
    for (size_t i = 0; i < s->tokens_n; i++)
        edge_token_revoke(s->api->o.edge, s->tokens[i].digest);
}

enum err
org_suspend_now(struct api *a, struct id org, size_t *ret_stopped, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    AUTO(suspension_done)
    struct suspension s = {
        .api = a, .arena = &arena, .org = org, .on = true, .lock = PTHREAD_MUTEX_INITIALIZER};
    enum err code = store_tx_durable(a->o.store, suspend_tx, &s, e);

    if (code != ERR_OK)
        return code;
    forget_tokens(&s);
    stop_all(&s);
    /* A start that was under way may have published its token in between; now none is left. */
    forget_tokens(&s);
    if (s.failure.code != ERR_OK) {
        *e = s.failure;
        return wrap(e, "the org is suspended, but an agent could not be stopped");
    }
    *ret_stopped = s.stopped;
    return ERR_OK;
}

struct one {
    struct call *c;
    struct org_row org;
};

static enum err
find_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct one *o = ctx;

    return org_find_tx(tx, o->c, &o->org, e);
}

static enum err
answer(struct one *o, const char *status, size_t stopped)
{
    log_info("api", "org %s slug=%.*s agents_stopped=%zu", status, STR_ARG(o->org.slug), stopped);
    return call_answer(o->c, 200,
        json_pack("{s:s, s:o, s:o, s:I}", "status", status, "id", json_id(o->org.id), "slug",
            json_str(o->org.slug), "agents_stopped", (json_int_t)stopped));
}

enum err
org_suspend(struct call *c, struct error *e)
{
    struct one o = {.c = c};
    size_t stopped;
    enum err code = store_read(c->api->o.store, find_tx, &o, e);

    if (code == ERR_OK)
        code = org_suspend_now(c->api, o.org.id, &stopped, e);
    return code == ERR_OK ? answer(&o, "suspended", stopped) : code;
}

static enum err
resume_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct one *o = ctx;
    struct suspension s = {.arena = &o->c->http->arena};
    enum err code = org_find_tx(tx, o->c, &o->org, e);

    s.org = o->org.id;
    return code == ERR_OK ? flag_tx(tx, &s, e) : code;
}

/* Starts nothing: who pays for the agents says which of them shall run. */
enum err
org_resume(struct call *c, struct error *e)
{
    struct one o = {.c = c};
    enum err code = store_tx_durable(c->api->o.store, resume_tx, &o, e);

    return code == ERR_OK ? answer(&o, "resumed", 0) : code;
}

struct orgs {
    struct arena *arena;
    struct org_row *rows;
    size_t n;
};

static enum err
orgs_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct orgs *o = ctx;

    return org_row_list(tx, o->arena, &o->rows, &o->n, e);
}

enum err
org_suspended_settle(struct api *a, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    struct orgs o = {.arena = &arena};
    enum err code = store_read(a->o.store, orgs_tx, &o, e);

    for (size_t i = 0; code == ERR_OK && i < o.n; i++) {
        size_t stopped;

        if (o.rows[i].suspended)
            code = org_suspend_now(a, o.rows[i].id, &stopped, e);
    }
    return code;
}
