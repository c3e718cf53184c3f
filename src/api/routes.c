#include "api/routes.h"

#include "api/billing.h"
#include "api/idempotency.h"
#include "store/org_row.h"

#include <strings.h>

enum { AUTH_FAILURES_LOGGED_PER_S = 20 };

const struct route routes[] = {
#define X(method, pattern, who, org, max_body, handler)                                            \
    {HTTP_##method, pattern, who, org, max_body, handler, #handler},
#include "api/routes.def"
#undef X
};
const size_t routes_n = sizeof(routes) / sizeof(routes[0]);

/* Does the pattern fit the request's segments? ":x" fits any one that is not empty. */
static bool
pattern_fits(const char *pattern, const struct http_request *r)
{
    struct str rest = str_from_cstr(pattern + 1);

    for (size_t i = 0; i < r->segments_n; i++) {
        size_t slash = str_find_char(rest, '/');
        struct str part = str_slice(rest, 0, slash);

        if (part.n > 0 && part.p[0] == ':' ? r->segments[i].n == 0
                                           : !str_equal(part, r->segments[i]))
            return false;
        if (slash == rest.n)
            return i + 1 == r->segments_n;
        rest = str_slice(rest, slash + 1, rest.n);
    }
    return false;
}

/* Rows are tried in two rounds: a literal segment goes before a parameter. */
static size_t
pattern_params(const char *pattern)
{
    size_t n = 0;

    for (; *pattern != '\0'; pattern++)
        n += *pattern == ':';
    return n;
}

enum err
route_find(struct http_request *r, const struct route **ret, struct str *ret_allow, struct error *e)
{
    const struct route *found = NULL;
    struct str allow = STR_NONE;

    for (size_t i = 0; i < routes_n && !r->path_bad; i++) {
        const struct route *row = &routes[i];

        if (!pattern_fits(row->pattern, r))
            continue;
        if (row->method == r->method) {
            if (found == NULL || pattern_params(row->pattern) < pattern_params(found->pattern))
                found = row;
            continue;
        }
        allow = arena_printf(&r->arena, "%.*s%s%s", STR_ARG(allow), allow.n == 0 ? "" : ", ",
            http_method_name(row->method));
    }
    if (found != NULL) {
        *ret = found;
        return ERR_OK;
    }
    if (allow.n == 0)
        return fail(e, ERR_NOT_FOUND, "there is no such route");
    *ret_allow = allow;
    return fail(e, ERR_METHOD_NOT_ALLOWED, "this route takes %.*s", STR_ARG(allow));
}

/* The name in a Host header without its port, compared without case. */
static bool
host_equal(struct str host, struct str name)
{
    return host.n == name.n && strncasecmp(host.p, name.p, name.n) == 0;
}

static enum err
host_check(const struct api *a, const struct http_request *r, struct error *e)
{
    static const struct str loopback[] = {
        STR_INIT("localhost"), STR_INIT("127.0.0.1"), STR_INIT("[::1]")};
    struct str host = http_header_get(r, "Host");

    if (host.n > 0 && host.p[0] == '[')
        host.n = str_find_char(host, ']') < host.n ? str_find_char(host, ']') + 1 : host.n;
    else
        host.n = str_find_char(host, ':');
    for (size_t i = 0; i < sizeof(loopback) / sizeof(loopback[0]); i++) {
        if (host_equal(host, loopback[i]))
            return ERR_OK;
    }
    for (size_t i = 0; i < a->o.hosts_n; i++) {
        if (host_equal(host, a->o.hosts[i]))
            return ERR_OK;
    }
    return fail(e, ERR_UNKNOWN_HOST, "this server does not answer to that host name");
}

static const char *
who_name(unsigned who)
{
    switch (who) {
    case WHO_ADMIN:
        return "the admin token";
    case WHO_ORG:
        return "an org token";
    case WHO_ORG_READ:
        return "a read-only org token";
    case WHO_WORKSPACE:
        return "a workspace token";
    case WHO_AGENT:
        return "the token of a workspace's start";
    case WHO_USAGE:
        return "a usage token";
    default:
        return "nobody";
    }
}

static enum err
kind_check(const struct call *c, struct error *e)
{
    if ((c->route->who & c->principal.who) != 0)
        return ERR_OK;
    return fail(
        e, ERR_WRONG_CREDENTIAL_KIND, "%s may not use this route", who_name(c->principal.who));
}

/* ":id" and the one other parameter a pattern may have. */
static enum err
params_take(struct call *c, struct error *e)
{
    struct str rest = str_from_cstr(c->route->pattern + 1);

    for (size_t i = 0; i < c->http->segments_n; i++) {
        size_t slash = str_find_char(rest, '/');
        struct str part = str_slice(rest, 0, slash);

        if (str_equal(part, STR(":id"))) {
            if (!id_parse(c->http->segments[i], &c->id))
                return fail(e, ERR_INVALID_REQUEST, "invalid workspace ID");
        } else if (part.n > 0 && part.p[0] == ':') {
            c->name = c->http->segments[i];
        }
        rest = slash < rest.n ? str_slice(rest, slash + 1, rest.n) : STR_NONE;
    }
    return ERR_OK;
}

struct org_lookup {
    struct call *c;
    struct str chosen; /* X-Molecule-Org-Id, may be empty */
};

/* The admin's org: by id or slug from the header, else the workspace's own. */
static enum err
admin_org_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct org_lookup *l = ctx;
    struct call *c = l->c;
    struct org_row org;
    struct id id;
    enum err code;

    if (l->chosen.n == 0)
        return workspace_row_find_org(tx, c->id, &c->org, e);
    if (id_parse(l->chosen, &id))
        code = org_row_get(tx, id, &c->http->arena, &org, e);
    else
        code = org_row_get_by_slug(tx, l->chosen, &c->http->arena, &org, e);
    if (code == ERR_OK)
        c->org = org.id;
    return code;
}

