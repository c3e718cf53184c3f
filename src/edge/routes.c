#include "edge/routes.h"

#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

bool
routes_url_parse(struct str url, struct routes_url *ret)
{
    struct routes_url u = {0};
    struct str authority;
    size_t slash;

    if (str_starts_with(url, STR("https://")))
        u.tls = true;
    else if (!str_starts_with(url, STR("http://")))
        return false;
    url = str_slice(url, u.tls ? 8 : 7, url.n);
    for (size_t i = 0; i < url.n; i++) {
        if (url.p[i] <= ' ' || url.p[i] > '~' || memchr("?#@\"\\{};$", url.p[i], 9) != NULL)
            return false;
    }
    slash = str_find_char(url, '/');
    authority = str_slice(url, 0, slash);
    u.path = str_slice(url, slash, url.n);
    while (u.path.n > 0 && u.path.p[u.path.n - 1] == '/')
        u.path.n--;
    u.port = u.tls ? STR("443") : STR("80");
    if (authority.n > 0 && authority.p[0] == '[') {
        size_t close = str_find_char(authority, ']');

        if (close == authority.n)
            return false;
        u.host = str_slice(authority, 1, close);
        authority = str_slice(authority, close + 1, authority.n);
    } else {
        u.host = str_slice(authority, 0, str_find_char(authority, ':'));
        authority = str_slice(authority, u.host.n, authority.n);
    }
    if (authority.n > 0) {
        uint16_t port = 0;

        u.port = str_slice(authority, 1, authority.n);
        if (authority.p[0] != ':' || u.port.n == 0 || u.port.n > 5)
            return false;
        for (size_t i = 0; i < u.port.n; i++) {
            if (u.port.p[i] < '0' || u.port.p[i] > '9')
                return false;
            port = (uint16_t)(port * 10 + (u.port.p[i] - '0'));
        }
        if (port == 0)
            return false;
    }
    if (u.host.n == 0)
        return false;
    *ret = u;
    return true;
}

/* Copies text whole or says no. */
static bool
put(char *to, size_t to_bytes, struct str s)
{
    if (s.n >= to_bytes)
        return false;
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    to[s.n] = '\0';
    return true;
}

/* The host's entry, made when it is new. NULL: no room, or a name too long for nginx's block. */
static struct routes_host *
host_of(struct routes *rs, const struct routes_url *url)
{
    struct routes_host h;
    char name[sizeof(h.upstream) * 2];

    memset(&h, 0, sizeof(h)); /* padding, too: lists of hosts are compared bytewise */
    h.tls = url->tls;
    snprintf(name, sizeof(name), "purser_%s_%.*s_%.*s", url->tls ? "tls" : "tcp",
        STR_ARG(url->host), STR_ARG(url->port));
    /* In a URL nginx would read what follows a colon as the port. */
    for (char *c = name; *c != '\0'; c++) {
        if (*c == ':')
            *c = '_';
    }
    if (!put(h.upstream, sizeof(h.upstream), str_from_cstr(name)) ||
        !put(h.host, sizeof(h.host), url->host) || !put(h.port, sizeof(h.port), url->port))
        return NULL;
    for (size_t i = 0; i < rs->hosts_n; i++) {
        if (strcmp(rs->hosts[i].upstream, h.upstream) == 0)
            return &rs->hosts[i];
    }
    if (rs->hosts_n == ROUTES_HOSTS_MAX)
        return NULL;
    rs->hosts[rs->hosts_n] = h;
    return &rs->hosts[rs->hosts_n++];
}

/* What the vendor sees as Host: the port only where it is not the scheme's own. */
static bool
put_host_header(struct policy_endpoint *to, const struct routes_url *url)
{
    bool usual = str_equal(url->port, url->tls ? STR("443") : STR("80"));
    bool v6 = str_find_char(url->host, ':') < url->host.n;
    char text[200];

    snprintf(text, sizeof(text), "%s%.*s%s%s%.*s", v6 ? "[" : "", STR_ARG(url->host), v6 ? "]" : "",
        usual ? "" : ":", usual ? 0 : (int)url->port.n, url->port.p);
    return put(to->host, sizeof(to->host), str_from_cstr(text));
}

static enum err
endpoint_make(const struct registry *r, const struct registry_endpoint *from,
    struct str override_url, bool has_key, struct routes *rs, struct policy_endpoint *to,
    struct error *e)
{
    struct str text = registry_str(r, from->base_url);
    struct routes_url url, over;
    struct routes_host *host;

