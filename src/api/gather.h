/*
 * The one function that gathers what a decision needs: override, runtime, merged secrets, effective
 * model, auth names. Everybody who asks "which mode, which provider?" asks here, so a workspace
 * never gets two answers. gather_callers lists who that is; a test walks it.
 */
#ifndef API_GATHER_H
#define API_GATHER_H

#include "api/impl.h"
#include "core/envplan.h"

enum gather_caller {
    GATHER_READ,
    GATHER_START,
    GATHER_RESTART,
    GATHER_RUN,
    GATHER_WRITE_GATE,
    GATHER_CREATE,
    GATHER_PULL,
    GATHER_CALLER_COUNT
};

struct gather_caller_row {
    const char *name;
    bool takes_model;  /* this caller may name a model for itself (a start request) */
    bool from_draft;   /* no row yet: the request's own runtime, model and secret names */
    bool needs_values; /* secrets' values are wanted, too */
};

extern const struct gather_caller_row gather_callers[GATHER_CALLER_COUNT];

/* A workspace that is not there yet. Its secrets stand above the org's, as they will at a start. */
struct gather_draft {
    struct str runtime;
    struct str model;
    const struct env_secret *secrets; /* scope is ignored */
    const struct str *secret_values;  /* beside secrets; borrowed for the call */
    size_t secrets_n;
};

struct gather_request {
    enum gather_caller caller;
    struct id org;
    struct id workspace;
    struct str start_model;           /* of this start request; empty: none */
    const struct gather_draft *draft; /* GATHER_CREATE */
};

struct gathered {
    struct workspace_row workspace; /* a draft has only runtime */
    bool elsewhere; /* for a process that purser does not start: it has no HOME of ours */
    /*
     * ERR_OK, or why the inputs could not be read (ERR_STORE_UNAVAILABLE, ERR_SECRET_UNREADABLE):
     * the decision is then the closed one, and nothing may be started.
     */
    struct error failure;
    struct str effective_model; /* trimmed */
    struct env_secret *secrets; /* merged, by name */
    struct secret **values;     /* beside secrets; NULL unless the caller needs values */
    size_t secrets_n;
    struct str *auth_names;
    size_t auth_names_n;
    struct billing_facts facts;
    struct billing_decision decision;
    struct derive_trace trace;
};

/*
 * Fails only with ERR_NOT_FOUND (no such workspace in this org) and ERR_GONE (removed). Everything
 * lives in arena, but values: gathered_done() wipes those.
 */
enum err gather(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct gather_request *request, struct gathered *ret, struct error *e) MUST_CHECK;
/*
 * From what was gathered (runtime, override, effective model, secrets, failure) to the decision:
 * auth names, facts, decision and trace. For gather() itself, and for a record's replay.
 */
void gather_decide(const struct api_registry *registry, struct arena *arena, struct gathered *g);
void gathered_done(struct gathered *g);
#define AUTO_GATHERED __attribute__((cleanup(gathered_done)))

#endif
