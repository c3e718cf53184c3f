#include "daemon/listen.h"

#include "base/cleanup.h"
#include "core/num.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

static bool
is_any(const struct listen_address *a)
{
    if (a->address.ss_family == AF_INET)
        return ((const struct sockaddr_in *)&a->address)->sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&((const struct sockaddr_in6 *)&a->address)->sin6_addr);
}

static bool
fill_address(const char *host, uint16_t port, struct listen_address *ret)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&ret->address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&ret->address;

    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        ret->address_bytes = sizeof(*v4);
        ret->is_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
        snprintf(ret->host, sizeof(ret->host), "%s", host);
        return true;
    }
    if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        ret->address_bytes = sizeof(*v6);
        ret->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
        snprintf(ret->host, sizeof(ret->host), "[%s]", host);
        return true;
    }
    return false;
}

enum err
listen_parse(struct str text, struct listen_address *ret, struct error *e)
{
    struct listen_address a = {0};
    struct str host = text, port = STR_NONE;
    char host_text[64];
    uint64_t number = 0;

    for (size_t i = text.n; i > 0 && port.p == NULL; i--) {
        if (text.p[i - 1] == ':') {
            host = str_slice(text, 0, i - 1);
            port = str_slice(text, i, text.n);
        }
    }
    if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
        host = str_slice(host, 1, host.n - 1);
    snprintf(host_text, sizeof(host_text), "%.*s", host.n < sizeof(host_text) ? (int)host.n : 0,
        host.n > 0 ? host.p : "");
    if (port.p == NULL || !num_parse_u64(port, &number) || number < 1 || number > 65535 ||
        !fill_address(host_text, (uint16_t)number, &a))
        return fail(e, ERR_USAGE, "\"%.*s\" is no address to listen on: write it as 127.0.0.1:8080",
            STR_ARG(text));
    a.port = (int)number;
    *ret = a;
    return ERR_OK;
}

enum err
listen_check_free(const struct listen_address *a, struct error *e)
{
    AUTO_CLOSE int fd = socket(a->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;

    if (fd < 0)
        return fail_errno(e, ERR_IO, "%s:%d cannot be listened on", a->host, a->port);
    /* As nginx does: a port whose last connections linger in TIME_WAIT is free. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (const struct sockaddr *)&a->address, a->address_bytes) == 0 && listen(fd, 1) == 0)
        return ERR_OK;
    if (errno == EADDRINUSE)
        return fail(e, ERR_PORT_IN_USE,
            "%s:%d is in use by another program: stop it, or take another address with --listen",
            a->host, a->port);
    return fail_errno(e, ERR_IO, "%s:%d cannot be listened on", a->host, a->port);
}

void
listen_url(const struct listen_address *a, bool tls, char ret[static LISTEN_URL_BYTES])
{
    const char *host = a->host;

    if (is_any(a))
        host = a->address.ss_family == AF_INET ? "127.0.0.1" : "[::1]";
    snprintf(ret, LISTEN_URL_BYTES, "%s://%s:%d", tls ? "https" : "http", host, a->port);
}
