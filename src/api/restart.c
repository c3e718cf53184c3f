#include "api/restart.h"

#include "api/agent.h"

struct due {
    struct due *next;
    struct id org;
    struct id workspace;
    int64_t at_ms; /* monotonic */
};

struct restarts {
    struct api *api;
    int64_t delay_ms;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct due *first;
    bool closing;
};

void
restart_soon(struct api *a, struct id org, struct id workspace)
{
    struct restarts *r = a->restarts;
    struct due *d;

    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    for (d = r->first; d != NULL && !id_equal(d->workspace, workspace); d = d->next)
        ;
    if (d == NULL) {
        d = calloc(1, sizeof(*d));
        ENSURE(d != NULL);
        d->org = org;
        d->workspace = workspace;
        d->next = r->first;
        r->first = d;
    }
    d->at_ms = clock_monotonic_ms() + r->delay_ms;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* Takes out one that is due; otherwise tells when the next one will be (0: none). */
static struct due *
due_take(struct restarts *r, int64_t *ret_next_ms)
{
    int64_t now = clock_monotonic_ms();
    int64_t next = 0;

    for (struct due **at = &r->first; *at != NULL; at = &(*at)->next) {
        struct due *d = *at;

        if (d->at_ms <= now) {
            *at = d->next;
            return d;
        }
        if (next == 0 || d->at_ms < next)
            next = d->at_ms;
    }
    *ret_next_ms = next;
    return NULL;
}

static void
restart_now(struct api *a, const struct due *d)
{
    struct launch_status st = launch_status(a->launcher, d->workspace);
    struct agent_request q = {.caller = GATHER_RESTART, .org = d->org, .workspace = d->workspace};
    struct registry_ref *registry;
    AUTO_ARENA struct arena arena = {0};
    struct error e;
    char ws[ID_TEXT_BYTES + 3] = "ws=";

    if (st.state != LAUNCH_RUNNING && st.state != LAUNCH_STARTING)
        return;
    id_text(d->workspace, ws + 3);
    log_info(ws, "restart: its model or secrets changed");
    registry = api_registry_acquire(a);
    if (agent_restart(a, &registry->set, &arena, &q, &e) != ERR_OK)
        log_warn(ws, "restart failed code=%s: %s", err_name(e.code), e.text);
    api_registry_release(a, registry);
}

static void *
restarts_thread(void *ctx)
{
    struct restarts *r = ctx;

    pthread_mutex_lock(&r->lock);
    while (!r->closing) {
        int64_t next_ms = 0;
        AUTO_FREE struct due *d = due_take(r, &next_ms);

        if (d != NULL) {
            pthread_mutex_unlock(&r->lock);
            restart_now(r->api, d);
            pthread_mutex_lock(&r->lock);
        } else if (next_ms == 0) {
            pthread_cond_wait(&r->changed, &r->lock);
        } else {
            struct timespec until = {next_ms / 1000, next_ms % 1000 * 1000000};

            pthread_cond_timedwait(&r->changed, &r->lock, &until);
        }
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

enum err
restarts_open(struct api *a, int64_t delay_ms, struct restarts **ret, struct error *e)
{
    AUTO_FREE struct restarts *r = calloc(1, sizeof(*r));
    pthread_condattr_t attributes;

    ENSURE(r != NULL);
    r->api = a;
    r->delay_ms = delay_ms;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&r->thread, NULL, restarts_thread, r) != 0)
        return fail(e, ERR_INTERNAL, "no thread for restarts");
    *ret = TAKE(r);
    return ERR_OK;
}

void
restarts_close(struct restarts *r)
{
    if (r == NULL)
        return;
    pthread_mutex_lock(&r->lock);
    r->closing = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    while (r->first != NULL) {
        struct due *d = r->first;

        r->first = d->next;
        free(d);
    }
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
