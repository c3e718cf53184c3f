#include "edge/edge.h"

#include "base/arena.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "edge/caps.h"
#include "edge/gateway_proc.h"
#include "edge/key_ring.h"
#include "edge/nginx_conf.h"
#include "edge/policy_file.h"
#include "edge/routes.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

enum { CONFIRM_MS = 1000, RESOLVE_MS = 30000, ROTATION_MS = 600000, RELOAD_WAIT_MS = 5000 };

struct edge {
    struct edge_options o;
    struct arena texts;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t served;
    struct edge_keys keys;
    uint64_t served_n; /* how often nginx fetched the keys */
    struct routes routes;
    int64_t routes_ms; /* when they were brought to the gateway, by the monotonic clock */
    struct policy_file policy;
    struct caps caps;
    uint8_t (*inherited)[32]; /* tokens an earlier purserd published and nobody confirmed yet */
    size_t inherited_n;
    bool stopping;
    /* One change of routes at a time: it asks the resolver, which may take long. */
    pthread_mutex_t changing;
    pthread_mutex_t capping; /* one change of budgets and limits at a time */
    int listen_fd;
    int wake_fd;
    pthread_t keeper, resolver;
    pthread_cond_t stop_resolver;
    bool threads_run;
};

struct str
edge_public_url(const struct edge *g)
{
    return g->o.public_url;
}

static bool
has_key(void *ctx, struct str provider)
{
    return key_ring_has(ctx, provider);
}

bool
edge_has_platform_key(struct edge *g, struct str provider)
{
    bool found;

    pthread_mutex_lock(&g->lock);
    found = key_ring_has(&g->keys, provider);
    pthread_mutex_unlock(&g->lock);
    return found;
}

bool
edge_gateway_present(struct edge *g)
{
    return gateway_master(g->o.run_dir) != 0;
}

/* Until nginx has fetched the keys for its new cycle. Called with the lock held. */
static enum err
wait_for_fetch(struct edge *g, uint64_t before, const struct timespec *until, struct error *e)
{
    while (g->served_n == before) {
        if (clock_wait(&g->served, &g->lock, until) != 0)
            return fail(e, ERR_GATEWAY_UNUSABLE,
                "nginx did not take its new configuration within %d s: its error log says why",
                RELOAD_WAIT_MS / 1000);
    }
    return ERR_OK;
}

/*
 * Until the workers of the cycle before take no more calls: they know neither new keys nor hosts.
 */
static enum err
wait_for_workers(const pid_t *workers, size_t n, const struct timespec *until, struct error *e)
{
    const struct timespec pause = {.tv_nsec = 5000000};

    for (size_t i = 0; i < n; i++) {
        while (gateway_worker_accepts(workers[i])) {
            struct timespec now;

            clock_gettime(CLOCK_MONOTONIC, &now);
            if (now.tv_sec >= until->tv_sec)
                return fail(e, ERR_GATEWAY_UNUSABLE, "nginx's old workers go on taking calls");
            nanosleep(&pause, NULL);
        }
    }
    return ERR_OK;
}

/* Asks nginx for a new cycle and returns when only its new workers take calls. */
static enum err
reload_gateway(struct edge *g, struct error *e)
{
    pid_t master = gateway_master(g->o.run_dir), workers[GATEWAY_WORKERS_MAX];
    size_t workers_n = master == 0 ? 0 : gateway_workers(master, workers);
    const struct timespec until = clock_deadline(RELOAD_WAIT_MS);
    enum err err = ERR_OK;
    uint64_t before;

    if (master == 0)
        return ERR_OK; /* it reads the new configuration when it starts */
    pthread_mutex_lock(&g->lock);
    before = g->served_n;
    if (kill(master, SIGHUP) == -1)
        err = fail_errno(e, ERR_GATEWAY_UNUSABLE, "reloading nginx (pid %d)", (int)master);
    else
        err = wait_for_fetch(g, before, &until, e);
    pthread_mutex_unlock(&g->lock);
    return err == ERR_OK ? wait_for_workers(workers, workers_n, &until, e) : err;
}

