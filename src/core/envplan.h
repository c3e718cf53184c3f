/*
 * The environment plan (SPEC 6): an ordered list of (name, action, source, reason) and of warnings,
 * or a refusal. It holds names and references, never a secret's value, so it can be logged, diffed,
 * stored and shown. Values are joined in at the last moment by the shell.
 *
 * Core allocates nothing: the caller lends an array of rows. A plan is some kilobytes large.
 */
#ifndef CORE_ENVPLAN_H
#define CORE_ENVPLAN_H

#include "core/billing.h"
#include "core/envfile.h"

enum env_scope { ENV_SCOPE_ORG, ENV_SCOPE_WORKSPACE };

/* A secret as the plan sees it. value_blank: present but white space only (does not count as a
 * credential). */
struct env_secret {
    struct str name; /* upper-case, trimmed */
    enum env_scope scope;
    bool value_blank;
    uint32_t value_bytes;
};

enum env_action { ENV_SET, ENV_KEEP, ENV_STRIP };

/* Where the value comes from. */
enum env_source {
    ENV_FROM_SECRET,      /* the secret of that name (KEEP, STRIP) */
    ENV_FROM_MODE,        /* the resolved mode's name */
    ENV_FROM_USAGE_TOKEN, /* this start's usage token */
    ENV_FROM_GATEWAY,     /* literal: a URL of the gateway */
    ENV_FROM_MODEL,       /* literal: the effective model */
    ENV_FROM_IDENTITY,    /* literal: WORKSPACE_ID, PLATFORM_URL ... */
    ENV_FROM_BASE,        /* literal: base variables of the runtime's launch hints */
    ENV_SOURCE_COUNT
};

struct env_row {
    struct str name;
    enum env_action action;
    enum env_source source;
    enum env_scope scope; /* KEEP and STRIP: where the secret came from */
    struct str literal;   /* for SET of a literal; empty for secrets and the usage token */
    const char *reason;   /* a sentence for people, static text */
};

enum env_refusal {
    ENV_REFUSAL_NONE,
    ENV_REFUSAL_MISSING_BYOK_CREDENTIAL,
    ENV_REFUSAL_MISSING_PLATFORM_PROXY,
    ENV_REFUSAL_MODEL_REQUIRED,
    ENV_REFUSAL_MODEL_NOT_ON_PLATFORM,
    ENV_REFUSAL_OPERATOR_KEY_IN_ORG_SECRETS,
    ENV_REFUSAL_MISSING_REQUIRED_ENV,
    ENV_REFUSAL_SHADOWED_CREDENTIAL,
    ENV_REFUSAL_ENVIRONMENT_TOO_LARGE,
    ENV_REFUSAL_COUNT
};

/* The code people and programs see; an empty str for NONE. */
struct str env_refusal_name(enum env_refusal r);

enum env_warning { ENV_WARN_SHADOWED_CREDENTIAL = 1 };

struct env_plan_facts {
    const struct registry *registry;
    const struct billing_decision *decision;
    struct str runtime;
    struct str effective_model; /* trimmed; may be empty */
    const struct env_secret *secrets;
    size_t secrets_n;
    /* What the platform can do for this workspace right now. */
    bool gateway_present;
    bool platform_key_present; /* for the model's upstream */
    bool refuse_shadowed;      /* shadowed_credential: refuse */
    bool has_workspace_token;  /* a start of ours: its workspace token lies in a file in HOME */
    int64_t now_ms;            /* for "has a price in force" */
    /* Literals to set. Empty ones are left out. */
    struct str openai_base_url;    /* with /v1 */
    struct str anthropic_base_url; /* without */
    struct str usage_url;
    const struct env_row
        *identity; /* rows to append as they are: WORKSPACE_ID, PLATFORM_URL, HOME ... */
    size_t identity_n;
    const struct str *required_env; /* the workspace's own, besides the runtime's */
    size_t required_env_n;
};

enum { ENV_PLAN_ROWS_MAX = 512 };

struct env_plan {
    struct env_row *rows; /* the caller's array */
    size_t rows_max;
    size_t n;
    unsigned warnings; /* enum env_warning bits; the decision's own are in the decision */
    enum env_refusal refusal;
    struct str subject;     /* the name or model the refusal or warning speaks of */
    struct str suggestion;  /* e.g. the platform id to use instead; may be empty */
    struct str shadowed_by; /* with the warning: the credential the runtime would pick instead */
    uint8_t needs_usage_token;
    /* The variable with the credential that the agent is meant to call with; empty: none. */
    struct str credential;
    struct env_file files[ENV_PLAN_FILES_MAX];
    size_t files_n;
};

/* Fills plan (rows and rows_max are the caller's). After a refusal rows are informative only. */
void env_plan_make(const struct env_plan_facts *f, struct env_plan *plan);

/* Names that may not be stored by anyone: MOLECULE_LLM_*, WORKSPACE_ID, LD_PRELOAD ... (SPEC 7). */
bool env_name_is_reserved(struct str name);
/* Operator-scope names that must never reach a tenant's agent (facts C.8). */
bool env_name_is_operator_scope(struct str name);
/* [A-Z_][A-Z0-9_]*, at most 128, after upper-casing and trimming. */
bool env_name_is_valid(struct str name);

#endif
