/*
 * The registry as core reads it: one immutable, position-independent block (offsets, no pointers),
 * built from registry/providers.yaml by src/registry. Providers, runtimes, models, prices and the
 * names of credentials exist here and nowhere else.
 */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "core/dialect.h"
#include "core/price.h"
#include "core/str.h"

/* A string / an array inside the block: offset from its start, and length / number of elements. */
struct rstr {
    uint32_t off;
    uint32_t n;
};
struct rlist {
    uint32_t off;
    uint32_t n;
};

enum provider_kind {
    PROVIDER_API_KEY,
    PROVIDER_SUBSCRIPTION,
    PROVIDER_PLATFORM,
    PROVIDER_KEYLESS, /* short-lived credential from a file or the machine */
    PROVIDER_NO_KEY,  /* self-hosted, no credential */
    PROVIDER_KIND_COUNT
};

struct registry_endpoint {
    uint32_t present;
    uint32_t header; /* enum auth_header */
    struct rstr base_url;
};

/* A cheap call that tells a good credential from a bad one: GET base_url of the dialect + path. */
struct registry_verify {
    uint32_t present;
    uint32_t dialect; /* enum dialect; the provider has an endpoint for it */
    struct rstr path; /* begins with '/' */
};

struct registry_provider {
    struct rstr name;
    struct rstr display_name;
    uint32_t kind; /* enum provider_kind */
    uint32_t is_platform;
    struct rlist auth_env;   /* struct rstr: names looked for, in priority order, upper-case */
    struct rlist inject_env; /* struct rstr: names under which a runtime is given the credential */
    struct rlist base_url_env; /* struct rstr: names that redirect this provider's client */
    struct rlist
        other_env; /* struct rstr: further names of the vendor's keys, only stripped and gated */
    struct rlist
        key_prefixes;    /* struct rstr: what this vendor's keys and nobody else's begin with */
    struct rstr pattern; /* PCRE2; empty: matches nothing */
    uint32_t pattern_id; /* index into the compiled patterns, for registry_match_fn */
    struct rstr upstream_vendor; /* empty: the platform cannot route to it */
    struct registry_endpoint endpoint[DIALECT_COUNT];
    struct registry_verify verify;
    struct rlist models; /* struct registry_vendor_model: what the vendor bills, by its own ids */
    /* How long the gateway waits for it; 0: the gateway's own default. */
    uint32_t connect_ms, first_byte_ms, idle_ms;
    /* After the client left: 0: hang up; otherwise read on so long, up to that cost (0: any). */
    uint32_t drain_ms;
    int64_t drain_nano_usd;
    uint32_t bills_answered; /* it may answer with another of its models, and bills that one */
    uint32_t unused;
};

/* A vendor's model with its price list. */
struct registry_vendor_model {
    struct rstr id;
    int64_t max_output;  /* the model's maximum of output tokens */
    int64_t max_prompt;  /* its context window; 0: not known */
    struct rlist prices; /* struct price */
};

struct registry_arm {
    uint32_t provider;   /* index */
    struct rlist models; /* struct rstr: exact ids; empty: a name-only arm */
};

/* A file in the agent's HOME, for runtimes that variables alone do not steer. */
struct registry_file {
    struct rstr path;       /* below HOME */
    struct rlist providers; /* struct rstr: made for these arms; "platform": on platform_managed */
    struct rlist content;   /* struct rstr: lines, with references as env_file_scan() knows them */
    uint32_t refreshed;     /* the agent rewrites it: ours again only when its source changed */
};

struct registry_runtime {
    struct rstr name;
    uint32_t dialect; /* enum dialect the runtime speaks on platform_managed */
    uint32_t anthropic_native;
    struct rlist arms;         /* struct registry_arm, in declared order */
    struct rlist command;      /* struct rstr: default command line */
    struct rlist required_env; /* struct rstr */
    struct rlist base_env;     /* struct rstr pairs: NAME, value, NAME, value ... */
    struct rlist precedence;   /* struct rstr: credentials in the order the runtime picks them */
    struct rlist model_env;    /* struct rstr: names that get the effective model, besides MODEL,
                                  MOLECULE_MODEL */
    struct rlist platform_model_env; /* struct rstr: the same, on platform_managed only */
    struct rlist files;              /* struct registry_file */
    /* How its agents are looked after, unless their workspaces say: core/lifecycle.h. */
    uint32_t readiness; /* enum workspace_readiness */
    uint32_t restart;   /* enum workspace_restart */
    int64_t start_timeout_ms;
};

/* One vendor's offer of a platform model. */
struct registry_target {
    uint32_t provider;        /* index of the upstream vendor's entry */
    struct rstr vendor_model; /* what the vendor is asked for */
    int64_t max_output;       /* the model's maximum of output tokens */
    int64_t max_prompt;       /* its context window; 0: not known */
    struct rlist prices;      /* struct price */
};