    if (!routes_url_parse(text, &url))
        return fail(e, ERR_REGISTRY_INVALID, "\"%.*s\" is not a base URL", STR_ARG(text));
    if (override_url.n > 0) {
        if (!routes_url_parse(override_url, &over))
            return fail(e, ERR_SETTINGS_INVALID, "\"%.*s\" is not a URL", STR_ARG(override_url));
        over.path = url.path;
        url = over;
    }
    to->present = 1;
    to->header = (uint8_t)from->header;
    to->tls = url.tls;
    if (!put_host_header(to, &url) || !put(to->path, sizeof(to->path), url.path))
        return fail(e, ERR_REGISTRY_INVALID, "the base URL \"%.*s\" is too long", STR_ARG(text));
    if (!has_key)
        return ERR_OK;
    host = host_of(rs, &url);
    if (host == NULL)
        return fail(e, ERR_REGISTRY_INVALID,
            "the host of \"%.*s\" is too long, or there are too many", STR_ARG(text));
    memcpy(to->upstream, host->upstream, sizeof(to->upstream));
    return ERR_OK;
}

/* The other models that the vendor may answer with, where that is what it bills. */
static enum err
billed_make(const struct registry *r, const struct registry_target *from, struct policy_target *to,
    struct error *e)
{
    const struct registry_provider *p = registry_provider_at(r, from->provider);
    const struct registry_vendor_model *models = registry_vendor_models(r, p);
    const struct registry_vendor_model *asked =
        registry_vendor_model_find(r, p, registry_str(r, from->vendor_model));

    to->bills_answered = p->bills_answered;
    for (uint32_t i = 0; i < p->models.n && p->bills_answered; i++) {
        struct policy_billed *b = &to->billed[to->billed_n];

        if (&models[i] == asked)
            continue;
        if (to->billed_n == POLICY_BILLED_MAX || models[i].prices.n > POLICY_PRICES_MAX ||
            !put(b->model, sizeof(b->model), registry_str(r, models[i].id)))
            return fail(e, ERR_REGISTRY_INVALID,
                "too many models or prices of a provider that bills the model it answers with");
        b->prices_n = models[i].prices.n;
        memcpy(b->prices, (const char *)r + models[i].prices.off,
            models[i].prices.n * sizeof(struct price));
        to->billed_n++;
    }
    return ERR_OK;
}

