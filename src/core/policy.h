/*
 * The policy: what the gateway must know to decide a call, as one file in memory, without secrets.
 * purserd writes it, workers read it; one writer, any number of readers, no lock. Control plane or
 * store may be away: the workers go on with what was published last.
 *
 * A file is made for one registry: its routes never change. Tokens come and go in fixed slots, each
 * published by one release-store of its state word and guarded by a generation, so a reader never
 * uses half a token. A file that is full or whose registry was replaced is superseded: a new file
 * takes its name, the old header says so, and the workers reopen.
 *
 * This header works on memory that somebody else mapped; it does no I/O.
 */
#ifndef CORE_POLICY_H
#define CORE_POLICY_H

#include "core/budget.h"
#include "core/dialect.h"
#include "core/limit.h"
#include "core/price.h"

#include <stdatomic.h>

enum {
    POLICY_VERSION = 3,
    POLICY_ROUTES_MAX = 256, /* one bit each in a grant */
    POLICY_PRICES_MAX = 8,
    POLICY_BILLED_MAX = 2,
    POLICY_TARGETS_MAX = 4, /* places to try, one after the other */
    POLICY_NAME_MAX = 63,
};

enum policy_state { POLICY_LIVE = 1, POLICY_SUPERSEDED };
enum policy_token_state {
    POLICY_TOKEN_EMPTY,
    POLICY_TOKEN_WRITING,
    POLICY_TOKEN_LIVE,
    POLICY_TOKEN_GONE
};

/* Where one dialect of a route goes. Text is NUL-terminated. */
struct policy_endpoint {
    uint8_t present;
    uint8_t header; /* enum auth_header */
    uint8_t tls;
    uint8_t reachable;                  /* its host name resolved; otherwise its calls get 502 */
    char upstream[POLICY_NAME_MAX + 1]; /* name of nginx's upstream block */
    char host[128];                     /* Host header and TLS name */
    char path[96];                      /* of the base URL, without a slash at the end */
};

/* Another model of a vendor that bills what it answers with, not what it was asked for. */
struct policy_billed {
    char model[POLICY_NAME_MAX + 1];
    uint32_t prices_n;
    struct price prices[POLICY_PRICES_MAX];
};

/* One vendor that serves a platform model. */
struct policy_target {
    char vendor_model[POLICY_NAME_MAX + 1]; /* what the vendor is asked for */
    char provider[40];                      /* whose key is injected */
    int64_t max_output;
    int64_t max_prompt; /* the model's context window in tokens; 0: not known */
    /* How long to wait for the vendor: a connection, the first byte, each byte after it. */
    uint32_t connect_ms, first_byte_ms, idle_ms;
    /* The client left: 0: hang up; otherwise go on reading so long, to learn the exact usage... */
    uint32_t drain_ms;
    int64_t drain_nano_usd; /* ... unless the call seems to cost more than this by then */
    uint32_t prices_n;
    struct price prices[POLICY_PRICES_MAX];
    uint32_t bills_answered; /* the vendor bills the model that it names in its answer */
    uint32_t billed_n;
    struct policy_billed billed[POLICY_BILLED_MAX];
    struct policy_endpoint endpoint[DIALECT_COUNT];
};

/* One platform model and who serves it: the first target, then, on failure, the next ones. */
struct policy_route {
    char id[POLICY_NAME_MAX + 1]; /* what the agent asks for */
    uint32_t targets_n;
    struct policy_target targets[POLICY_TARGETS_MAX];
};

struct policy_token {
    _Atomic uint32_t state; /* enum policy_token_state */
    _Atomic uint32_t generation;
    uint8_t digest[32];
    uint8_t token_id[16];
    uint8_t org_id[16];
    uint8_t workspace_id[16];
    uint8_t decision_id[16];
    int64_t expires_ms; /* 0: never */
    uint64_t grant[POLICY_ROUTES_MAX / 64];
    /* Places in the counters file of the policy's counters_generation. */
    uint32_t budgets_n;
    uint32_t budgets[BUDGETS_PER_CALL_MAX];
    uint32_t limits[LIMITS_PER_CALL]; /* LIMIT_NONE: no such limit */
    uint32_t unused;
};

struct policy_header {
    char magic[8]; /* "PSRPLCY\0" */
    uint32_t version;
    _Atomic uint32_t state;       /* enum policy_state */
    _Atomic int64_t published_ms; /* purserd's last sign of life, Unix ms */
    int64_t max_age_ms;           /* older than that: the gateway refuses */
    uint8_t registry_fingerprint[32];
    uint64_t counters_generation; /* of the counters file that the tokens' places are in */
    uint32_t routes_n;
    uint32_t token_slots; /* a power of two */
    uint64_t routes_off;
    uint64_t tokens_off;
    uint64_t bytes;
};

struct policy {
    struct policy_header *header;
    struct policy_route *routes;
    struct policy_token *tokens;
};

/*
 * Bytes of a file with so many routes and token slots (a power of two); 0 when that makes no sense.
 */
size_t policy_bytes(uint32_t routes, uint32_t token_slots);
/*
 * Writer: lays out zeroed memory. Fill routes and the header's other fields, then policy_publish().
 */
void policy_format(void *memory, uint32_t routes, uint32_t token_slots, struct policy *ret);
/* Writer: from here on readers may attach. */
void policy_publish(struct policy *p);
/* False when the memory is not a whole, published policy of this version. */
bool policy_attach(void *memory, size_t bytes, struct policy *ret);

/* Writer: puts or replaces a token. False when no slot is left (the file must grow). */
bool policy_token_put(struct policy *p, const struct policy_token *t);
/* Writer: no reader finds it after this returns. False when it is not there. */
bool policy_token_remove(struct policy *p, const uint8_t digest[static 32]);
/* Reader: a consistent copy of a live token. state and generation of the copy mean nothing. */
bool policy_token_find(
    const struct policy *p, const uint8_t digest[static 32], struct policy_token *ret);

/* Index of the route with that id, or -1. */
int policy_route_find(const struct policy *p, struct str id);

static inline bool
policy_grant_has(const struct policy_token *t, int route)
{
    return (t->grant[route / 64] >> (route % 64) & 1) != 0;
}

static inline void
policy_grant_add(struct policy_token *t, int route)
{
    t->grant[route / 64] |= (uint64_t)1 << (route % 64);
}

static inline bool
policy_is_live(const struct policy *p)
{
    return atomic_load_explicit(&p->header->state, memory_order_acquire) == POLICY_LIVE;
}

#endif
