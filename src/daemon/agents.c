#include "daemon/agents.h"

#include "api/agent.h"

#include <stdatomic.h>

enum { AGENTS_MAX = 65536, THREADS_MAX = 16 };

struct stopping {
    struct api *api;
    struct store *store;
    const struct id *workspaces;
    size_t n;
    _Atomic size_t next;
};

struct whose {
    struct id workspace;
    struct id org;
};

static enum err
whose_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct whose *w = ctx;

    return workspace_row_find_org(tx, w->workspace, &w->org, e);
}

static void
stop_one(struct stopping *s, struct id workspace)
{
    struct whose w = {.workspace = workspace};
    char subject[ID_TEXT_BYTES + 3] = "ws=";
    struct error e;
    enum err err = store_read(s->store, whose_tx, &w, &e);

    if (err == ERR_OK)
        err = agent_drain(s->api, w.org, workspace, &e);
    id_text(workspace, subject + 3);
    if (err != ERR_OK)
        log_error(subject, "the agent could not be stopped: %s", e.text);
}

static void *
stop_some(void *ctx)
{
    struct stopping *s = ctx;
    size_t i;

    while ((i = atomic_fetch_add(&s->next, 1)) < s->n)
        stop_one(s, s->workspaces[i]);
    return NULL;
}

void
agents_stop_all(struct api *a, struct launcher *l, struct store *store)
{
    struct stopping s = {.api = a, .store = store};
    pthread_t threads[THREADS_MAX];
    size_t threads_n = 0;
    AUTO_ARENA struct arena arena;
    struct id *workspaces;

    arena_init(&arena);
    workspaces = arena_array(&arena, AGENTS_MAX, sizeof(*workspaces));
    s.n = launch_list(l, workspaces, AGENTS_MAX);
    s.n = s.n < AGENTS_MAX ? s.n : AGENTS_MAX;
    s.workspaces = workspaces;
    if (s.n > 0)
        log_info("purserd", "stopping %zu agents", s.n);
    while (threads_n < THREADS_MAX && threads_n < s.n &&
        pthread_create(&threads[threads_n], NULL, stop_some, &s) == 0)
        threads_n++;
    stop_some(&s); /* also when no thread could be made */
    for (size_t i = 0; i < threads_n; i++)
        pthread_join(threads[i], NULL);
}