/* One place of a route. has_key: the platform has a key for it, so it gets a host. */
static enum err
target_make(const struct registry *r, const struct registry_target *from, struct str override_url,
    bool has_key, struct routes *rs, struct policy_target *to, struct error *e)
{
    const struct registry_provider *p = registry_provider_at(r, from->provider);

    if (!put(to->vendor_model, sizeof(to->vendor_model), registry_str(r, from->vendor_model)) ||
        !put(to->provider, sizeof(to->provider), registry_str(r, p->name)))
        return fail(e, ERR_REGISTRY_INVALID, "a name that is too long");
    if (from->prices.n > POLICY_PRICES_MAX)
        return fail(e, ERR_REGISTRY_INVALID, "more than %d price rows", POLICY_PRICES_MAX);
    to->max_output = from->max_output;
    to->max_prompt = from->max_prompt;
    to->connect_ms = p->connect_ms;
    to->first_byte_ms = p->first_byte_ms;
    to->idle_ms = p->idle_ms;
    to->drain_ms = p->drain_ms;
    to->drain_nano_usd = p->drain_nano_usd;
    to->prices_n = from->prices.n;
    if (from->prices.n > 0)
        memcpy(
            to->prices, (const char *)r + from->prices.off, from->prices.n * sizeof(struct price));
    if (billed_make(r, from, to, e) != ERR_OK)
        return e->code;
    for (int d = 0; d < DIALECT_COUNT; d++) {
        enum err err;

        if (!p->endpoint[d].present)
            continue;
        err = endpoint_make(r, &p->endpoint[d], override_url, has_key, rs, &to->endpoint[d], e);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err
route_make(const struct registry *r, const struct registry_platform_model *m,
    struct str override_url, routes_has_key_fn *has_key, void *ctx, struct routes *rs,
    struct policy_route *to, struct error *e)
{
    struct str id = registry_str(r, m->id);
    struct registry_target from;

    if (!put(to->id, sizeof(to->id), id))
        return fail(e, ERR_REGISTRY_INVALID,
            "the platform model \"%.*s\" has a name that is too long", STR_ARG(id));
    for (; registry_target_at(r, m, to->targets_n, &from); to->targets_n++) {
        bool key = has_key(ctx, registry_str(r, registry_provider_at(r, from.provider)->name));

        if (target_make(r, &from, override_url, key, rs, &to->targets[to->targets_n], e) != ERR_OK)
            return wrap(e, "the platform model \"%.*s\"", STR_ARG(id));
    }
    return ERR_OK;
}

enum err
routes_make(const struct registry *r, struct str override_url, routes_has_key_fn *has_key,
    void *ctx, struct routes *ret, struct error *e)
{
    memset(ret, 0, sizeof(*ret));
    if (r->platform_models.n > POLICY_ROUTES_MAX)
        return fail(
            e, ERR_REGISTRY_INVALID, "there are more than %d platform models", POLICY_ROUTES_MAX);
    for (uint32_t i = 0; i < r->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(r, i);
        enum err err = route_make(r, m, override_url, has_key, ctx, ret, &ret->routes[ret->n], e);

        if (err != ERR_OK)
            return err;
        ret->n++;
    }
    return ERR_OK;
}

static int
compare_addresses(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void
host_resolve(struct routes_host *h)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;

    h->addresses_n = 0;
    if (getaddrinfo(h->host, h->port, &hints, &found) != 0)
        return;
    for (struct addrinfo *a = found; a != NULL && h->addresses_n < ROUTES_ADDRESSES_MAX;
         a = a->ai_next) {
        char host[ROUTES_ADDRESS_BYTES - 10], *to = h->addresses[h->addresses_n];

        if (getnameinfo(a->ai_addr, a->ai_addrlen, host, sizeof(host), NULL, 0, NI_NUMERICHOST) !=
            0)
            continue;
        snprintf(to, ROUTES_ADDRESS_BYTES, a->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
            h->port);
        h->addresses_n++;
    }
    freeaddrinfo(found);
    /* Resolvers rotate their answers: sorted, the same set is the same list. */
    qsort(h->addresses, h->addresses_n, ROUTES_ADDRESS_BYTES, compare_addresses);
}

void
routes_resolve(struct routes *rs)
{
    for (size_t i = 0; i < rs->hosts_n; i++)
        host_resolve(&rs->hosts[i]);
}

void
routes_keep_addresses(struct routes *fresh, const struct routes *before)
{
    for (size_t i = 0; i < fresh->hosts_n; i++) {
        struct routes_host *h = &fresh->hosts[i];

        for (size_t k = 0; k < before->hosts_n && h->addresses_n == 0; k++) {
            const struct routes_host *old = &before->hosts[k];

            if (strcmp(h->upstream, old->upstream) == 0) {
                memcpy(h->addresses, old->addresses, sizeof(h->addresses));
                h->addresses_n = old->addresses_n;
            }
        }
    }
}

void
routes_mark_reachable(struct routes *rs)
{
    for (size_t i = 0; i < rs->n; i++) {
        for (int d = 0; d < DIALECT_COUNT * POLICY_TARGETS_MAX; d++) {
            struct policy_endpoint *to =
                &rs->routes[i].targets[d / DIALECT_COUNT].endpoint[d % DIALECT_COUNT];

            to->reachable = 0;
            for (size_t k = 0; k < rs->hosts_n; k++) {
                if (strcmp(rs->hosts[k].upstream, to->upstream) == 0)
                    to->reachable = rs->hosts[k].addresses_n > 0;
            }
        }
    }
}

static bool
share_an_address(const struct routes_host *a, const struct routes_host *b)
{
    for (size_t i = 0; i < a->addresses_n; i++) {
        for (size_t k = 0; k < b->addresses_n; k++) {
            if (strcmp(a->addresses[i], b->addresses[k]) == 0)
                return true;
        }
    }
    return a->addresses_n == 0 && b->addresses_n == 0;
}

bool
routes_overlap(const struct routes *a, const struct routes *b)
{
    if (a->hosts_n != b->hosts_n)
        return false;
    for (size_t i = 0; i < a->hosts_n; i++) {
        if (strcmp(a->hosts[i].upstream, b->hosts[i].upstream) != 0 ||
            !share_an_address(&a->hosts[i], &b->hosts[i]))
            return false;
    }
    return true;
}

bool
routes_same_hosts(const struct routes *a, const struct routes *b)
{
    return a->hosts_n == b->hosts_n &&
        memcmp(a->hosts, b->hosts, a->hosts_n * sizeof(a->hosts[0])) == 0;
}
