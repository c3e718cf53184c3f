/* What the files of this folder share: the API object, one request under way, and its answer. */
#ifndef API_IMPL_H
#define API_IMPL_H

#include "api/api.h"
#include "api/auth.h"
#include "api/http.h"
#include "api/json.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "store/workspace_row.h"
#include "vault/vault.h"

#include <pthread.h>

/* A registry with its readers counted; the API itself counts as one for the current one. */
struct registry_ref {
    struct api_registry set;
    unsigned readers;
};

struct inflight;
struct verifier;
struct agent_run;
struct reseal;
struct later;
struct streams;

enum { API_WORKSPACE_LOCKS = 64 };

struct api {
    struct api_options o;
    struct arena arena; /* copies of what the options point to */
    struct launcher *launcher;
    struct http_server *http;
    struct http_server *stream_http; /* NULL: none */
    struct streams *streams;
    pthread_mutex_t registry_lock;
    struct registry_ref *registry;
    /* One start, stop or removal of a workspace at a time. Never taken by the launcher's thread. */
    pthread_mutex_t workspace_locks[API_WORKSPACE_LOCKS];
    pthread_mutex_t inflight_lock;
    struct inflight *inflight; /* idempotency keys whose first request is still running */
    pthread_mutex_t runs_lock;
    struct verifier *verifier;
    struct agent_run *runs; /* the current start of each workspace that was started since we run */
    struct later *later;    /* what is due for workspaces; worked off while we serve */
    struct reseal *reseal;  /* NULL: not serving */
    int64_t started_ms;
};

struct registry_ref *api_registry_acquire(struct api *a);
void api_registry_release(struct api *a, struct registry_ref *r);
pthread_mutex_t *api_workspace_lock(struct api *a, struct id workspace);

/* One request: what routes.c found out before the handler is called. */
struct call {
    struct api *api;
    struct http_request *http;
    const struct route *route;
    struct registry_ref *registry;
    struct principal principal;
    struct id org;         /* per the route's org column */
    struct id id;          /* ":id" */
    struct str name;       /* ":key", ":provider", ":token" */
    json_t *body;          /* after call_body() */
    json_t *error_fields;  /* further fields of an error's body */
    bool answer_is_secret; /* it carries a credential: never kept for a repetition */
};

typedef enum err handler_fn(struct call *c, struct error *e);

/* Takes over answer. */
enum err call_answer(struct call *c, int status, json_t *answer);
/* The error's answer: sentence and code; internal errors get a fixed sentence and a log line. */
void call_fail(struct call *c, const struct error *e);
/* Adds a field to the answer of the error that follows. Takes over value. */
void call_error_field(struct call *c, const char *name, json_t *value);
/* Parses the body into c->body. optional: no body at all counts as {}. */
enum err call_body(struct call *c, bool optional, struct error *e) MUST_CHECK;
/* Replaces a NOT_FOUND's sentence, so that missing and foreign objects read the same. */
enum err call_not_found(enum err code, const char *sentence, struct error *e) MUST_CHECK;

static inline const struct registry *
call_registry(const struct call *c)
{
    return c->registry->set.registry;
}

/* Every handler, as routes.def names them. */
#define X(method, pattern, who, org, max_body, handler) handler_fn handler;
#include "api/routes.def"
#undef X

#endif