/*
 * Makes routes anew and brings them to the gateway: configuration and keys first, then the policy
 * that speaks of them. force: also when the hosts are the same (the keys or the registry changed).
 */
static enum err
change_routes(struct edge *g, bool force, struct error *e)
{
    struct routes *fresh = calloc(1, sizeof(*fresh));
    AUTO_FREE struct routes *owner = fresh;
    enum err err = ERR_OK;
    bool same;

    ENSURE(owner != NULL);
    pthread_mutex_lock(&g->lock);
    err = routes_make(g->o.registry, g->o.vendor_override_url, has_key, &g->keys, fresh, e);
    pthread_mutex_unlock(&g->lock);
    if (err != ERR_OK)
        return err;
    routes_resolve(fresh);
    pthread_mutex_lock(&g->lock);
    routes_keep_addresses(fresh, &g->routes);
    routes_mark_reachable(fresh);
    same = routes_same_hosts(fresh, &g->routes) ||
        (routes_overlap(fresh, &g->routes) && clock_monotonic_ms() - g->routes_ms < ROTATION_MS);
    pthread_mutex_unlock(&g->lock);
    if (same && !force)
        return ERR_OK;
    err = nginx_conf_write(&g->o, fresh, e);
    if (err == ERR_OK)
        err = reload_gateway(g, e);
    if (err != ERR_OK)
        return err;
    pthread_mutex_lock(&g->lock);
    err = policy_file_replace(&g->policy, fresh, g->o.registry->fingerprint, e);
    if (err == ERR_OK) {
        g->routes = *fresh;
        g->routes_ms = clock_monotonic_ms();
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

static enum err
fetch_keys(struct edge *g, struct error *e)
{
    struct edge_keys fresh = {0}, old;
    enum err err = key_ring_new(&fresh, e);

    if (err == ERR_OK)
        err = g->o.keys(g->o.keys_ctx, &fresh, e);
    if (err != ERR_OK) {
        key_ring_done(&fresh);
        return err;
    }
    key_ring_seal(&fresh);
    pthread_mutex_lock(&g->lock);
    old = g->keys;
    g->keys = fresh;
    pthread_mutex_unlock(&g->lock);
    key_ring_done(&old);
    return ERR_OK;
}

enum err
edge_platform_keys_changed(struct edge *g, struct error *e)
{
    enum err err;

    pthread_mutex_lock(&g->changing);
    err = fetch_keys(g, e);
    if (err == ERR_OK)
        err = change_routes(g, true, e);
    pthread_mutex_unlock(&g->changing);
    return err;
}

enum err
edge_logs_reopen(struct edge *g, struct error *e)
{
    enum err err;

    pthread_mutex_lock(&g->changing);
    err = reload_gateway(g, e);
    pthread_mutex_unlock(&g->changing);
    return err;
}

enum err
edge_registry_changed(struct edge *g, const struct registry *r, struct error *e)
{
    const struct registry *before;
    enum err err;

    pthread_mutex_lock(&g->changing);
    before = g->o.registry;
    g->o.registry = r;
    err = change_routes(g, true, e);
    if (err != ERR_OK)
        g->o.registry = before;
    pthread_mutex_unlock(&g->changing);
    return err;
}

enum err
edge_token_publish(struct edge *g, const struct edge_token *t, struct error *e)
{
    struct policy_token token = {.expires_ms = t->expires_ms};
    const struct policy *policy = &g->policy.policy;
    enum err err;

    memcpy(token.digest, t->digest, sizeof(token.digest));
    memcpy(token.token_id, t->token.b, sizeof(token.token_id));
    memcpy(token.org_id, t->org.b, sizeof(token.org_id));
    memcpy(token.workspace_id, t->workspace.b, sizeof(token.workspace_id));
    memcpy(token.decision_id, t->decision.b, sizeof(token.decision_id));
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < t->models_n; i++) {
        int route = policy_route_find(policy, t->models[i]);

        if (route >= 0)
            policy_grant_add(&token, route);
        for (uint32_t k = 0; str_equal(t->models[i], STR("*")) && k < policy->header->routes_n; k++)
            policy_grant_add(&token, (int)k);
    }
    err = caps_token(&g->caps, &token, e);
    if (err == ERR_OK)
        err = policy_file_put(&g->policy, &token, e);
    for (size_t i = 0; err == ERR_OK && i < g->inherited_n; i++) {
        if (memcmp(g->inherited[i], t->digest, sizeof(t->digest)) == 0)
            memcpy(g->inherited[i], g->inherited[--g->inherited_n], sizeof(t->digest));
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

void
edge_tokens_settled(struct edge *g)
{
    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->inherited_n; i++)
        policy_file_remove(&g->policy, g->inherited[i]);
    g->inherited_n = 0;
    pthread_mutex_unlock(&g->lock);
}

/* The digests of the tokens whose places in the counters are not the right ones any more. */
static enum err
find_moved(struct edge *g, struct policy_token **ret, size_t *ret_n, struct error *e)
{
    const struct policy *p = &g->policy.policy;
    struct policy_token *moved = NULL;
    size_t n = 0, room = 0;

    for (uint32_t i = 0; i < p->header->token_slots; i++) {
        struct policy_token t;

        if (atomic_load_explicit(&p->tokens[i].state, memory_order_relaxed) != POLICY_TOKEN_LIVE)
            continue;
        memcpy(&t, &p->tokens[i], sizeof(t));
        if (caps_token(&g->caps, &t, e) != ERR_OK) {
            free(moved);
            return e->code;
        }
        if (memcmp(&t, &p->tokens[i], sizeof(t)) == 0)
            continue;
        if (n == room) {
            room = room == 0 ? 64 : room * 2;
            moved = realloc(moved, room * sizeof(*moved));
            ENSURE(moved != NULL);
        }
        moved[n++] = t;
    }
    *ret = moved;
    *ret_n = n;
    return ERR_OK;
}

enum err
edge_caps_publish(struct edge *g, struct edge_budget *budgets, size_t budgets_n,
    const struct edge_limit *limits, size_t limits_n, edge_caps_ready_fn *ready, void *ctx,
    struct error *e)
{
    struct policy_token *moved = NULL;
    size_t moved_n = 0;
    bool changed = false;
    enum err err;

    pthread_mutex_lock(&g->capping);
    pthread_mutex_lock(&g->lock);
    err = caps_set(&g->caps, budgets, budgets_n, limits, limits_n, &changed, e);
    pthread_mutex_unlock(&g->lock);
    /* It asks the store: nobody else may wait for that. */
    if (err == ERR_OK)
        ready(ctx, budgets, budgets_n);
    pthread_mutex_lock(&g->lock);
    if (err == ERR_OK && changed)
        err = find_moved(g, &moved, &moved_n, e);
    for (size_t i = 0; err == ERR_OK && i < moved_n; i++)
        err = policy_file_put(&g->policy, &moved[i], e);
    pthread_mutex_unlock(&g->lock);
    pthread_mutex_unlock(&g->capping);
    free(moved);
    return err;
}

struct counters *
edge_counters(struct edge *g)
{
    return &g->caps.file.counters;
}

bool
edge_budget_slot(struct edge *g, struct id budget, uint32_t *ret_slot)
{
    bool found;

    pthread_mutex_lock(&g->lock);
    found = counters_file_budget_find(&g->caps.file, budget, ret_slot);
    pthread_mutex_unlock(&g->lock);
    return found;
}

void
edge_token_revoke(struct edge *g, const uint8_t digest[static 32])
{
    struct policy_token t;

    pthread_mutex_lock(&g->lock);
    if (policy_token_find(&g->policy.policy, digest, &t))
        caps_token_gone(&g->caps, &t);
    policy_file_remove(&g->policy, digest);
    pthread_mutex_unlock(&g->lock);
}

size_t
edge_token_digests(struct edge *g, uint8_t (**ret)[32])
{
    size_t n;

    pthread_mutex_lock(&g->lock);
    n = policy_file_digests(&g->policy, ret);
    pthread_mutex_unlock(&g->lock);
    return n;
}

bool
edge_holds_keys(struct edge *g, const struct id *keys, size_t n)
{
    bool same;

    pthread_mutex_lock(&g->lock);
    same = g->keys.keys_n == n;
    for (size_t i = 0; same && i < n; i++)
        same = key_ring_has_id(&g->keys, keys[i]);
    pthread_mutex_unlock(&g->lock);
    return same;
}

int64_t
edge_policy_age_ms(struct edge *g)
{
    int64_t age;

    pthread_mutex_lock(&g->lock);
    age = clock_ms() - atomic_load(&g->policy.policy.header->published_ms);
    pthread_mutex_unlock(&g->lock);
    return age;
}

size_t
edge_unresolved(struct edge *g, struct arena *a, struct str *ret_names, size_t max)
{
    size_t n = 0;

    pthread_mutex_lock(&g->lock);
    for (size_t i = 0; i < g->routes.hosts_n && n < max; i++) {
        if (g->routes.hosts[i].addresses_n == 0)
            ret_names[n++] = arena_dup(a, str_from_cstr(g->routes.hosts[i].host));
    }
    pthread_mutex_unlock(&g->lock);
    return n;
}

/* Hands out keys and keeps the policy young. Never blocks on anything else. */
static void *
keeper_main(void *arg)
{
    struct edge *g = arg;
    struct pollfd fds[2] = {
        {.fd = g->listen_fd, .events = POLLIN}, {.fd = g->wake_fd, .events = POLLIN}};

    for (;;) {
        int n = poll(fds, 2, CONFIRM_MS);

        if (n > 0 && fds[1].revents != 0)
            return NULL;
        pthread_mutex_lock(&g->lock);
        if (n > 0 && key_ring_serve(g->listen_fd, &g->keys)) {
            g->served_n++;
            pthread_cond_broadcast(&g->served);
        }
        policy_file_confirm(&g->policy, clock_ms());
        pthread_mutex_unlock(&g->lock);
    }
}

/* Vendors move: their addresses are looked up again and again. */
static void *
resolver_main(void *arg)
{
    struct edge *g = arg;

    for (;;) {
        const struct timespec until = clock_deadline(RESOLVE_MS);
        struct error e;
        bool stopping;

        pthread_mutex_lock(&g->lock);
        while (!g->stopping && clock_wait(&g->stop_resolver, &g->lock, &until) == 0)
            continue;
        stopping = g->stopping;
        pthread_mutex_unlock(&g->lock);
        if (stopping)
            return NULL;
        pthread_mutex_lock(&g->changing);
        if (change_routes(g, false, &e) != ERR_OK)
            log_warn(
                "gateway", "its vendors' addresses changed, but it keeps the old ones: %s", e.text);
        pthread_mutex_unlock(&g->changing);
    }
}

static void
copy_options(struct edge *g, const struct edge_options *o)
{
    struct arena *a = &g->texts;

    g->o = *o;
    g->o.run_dir = arena_dup(a, o->run_dir);
    g->o.log_dir = arena_dup(a, o->log_dir);
    g->o.recorder_path = arena_dup(a, o->recorder_path);
    g->o.api_socket = arena_dup(a, o->api_socket);
    g->o.stream_socket = arena_dup(a, o->stream_socket);
    g->o.module_path = arena_dup(a, o->module_path);
    g->o.listen = arena_dup(a, o->listen);
    g->o.tls_cert = arena_dup(a, o->tls_cert);
    g->o.tls_key = arena_dup(a, o->tls_key);
    g->o.public_url = arena_dup(a, o->public_url);
    g->o.worker_processes = arena_dup(a, o->worker_processes);
    g->o.worker_user = arena_dup(a, o->worker_user);
    g->o.vendor_override_url = arena_dup(a, o->vendor_override_url);
}

static enum err
make_folders(struct edge *g, struct error *e)
{
    struct arena *a = &g->texts;
    const char *const folders[] = {
        g->o.log_dir.p, arena_printf(a, "%.*s/tmp", STR_ARG(g->o.run_dir)).p};

    for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
        if (mkdir(folders[i], 0711) == -1 && errno != EEXIST)
            return fail_errno(e, ERR_STATE_UNUSABLE, "making %s", folders[i]);
    }
    return ERR_OK;
}

static enum err
start(struct edge *g, struct error *e)
{
    struct str policy_path = arena_printf(&g->texts, "%.*s/policy", STR_ARG(g->o.run_dir));
    enum err err = make_folders(g, e);

    policy_file_init(&g->policy, policy_path, g->o.worker_gid, g->o.policy_max_age_ms);
    if (err == ERR_OK)
        err = counters_file_open(arena_printf(&g->texts, "%.*s/counters", STR_ARG(g->o.run_dir)).p,
            g->o.worker_gid, &g->caps.file, e);
    if (err == ERR_OK)
        g->policy.counters_generation = g->caps.file.counters.header->generation;
    if (err == ERR_OK)
        err = fetch_keys(g, e);
    if (err == ERR_OK)
        err = key_ring_listen(
            arena_printf(&g->texts, "%.*s/keys.sock", STR_ARG(g->o.run_dir)).p, &g->listen_fd, e);
    g->wake_fd = eventfd(0, EFD_CLOEXEC);
    ENSURE(g->wake_fd >= 0);
    if (err == ERR_OK) {
        ENSURE(pthread_create(&g->keeper, NULL, keeper_main, g) == 0);
        ENSURE(pthread_create(&g->resolver, NULL, resolver_main, g) == 0);
        g->threads_run = true;
        pthread_mutex_lock(&g->changing);
        err = change_routes(g, true, e);
        pthread_mutex_unlock(&g->changing);
    }
    if (err == ERR_OK) {
        pthread_mutex_lock(&g->lock);
        g->inherited_n = policy_file_digests(&g->policy, &g->inherited);
        pthread_mutex_unlock(&g->lock);
    }
    return err;
}

enum err
edge_open(const struct edge_options *o, struct edge **ret, struct error *e)
{
    struct edge *g = calloc(1, sizeof(*g));
    enum err err;

    ENSURE(g != NULL);
    arena_init(&g->texts);
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->changing, NULL);
    pthread_mutex_init(&g->capping, NULL);
    pthread_cond_init(&g->served, NULL);
    pthread_cond_init(&g->stop_resolver, NULL);
    g->listen_fd = g->wake_fd = -1;
    g->caps.file.fd = -1;
    copy_options(g, o);
    err = start(g, e);
    if (err != ERR_OK) {
        edge_close(g);
        return err;
    }
    *ret = g;
    return ERR_OK;
}

void
edge_close(struct edge *g)
{
    if (g == NULL)
        return;
    if (g->threads_run) {
        pthread_mutex_lock(&g->lock);
        g->stopping = true;
        pthread_cond_broadcast(&g->stop_resolver);
        pthread_mutex_unlock(&g->lock);
        ENSURE(eventfd_write(g->wake_fd, 1) == 0);
        pthread_join(g->keeper, NULL);
        pthread_join(g->resolver, NULL);
    }
    if (g->listen_fd >= 0)
        close(g->listen_fd);
    if (g->wake_fd >= 0)
        close(g->wake_fd);
    key_ring_done(&g->keys);
    policy_file_done(&g->policy);
    caps_done(&g->caps);
    free(g->inherited);
    arena_done(&g->texts);
    free(g);
}
