/*
 * What purserd tells the gateway: usage tokens and grants through the policy file, the platform's
 * keys over a socket, and nginx's configuration. The gateway never waits for purserd; it reads what
 * was published last.
 *
 * Everything here is safe for threads.
 */
#ifndef EDGE_EDGE_H
#define EDGE_EDGE_H

#include "base/ids.h"
#include "core/counters.h"
#include "core/registry.h"
#include "vault/secret.h"

struct edge;

/*
 * Lists the platform's keys in use: calls edge_keys_add() for each. On an error the gateway keeps
 * the keys it has.
 */
struct edge_keys;
typedef enum err edge_keys_fn(void *ctx, struct edge_keys *into, struct error *e);
enum err edge_keys_add(struct edge_keys *into, struct id key, struct str provider, int64_t weight,
    const struct secret *value, struct error *e) MUST_CHECK;

struct edge_options {
    struct str run_dir;       /* nginx.conf, the policy, sockets; reachable by the workers' user */
    struct str log_dir;       /* access.log; made by nginx's master */
    struct str recorder_path; /* exists already */
    struct str api_socket;
    struct str stream_socket; /* answers that go on; empty: none */
    struct str module_path;
    struct str listen;              /* "127.0.0.1:8080" */
    struct str tls_cert, tls_key;   /* empty: no TLS */
    struct str public_url;          /* scheme://host:port */
    struct str worker_processes;    /* "auto" or a number */
    struct str worker_user;         /* of nginx's workers when we are root */
    uint32_t worker_gid;            /* who may read the policy; 0: only we */
    struct str vendor_override_url; /* not empty: every vendor is there (the demo) */
    int64_t policy_max_age_ms;
    int64_t auth_failures_per_minute; /* of the API, per client address; 0: no limit */
    const struct registry *registry; /* stays valid until edge_registry_changed() or edge_close() */
    edge_keys_fn *keys;
    void *keys_ctx;
};

/*
 * Fetches the keys, resolves the vendors' names, writes RUN/nginx.conf and an empty policy, and
 * serves RUN/keys.sock. nginx may be started when this returns.
 */
enum err edge_open(const struct edge_options *o, struct edge **ret, struct error *e) MUST_CHECK;
/* The gateway goes on with what was published. NULL is fine. */
void edge_close(struct edge *g);

struct edge_token {
    uint8_t digest[32];
    struct id token, org, workspace, decision;
    /*
     * Platform ids this token may call; "*" alone: the whole priced menu. Unknown ids grant
     * nothing.
     */
    const struct str *models;
    size_t models_n;
    int64_t expires_ms; /* 0: never */
};

/* Live in the gateway when this returns. Publishing a digest again replaces its grant. */
enum err edge_token_publish(struct edge *g, const struct edge_token *t, struct error *e) MUST_CHECK;
/* No call is admitted later than 100 ms after. Unknown digests are fine. */
void edge_token_revoke(struct edge *g, const uint8_t digest[static 32]);

/* A cap on spending; see core/budget.h. */
struct edge_budget {
    struct id id, org;
    struct id workspace; /* zero: the whole org's */
    enum budget_period period;
    bool hard;
    /*
     * Other nodes spend of it, too: a lease that is there stays (but never exceeds the limit), a new
     * one is zero; its owner moves it by budget_set_lease(). Otherwise the lease is the limit.
     */
    bool shared;
    int64_t limit_nano;
    bool is_new;   /* set: nothing was counted against it so far */
    uint32_t slot; /* set: its place in the counters */
};

/* How fast a workspace's calls may come, or (per_token) those of each of its tokens. 0: no limit. */
struct edge_limit {
    struct id workspace;
    uint32_t requests_per_min, tokens_per_min, concurrent;
    bool per_token;
};

/*
 * All budgets and limits there are, in the place of those before. ready() is called when every
 * budget has its place, and before a token names it: the time to put in what was spent before.
 */
typedef void edge_caps_ready_fn(void *ctx, const struct edge_budget *budgets, size_t n);
enum err edge_caps_publish(struct edge *g, struct edge_budget *budgets, size_t budgets_n,
    const struct edge_limit *limits, size_t limits_n, edge_caps_ready_fn *ready, void *ctx,
    struct error *e) MUST_CHECK;
/* The shared counters; they stay where they are until edge_close(). */
struct counters *edge_counters(struct edge *g);
/* False: there is no such budget. */
bool edge_budget_slot(struct edge *g, struct id budget, uint32_t *ret_slot);

/*
 * Tokens that an earlier purserd had published stay good until this is called: agents outlive
 * purserd and go on calling. Call it when every live token was published again; the rest goes.
 */
void edge_tokens_settled(struct edge *g);

/* The digests of all tokens that are published now, to be freed by the caller; how many. */
size_t edge_token_digests(struct edge *g, uint8_t (**ret)[32]);
/* Are these the platform keys that the gateway has, no more and no less? */
bool edge_holds_keys(struct edge *g, const struct id *keys, size_t n);

/* Is there a platform key for this provider (so that the gateway can route to it)? */
bool edge_has_platform_key(struct edge *g, struct str provider);
/* The platform's keys changed in the store: fetch them anew and reload the gateway. */
enum err edge_platform_keys_changed(struct edge *g, struct error *e) MUST_CHECK;
/*
 * access.log was put aside: nginx opens it anew. By a reload, since workers of another user may not
 * reach the file by its path, as nginx's signal for this would need.
 */
enum err edge_logs_reopen(struct edge *g, struct error *e) MUST_CHECK;
/* A new registry: new routes, prices and fingerprint; tokens keep the models they were granted. */
enum err edge_registry_changed(
    struct edge *g, const struct registry *r, struct error *e) MUST_CHECK;
/* What agents use to reach the gateway: scheme://host:port, no path. */
struct str edge_public_url(const struct edge *g);
/* Is nginx's master alive? */
bool edge_gateway_present(struct edge *g);
/* Milliseconds since the policy was last confirmed; what /health shows. */
int64_t edge_policy_age_ms(struct edge *g);
/*
 * The vendors' host names that do not resolve right now: at most max of them, copied into the
 * arena.
 * Returns how many were copied. Calls to them get 502.
 */
struct arena;
size_t edge_unresolved(struct edge *g, struct arena *a, struct str *ret_names, size_t max);

#endif
