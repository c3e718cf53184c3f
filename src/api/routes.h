/* From a request to its handler: host, route, method, credential, kind, org. All of it from one
 * table. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/impl.h"

/* Where a request's org comes from. */
enum route_org {
    ORG_NONE,     /* the route is of no org */
    ORG_CHOSEN,   /* the token's; the admin must choose one (X-Molecule-Org-Id: id or slug) */
    ORG_OPTIONAL, /* as CHOSEN, but the admin may leave it out: all orgs */
    ORG_OF_ID,    /* the one ":id" belongs to; the admin may choose one, too */
};

struct route {
    enum http_method method;
    const char *pattern;
    unsigned who;
    enum route_org org;
    size_t max_body;
    handler_fn *handler;
    const char *handler_name;
};

extern const struct route routes[];
extern const size_t routes_n;

/*
 * The route for a path. ERR_NOT_FOUND: no row has this path; ERR_METHOD_NOT_ALLOWED: some have,
 * with other methods (their names, for the Allow header, in ret_allow).
 */
enum err route_find(struct http_request *r, const struct route **ret, struct str *ret_allow,
    struct error *e) MUST_CHECK;

/* For http_options. ctx is the struct api. */
bool routes_begin(void *ctx, struct http_request *r, size_t *ret_max_body);
void routes_handle(void *ctx, struct http_request *r);
void routes_too_large(void *ctx, struct http_request *r, size_t max_body);

#endif
