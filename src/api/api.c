#include "api/agent.h"
#include "api/later.h"
#include "api/org.h"
#include "api/reseal.h"
#include "api/routes.h"
#include "api/stream.h"
#include "api/verify.h"

enum { CONNECTIONS_MAX = 64, STREAM_CONNECTIONS_MAX = 256 };

static struct registry_ref *
ref_new(const struct api_registry *set)
{
    struct registry_ref *r = calloc(1, sizeof(*r));

    ENSURE(r != NULL);
    r->set = *set;
    r->readers = 1;
    return r;
}

struct registry_ref *
api_registry_acquire(struct api *a)
{
    struct registry_ref *r;

    pthread_mutex_lock(&a->registry_lock);
    r = a->registry;
    r->readers++;
    pthread_mutex_unlock(&a->registry_lock);
    return r;
}

void
api_registry_release(struct api *a, struct registry_ref *r)
{
    bool last;

    pthread_mutex_lock(&a->registry_lock);
    last = --r->readers == 0;
    pthread_mutex_unlock(&a->registry_lock);
    if (!last)
        return;
    if (r->set.release != NULL)
        r->set.release(r->set.owned);
    free(r);
}

void
api_registry_swap(struct api *a, const struct api_registry *set)
{
    struct registry_ref *fresh = ref_new(set);
    struct registry_ref *old;

    pthread_mutex_lock(&a->registry_lock);
    old = a->registry;
    a->registry = fresh;
    pthread_mutex_unlock(&a->registry_lock);
    api_registry_release(a, old);
}

pthread_mutex_t *
api_workspace_lock(struct api *a, struct id workspace)
{
    return &a->workspace_locks[workspace.b[15] % API_WORKSPACE_LOCKS];
}

enum err
api_new(const struct api_options *o, struct api **ret, struct error *e)
{
    struct api *a = calloc(1, sizeof(*a));
    struct str *hosts;

    ENSURE(a != NULL);
    if (o->registry.registry == NULL || o->store == NULL || o->vault == NULL) {
        free(a);
        return fail(e, ERR_INTERNAL, "the API needs a store, a vault and a registry");
    }
    json_wiping_init();
    a->o = *o;
    arena_init(&a->arena);
    a->o.socket_path = arena_dup(&a->arena, o->socket_path);
    a->o.stream_socket_path = arena_dup(&a->arena, o->stream_socket_path);
    a->o.state_dir = arena_dup(&a->arena, o->state_dir);
    a->o.homes_dir = arena_dup(&a->arena, o->homes_dir);
    a->o.vendor_override_url = arena_dup(&a->arena, o->vendor_override_url);
    a->verifier = verifier_new();
    hosts = arena_array(&a->arena, o->hosts_n + 1, sizeof(*hosts));
    for (size_t i = 0; i < o->hosts_n; i++)
        hosts[i] = arena_dup(&a->arena, o->hosts[i]);
    a->o.hosts = hosts;
    a->registry = ref_new(&o->registry);
    pthread_mutex_init(&a->registry_lock, NULL);
    pthread_mutex_init(&a->inflight_lock, NULL);
    pthread_mutex_init(&a->runs_lock, NULL);
    for (size_t i = 0; i < API_WORKSPACE_LOCKS; i++)
        pthread_mutex_init(&a->workspace_locks[i], NULL);
    a->started_ms = clock_ms();
    a->later = later_new(a);
    a->streams = streams_new();
    store_on_event(o->store, streams_wake, a->streams);
    *ret = a;
    return ERR_OK;
}

void
api_events_changed(struct api *a, struct id org)
{
    streams_wake(a->streams, org);
}

void
api_agent_exited(void *ctx, struct id workspace, const struct launch_status *status)
{
    agent_ended(ctx, workspace, status);
}

enum err
api_start(struct api *a, struct launcher *launcher, struct error *e)
{
    struct http_options http = {.socket_path = a->o.socket_path,
        .socket_mode = a->o.socket_mode,
        .socket_gid = a->o.socket_gid,
        .connections_max = CONNECTIONS_MAX,
        .begin = routes_begin,
        .handle = routes_handle,
        .too_large = routes_too_large,
        .ctx = a};
    enum err code;

    a->launcher = launcher;
    code = agent_recover(a, e);
    if (code == ERR_OK)
        code = org_suspended_settle(a, e);
    if (code == ERR_OK)
        code = later_run(a->later, e);
    if (code == ERR_OK)
        code = reseal_open(a, &a->reseal, e);
    if (code == ERR_OK)
        code = http_start(&http, &a->http, e);
    http.socket_path = a->o.stream_socket_path;
    http.connections_max = STREAM_CONNECTIONS_MAX;
    http.streams = true;
    if (code == ERR_OK && a->o.stream_socket_path.n > 0)
        code = http_start(&http, &a->stream_http, e);
    if (code == ERR_OK)
        agent_sweep_begin(a);
    if (code != ERR_OK)
        reseal_close(TAKE(a->reseal));
    return code;
}

void
api_stop(struct api *a)
{
    if (a == NULL)
        return;
    /* Requests first: what they leave to be done later is then forgotten with the rest. */
    streams_close(a->streams);
    http_stop(TAKE(a->stream_http));
    http_stop(TAKE(a->http));
    later_stop(a->later);
    reseal_close(TAKE(a->reseal));
}

void
api_free(struct api *a)
{
    if (a == NULL)
        return;
    api_stop(a);
    later_free(a->later);
    store_on_event(a->o.store, NULL, NULL);
    streams_free(a->streams);
    agent_runs_free(a);
    verifier_free(a->verifier);
    api_registry_release(a, a->registry);
    pthread_mutex_destroy(&a->registry_lock);
    pthread_mutex_destroy(&a->inflight_lock);
    pthread_mutex_destroy(&a->runs_lock);
    for (size_t i = 0; i < API_WORKSPACE_LOCKS; i++)
        pthread_mutex_destroy(&a->workspace_locks[i]);
    arena_done(&a->arena);
    free(a);
}
