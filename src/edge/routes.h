/*
 * The routes of the policy, made from the registry: one per platform model, with an endpoint for
 * every dialect its vendor serves, and the list of hosts behind them. Only providers with a
 * platform
 * key get hosts: the others' calls are refused before they need one.
 */
#ifndef EDGE_ROUTES_H
#define EDGE_ROUTES_H

#include "base/arena.h"
#include "core/policy.h"
#include "core/registry.h"

enum { ROUTES_HOSTS_MAX = 64, ROUTES_ADDRESSES_MAX = 8, ROUTES_ADDRESS_BYTES = 64 };

/* One nginx upstream block: a scheme, host and port, never shared by two TLS names. */
struct routes_host {
    char upstream[POLICY_NAME_MAX + 1];
    char host[128];
    char port[6];
    bool tls;
    char addresses[ROUTES_ADDRESSES_MAX][ROUTES_ADDRESS_BYTES]; /* "1.2.3.4:443", sorted */
    size_t addresses_n;                                         /* 0: does not resolve */
};

struct routes {
    struct policy_route routes[POLICY_ROUTES_MAX];
    size_t n;
    struct routes_host hosts[ROUTES_HOSTS_MAX];
    size_t hosts_n;
};

typedef bool routes_has_key_fn(void *ctx, struct str provider);

/*
 * Fills ret from the registry without touching the network (addresses_n is 0 everywhere).
 * override_url, when not empty, stands for scheme, host and port of every vendor.
 */
enum err routes_make(const struct registry *r, struct str override_url, routes_has_key_fn *has_key,
    void *ctx, struct routes *ret, struct error *e) MUST_CHECK;

/* Asks the resolver for every host; a name that does not resolve keeps no address. May block. */
void routes_resolve(struct routes *rs);
/*
 * A name that resolved before and does not now keeps its addresses: resolvers fail, vendors rarely.
 */
void routes_keep_addresses(struct routes *fresh, const struct routes *before);
/* Marks the endpoints whose host has an address. */
void routes_mark_reachable(struct routes *rs);
/*
 * Same hosts, and each still has one of its addresses? Resolvers that rotate their answers must not
 * make the gateway reload every time.
 */
bool routes_overlap(const struct routes *a, const struct routes *b);
/* Same hosts with the same addresses? */
bool routes_same_hosts(const struct routes *a, const struct routes *b);

/* Splits "https://host:port/path" (no user, no query). False on anything else. For tests, too. */
struct routes_url {
    bool tls;
    struct str host; /* without brackets */
    struct str port; /* "443" or "80" by default */
    struct str path; /* without a slash at its end */
};
bool routes_url_parse(struct str url, struct routes_url *ret);

#endif