/* A model on the platform's menu: what the gateway can route, price and meter. */
struct registry_platform_model {
    struct rstr id; /* what the agent asks for, e.g. "anthropic/claude-opus-4-7" */
    /* The first target, as in struct registry_target. */
    uint32_t provider;
    struct rstr vendor_model;
    int64_t max_output;
    int64_t max_prompt;
    struct rlist prices;
    struct rlist fallbacks; /* struct registry_target: tried in this order when the first fails */
};

enum { REGISTRY_TARGETS_MAX = 4 }; /* the first one included */

struct registry {
    uint32_t magic;
    uint32_t bytes;
    uint8_t fingerprint[32];      /* SHA-256 of the canonical form */
    struct rlist providers;       /* struct registry_provider, in declared order */
    struct rlist runtimes;        /* struct registry_runtime */
    struct rlist platform_models; /* struct registry_platform_model */
    struct rlist bypass_names;    /* struct rstr, sorted: every vendor key, base URLs included */
    struct rlist
        bypass_urls;         /* struct rstr, sorted: those of them that are base URLs or switches */
    struct rlist extra_keys; /* struct rstr: vendor keys that belong to no provider listed here */
    struct rlist extra_redirects; /* struct rstr: the same for base URLs and switches */
};

enum { REGISTRY_MAGIC = 0x31525350 }; /* "PSR1" */

/* Does the provider's pattern match this model? Compiled patterns live outside core. */
typedef bool registry_match_fn(void *ctx, uint32_t pattern_id, struct str model);

static inline struct str
registry_str(const struct registry *r, struct rstr s)
{
    return (struct str){(const char *)r + s.off, s.n};
}

static inline const struct registry_provider *
registry_provider_at(const struct registry *r, uint32_t i)
{
    return (const struct registry_provider *)(const void *)((const char *)r + r->providers.off) + i;
}

static inline const struct registry_runtime *
registry_runtime_at(const struct registry *r, uint32_t i)
{
    return (const struct registry_runtime *)(const void *)((const char *)r + r->runtimes.off) + i;
}

static inline const struct registry_platform_model *
registry_platform_model_at(const struct registry *r, uint32_t i)
{
    return (const struct registry_platform_model *)(const void *)((const char *)r +
               r->platform_models.off) +
        i;
}

static inline const struct registry_arm *
registry_arms(const struct registry *r, const struct registry_runtime *rt)
{
    return (const struct registry_arm *)(const void *)((const char *)r + rt->arms.off);
}

static inline const struct registry_vendor_model *
registry_vendor_models(const struct registry *r, const struct registry_provider *p)
{
    return (const struct registry_vendor_model *)(const void *)((const char *)r + p->models.off);
}

static inline const struct price *
registry_vendor_prices(const struct registry *r, const struct registry_vendor_model *m)
{
    return (const struct price *)(const void *)((const char *)r + m->prices.off);
}

static inline const struct registry_file *
registry_files(const struct registry *r, const struct registry_runtime *rt)
{
    return (const struct registry_file *)(const void *)((const char *)r + rt->files.off);
}

static inline const struct rstr *
registry_strs(const struct registry *r, struct rlist list)
{
    return (const struct rstr *)(const void *)((const char *)r + list.off);
}

static inline const struct price *
registry_prices(const struct registry *r, const struct registry_platform_model *m)
{
    return (const struct price *)(const void *)((const char *)r + m->prices.off);
}

/* The n-th place where the model is served, 0 first; false when there are not so many. */
bool registry_target_at(const struct registry *r, const struct registry_platform_model *m,
    uint32_t n, struct registry_target *ret);

/* NULL when there is none. Names compare byte for byte. */
const struct registry_provider *registry_provider_find(const struct registry *r, struct str name);
const struct registry_runtime *registry_runtime_find(const struct registry *r, struct str name);
const struct registry_platform_model *registry_platform_model_find(
    const struct registry *r, struct str id);

/*
 * What the provider bills under that id of its own; a trailing "-YYYYMMDD" is cut when the whole id
 * is not listed. NULL: no price.
 */
const struct registry_vendor_model *registry_vendor_model_find(
    const struct registry *r, const struct registry_provider *p, struct str id);

/* Is name in the list (compared upper-cased and trimmed)? */
bool registry_list_has_name(const struct registry *r, struct rlist list, struct str name);
/* On the bypass list: stripped on platform_managed, gated at writes. Base URLs included. */
bool registry_is_vendor_key(const struct registry *r, struct str name);
/* A base URL or a switch of back ends: strips and is gated, but never counts as a credential. */
bool registry_is_base_url(const struct registry *r, struct str name);
/* Recognised as an auth name: some provider's auth_env holds it. */
bool registry_is_auth_name(const struct registry *r, struct str name);
/* 64 lower-case hex digits and a NUL. */
void registry_fingerprint_hex(const struct registry *r, char ret[static 65]);

#endif
