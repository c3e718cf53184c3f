/*
 * Derivation (SPEC 4): (runtime, model, auth names) -> provider. Pure and deterministic.
 * The trace holds indexes, not text; derive_trace_text() in the shell turns it into words.
 */
#ifndef CORE_DERIVE_H
#define CORE_DERIVE_H

#include "core/registry.h"

enum derive_error {
    DERIVE_OK,
    DERIVE_MODEL_REQUIRED,
    DERIVE_UNKNOWN_RUNTIME,
    DERIVE_UNREGISTERED_MODEL,
    DERIVE_AMBIGUOUS_PROVIDER,
    DERIVE_ERROR_COUNT
};

/* "MODEL_REQUIRED" ...; an empty str for DERIVE_OK. */
struct str derive_error_name(enum derive_error e);

enum derive_step {
    DERIVE_STEP_INPUT,       /* runtime and model trimmed and looked up */
    DERIVE_STEP_EXACT,       /* arms that list the id */
    DERIVE_STEP_EXACT_AUTH,  /* those of them whose auth_env meets the auth names */
    DERIVE_STEP_EXACT_FIRST, /* none or several left: the first declared of all exact arms */
    DERIVE_STEP_PREFIX,      /* arms whose pattern matches */
    DERIVE_STEP_PREFIX_AUTH, /* those of them whose auth_env meets the auth names */
    DERIVE_STEP_COUNT
};

/* Arms of a runtime are numbered in declared order; a runtime has at most 64 (the loader refuses
 * more). */
enum { DERIVE_ARMS_MAX = 64, DERIVE_TRACE_MAX = 8 };

struct derive_trace_step {
    enum derive_step step;
    uint64_t considered; /* bit i: arm i */
    uint64_t kept;
};

struct derive_trace {
    struct derive_trace_step steps[DERIVE_TRACE_MAX];
    size_t n;
};

struct derive_input {
    const struct registry *registry;
    registry_match_fn *match;
    void *match_ctx;
    struct str runtime;
    struct str model;
    const struct str
        *auth_names; /* names present with a non-blank value; unrecognised ones are ignored */
    size_t auth_names_n;
};

struct derive_result {
    enum derive_error error;
    const struct registry_provider *provider; /* NULL on error */
    const struct registry_runtime *runtime;   /* NULL when unknown */
    struct str model;                         /* trimmed */
};

/* trace may be NULL. */
struct derive_result derive(const struct derive_input *in, struct derive_trace *trace);

#endif
