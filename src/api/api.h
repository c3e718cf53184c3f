/*
 * The control plane's API: handlers that parse, ask core, ask the store and answer. The daemon owns
 * everything named here and keeps it alive until api_free().
 *
 * Order in the daemon:
 *   api_new()                              the object; nothing listens yet
 *   launcher_open(.., api_agent_exited, api, &launcher)
 *   auth_bootstrap_admin()                 STATE/admin-token on the first start (api/auth.h)
 *   api_start(api, launcher)               recovers running agents, then listens
 *   ...
 *   api_stop()                             stops listening, waits for running requests
 *   launcher_close(); api_free()
 */
#ifndef API_API_H
#define API_API_H

#include "core/registry.h"
#include "edge/edge.h"
#include "launch/launch.h"
#include "store/budget_row.h"

struct vault;
struct api;

/*
 * A registry with what matches its patterns. release (may be NULL) is called with owned when the
 * last request that uses it is done, so a registry can be swapped while requests run.
 */
struct api_registry {
    const struct registry *registry;
    registry_match_fn *match;
    void *match_ctx;
    void *owned;
    void (*release)(void *owned);
};

/* What /health says about the parts that only the daemon sees. Negative: not known. */
struct api_health {
    bool gateway_present;
    int64_t policy_age_ms;
    int64_t recorder_used; /* slots */
    int64_t recorder_slots;
    int64_t recorder_waiting; /* slots that ended and are not booked yet */
    int64_t drain_lag_ms;     /* how long the oldest of them has waited */
    struct str not_ok;        /* why it is not healthy; empty: it is. Static text. */
};
typedef void api_health_fn(void *ctx, struct api_health *ret);

/*
 * Reads the registry's file again and puts it in force everywhere (api_registry_swap() among it).
 * ERR_REGISTRY_INVALID with file and line: the old one stays. *ret_changed: it is another one now.
 */
typedef enum err api_reload_fn(void *ctx, bool *ret_changed, struct error *e);

/* verify_credentials: what a vendor's clear no to an org's own credential means. */
enum verify_policy { VERIFY_OFF, VERIFY_WARN, VERIFY_REFUSE };

/* How an agent is kept from us and from its neighbours, when it is a process. */
enum api_isolation {
    API_ISOLATION_UID,     /* a uid of its own (we are root) */
    API_ISOLATION_SANDBOX, /* bubblewrap, and as root a uid of its own, too */
    API_ISOLATION_NONE     /* the operator said so: shown as a warning everywhere */
};

/*
 * Budgets or rate limits changed in the store: they are in force in the gateway when this returns.
 */
typedef enum err api_budgets_changed_fn(void *ctx, struct error *e);
/* The gateway's sums for a budget in the period that runs; false: it does not know this budget. */
typedef bool api_budget_sums_fn(
    void *ctx, struct id budget, int64_t *ret_settled, int64_t *ret_committed);

struct api_options {
    struct store *store;
    struct vault *vault;
    struct edge *edge;
    struct api_registry registry;
    struct str socket_path;
    struct str stream_socket_path; /* for answers that go on; empty: no streams */
    uint32_t socket_mode;          /* of both; 0: 0600 */
    uint32_t socket_gid;
    struct str state_dir;
    struct str homes_dir;    /* homes_dir/<workspace>: the agents' HOME */
    const struct str *hosts; /* names in the Host header that we answer to, besides loopback's */
    size_t hosts_n;
    api_health_fn *health; /* may be NULL */
    void *health_ctx;
    api_reload_fn *reload_registry; /* may be NULL: there is nothing to reload */
    void *reload_ctx;
    struct budget_default budget_default;              /* default_org_budget */
    api_budgets_changed_fn *budgets_changed;           /* may be NULL, as budget_sums */
    void (*budgets_recount)(void *ctx, struct id org); /* the ledger was corrected; may be NULL */
    api_budget_sums_fn *budget_sums;
    void *budgets_ctx;
    /* Settings */
    bool unregistered_model_warn; /* unregistered_model: warn */
    bool refuse_shadowed;         /* shadowed_credential: refuse */
    enum verify_policy verify_credentials;
    struct str vendor_override_url; /* not empty: every vendor is there (demos and tests) */
    enum api_isolation isolation;
    uint32_t uid_first;           /* 0: 200000. First uid for agents when we are root */
    int64_t stop_grace_ms;        /* 0: 5000 */
    int64_t restart_pause_ms;     /* before an ended agent is started again. 0: 1000 */
    int64_t restart_limit;        /* so often in a row. 0: 5 */
    int64_t start_timeout_ms;     /* for those that have to register. 0: 600000 */
    int64_t ready_ms;             /* so long a process must live to be online. 0: 1000 */
    int64_t heartbeat_timeout_ms; /* 0: 180000; external agents: half of it */
};

/* Copies what options point to, except the objects themselves. */
enum err api_new(const struct api_options *o, struct api **ret, struct error *e) MUST_CHECK;
/* launch_exit_fn; ctx is the struct api. Usable before api_start(). */
void api_agent_exited(void *ctx, struct id workspace, const struct launch_status *status);
/* Brings rows, usage tokens and running agents in line, then serves the socket. */
enum err api_start(struct api *a, struct launcher *launcher, struct error *e) MUST_CHECK;
/* From now on decisions use this registry; running requests finish with the one they began with. */
void api_registry_swap(struct api *a, const struct api_registry *r);
/*
 * Another node was asked something of an agent of ours (workspace zero: perhaps of several). False:
 * the store is away, come again.
 */
bool api_wishes_changed(struct api *a, struct id workspace);
/* Another node has written an event of this org. */
void api_events_changed(struct api *a, struct id org);
/* NULL is fine, for both. */
void api_stop(struct api *a);
void api_free(struct api *a);

#endif
