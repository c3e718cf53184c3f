#include "api/later.h"

#include "api/agent.h"
#include "api/restart.h"

enum { THREADS = 4 };

static later_fn *const functions[LATER_KIND_COUNT] = {
    [LATER_START] = agent_start_due,
    [LATER_RESTART] = restart_due,
    [LATER_READY] = agent_ready_due,
    [LATER_TIMEOUT] = agent_timeout_due,
    [LATER_SETTLE] = agent_settle_due,
    [LATER_SWEEP] = agent_sweep_due,
};

struct node {
    struct node *next;
    struct later_entry entry;
};

struct later {
    struct api *api;
    pthread_t threads[THREADS];
    size_t threads_n;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct node *first;
    bool closing;
};

void
later_put(struct api *a, enum later_kind kind, struct id org, struct id workspace, struct id start,
    int64_t delay_ms)
{
    struct later *l = a->later;
    struct node *n;

    pthread_mutex_lock(&l->lock);
    for (n = l->first;
         n != NULL && (n->entry.kind != kind || !id_equal(n->entry.workspace, workspace));
         n = n->next)
        ;
    if (n == NULL && !l->closing) {
        n = calloc(1, sizeof(*n));
        ENSURE(n != NULL);
        n->next = l->first;
        l->first = n;
    }
    if (n != NULL) {
        n->entry = (struct later_entry){
            kind, org, workspace, start, clock_ms(), clock_monotonic_ms() + delay_ms};
        pthread_cond_signal(&l->changed);
    }
    pthread_mutex_unlock(&l->lock);
}

/* Takes out the one that is due longest; otherwise tells when the next one will be (0: none). */
static struct node *
take_due(struct later *l, int64_t *ret_next_ms)
{
    struct node **soonest = NULL;

    for (struct node **at = &l->first; *at != NULL; at = &(*at)->next) {
        if (soonest == NULL || (*at)->entry.at_ms < (*soonest)->entry.at_ms)
            soonest = at;
    }
    if (soonest != NULL && (*soonest)->entry.at_ms <= clock_monotonic_ms()) {
        struct node *n = *soonest;

        *soonest = n->next;
        return n;
    }
    *ret_next_ms = soonest == NULL ? 0 : (*soonest)->entry.at_ms;
    return NULL;
}

static void *
work(void *ctx)
{
    struct later *l = ctx;

    pthread_mutex_lock(&l->lock);
    while (!l->closing) {
        int64_t next_ms = 0;
        AUTO_FREE struct node *n = take_due(l, &next_ms);

        if (n != NULL) {
            /* There may be another one for another thread, which was not told of it. */
            pthread_cond_signal(&l->changed);
            pthread_mutex_unlock(&l->lock);
            functions[n->entry.kind](l->api, &n->entry);
            pthread_mutex_lock(&l->lock);
        } else if (next_ms == 0) {
            pthread_cond_wait(&l->changed, &l->lock);
        } else {
            struct timespec until = {next_ms / 1000, next_ms % 1000 * 1000000};

            pthread_cond_timedwait(&l->changed, &l->lock, &until);
        }
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

struct later *
later_new(struct api *a)
{
    struct later *l = calloc(1, sizeof(*l));
    pthread_condattr_t attributes;

    ENSURE(l != NULL);
    l->api = a;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return l;
}

enum err
later_run(struct later *l, struct error *e)
{
    while (l->threads_n < THREADS) {
        if (pthread_create(&l->threads[l->threads_n], NULL, work, l) != 0)
            return fail(e, ERR_INTERNAL, "no thread for the agents' life");
        l->threads_n++;
    }
    return ERR_OK;
}

void
later_stop(struct later *l)
{
    if (l == NULL)
        return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
    while (l->threads_n > 0)
        pthread_join(l->threads[--l->threads_n], NULL);
    while (l->first != NULL) {
        struct node *n = l->first;

        l->first = n->next;
        free(n);
    }
}

void
later_free(struct later *l)
{
    if (l == NULL)
        return;
    later_stop(l);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