static enum err
org_take(struct call *c, struct error *e)
{
    struct org_lookup l = {c, str_trim(http_header_get(c->http, "X-Molecule-Org-Id"))};
    enum route_org from = c->route->org;
    enum err code;

    if (from == ORG_NONE)
        return ERR_OK;
    if ((c->principal.who & WHO_SELF) != 0 && from == ORG_OF_ID &&
        !id_equal(c->principal.workspace, c->id))
        return fail(e, ERR_NOT_FOUND, "workspace not found");
    if (c->principal.who != WHO_ADMIN) {
        c->org = c->principal.org;
        return ERR_OK;
    }
    if (l.chosen.n == 0 && from == ORG_OPTIONAL)
        return ERR_OK;
    if (l.chosen.n == 0 && from == ORG_CHOSEN) {
        return fail(e, ERR_ORG_REQUIRED,
            "the admin must choose an org for this: send its id or slug as X-Molecule-Org-Id");
    }
    code = store_read(c->api->o.store, admin_org_tx, &l, e);
    if (code == ERR_NOT_FOUND && l.chosen.n > 0)
        return fail(e, code, "there is no org \"%.*s\" (purser org list)", STR_ARG(l.chosen));
    return call_not_found(code, "workspace not found", e);
}

/*
 * A line per failure, never with the token; bounded, so that whoever tries credentials by the
 * thousand does not fill the disk as well.
 */
static void
auth_failed_log(const struct call *c)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t second;
    static unsigned said, dropped;
    int64_t now = clock_monotonic_ms() / 1000;
    unsigned missed = 0;
    bool say;

    pthread_mutex_lock(&lock);
    if (now != second) {
        missed = dropped;
        second = now;
        said = dropped = 0;
    }
    say = said < AUTH_FAILURES_LOGGED_PER_S;
    said += say;
    dropped += !say;
    pthread_mutex_unlock(&lock);
    if (missed > 0)
        log_warn("api", "authentication failed %u more times", missed);
    if (say)
        log_warn("api", "authentication failed client=%.*s method=%s route=%s",
            STR_ARG(http_client(c->http)), http_method_name(c->http->method), c->route->pattern);
}

/* nginx counts what is refused here (edge/nginx_conf.c) and needs the answer in a header for that. */
static void
auth_failed(struct call *c, const struct error *e)
{
    AUTO_JSON json_t *answer = json_pack("{s:s, s:s}", "error", e->text, "code", err_name(e->code));
    char *text = json_dumps(answer, JSON_COMPACT);

    http_header_set(c->http, "WWW-Authenticate", STR("Bearer"));
    http_header_set(c->http, "X-Purser-Refused", str_from_cstr(text));
    json_wiping_free(text);
    auth_failed_log(c);
}

/* Everything that can be said before the body is read. */
static enum err
call_begin(struct call *c, struct error *e)
{
    struct str allow = STR_NONE;
    enum err code = host_check(c->api, c->http, e);

    if (code != ERR_OK)
        return code;
    code = route_find(c->http, &c->route, &allow, e);
    if (code == ERR_METHOD_NOT_ALLOWED)
        http_header_set(c->http, "Allow", allow);
    if (code != ERR_OK || c->route->who == WHO_OPEN)
        return code;
    code = auth_principal(
        c->api->o.store, http_header_get(c->http, "Authorization"), &c->principal, e);
    if (code == ERR_UNAUTHORIZED)
        auth_failed(c, e);
    if (code != ERR_OK)
        return code;
    if (c->principal.suspended) {
        return fail(e, ERR_ORG_SUSPENDED,
            "this org is suspended: whoever operates this server resumes it (purser org resume)");
    }
    code = kind_check(c, e);
    if (code != ERR_OK)
        return code;
    code = params_take(c, e);
    if (code != ERR_OK)
        return code;
    return org_take(c, e);
}

bool
routes_begin(void *ctx, struct http_request *r, size_t *ret_max_body)
{
    struct call *c = arena_alloc(&r->arena, sizeof(*c));
    struct error e;
    enum err code;

    c->api = ctx;
    c->http = r;
    r->user = c;
    code = call_begin(c, &e);
    if (code == ERR_OK) {
        *ret_max_body = c->route->max_body;
        return true;
    }
    /* The one answer that is owed even then: the decision, which is closed when nothing can be
     * read. */
    if (code == ERR_STORE_UNAVAILABLE && c->route->handler == billing_get)
        billing_answer_closed(c);
    call_fail(c, &e);
    return false;
}

void
routes_handle(void *ctx, struct http_request *r)
{
    struct call *c = r->user;
    struct error e;
    enum err code;

    c->registry = api_registry_acquire(c->api);
    code = idempotency_run(c, &e);
    if (code != ERR_OK)
        call_fail(c, &e);
    json_decref(c->body);
    c->body = NULL;
    api_registry_release(c->api, c->registry);
}

void
routes_too_large(void *ctx, struct http_request *r, size_t max_body)
{
    struct call *c = r->user;
    struct error e;

    (void)fail(&e, ERR_PAYLOAD_TOO_LARGE, "the body is larger than the %zu bytes this route takes",
        max_body);
    call_fail(c, &e);
}
