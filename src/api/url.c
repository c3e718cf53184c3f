#include "api/url.h"

#include <arpa/inet.h>

struct net {
    const char *address;
    unsigned bits;
};

static const struct net closed4[] = {
    {"0.0.0.0", 8},
    {"127.0.0.0", 8},
    {"100.64.0.0", 10},
    {"169.254.0.0", 16},
    {"192.0.2.0", 24},
    {"198.51.100.0", 24},
    {"203.0.113.0", 24},
    {"224.0.0.0", 3},
};

static const struct net closed6[] = {
    {"::", 128},
    {"::1", 128},
    {"fe80::", 10},
    {"fc00::", 7},
    {"ff00::", 8},
    {"2001:db8::", 32},
};

static bool
in_net(const unsigned char *address, const unsigned char *net, unsigned bits)
{
    unsigned whole = bits / 8, rest = bits % 8;
    unsigned char mask = (unsigned char)(0xff << (8 - rest));

    return memcmp(address, net, whole) == 0 &&
        (rest == 0 || ((address[whole] ^ net[whole]) & mask) == 0);
}

static bool
is_closed(int family, const unsigned char *address)
{
    const struct net *nets = family == AF_INET ? closed4 : closed6;
    size_t n = family == AF_INET ? sizeof(closed4) / sizeof(closed4[0])
                                 : sizeof(closed6) / sizeof(closed6[0]);
    static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

    if (family == AF_INET6 && memcmp(address, mapped, sizeof(mapped)) == 0)
        return is_closed(AF_INET, address + sizeof(mapped));
    for (size_t i = 0; i < n; i++) {
        unsigned char net[16];

        if (inet_pton(family, nets[i].address, net) == 1 && in_net(address, net, nets[i].bits))
            return true;
    }
    return false;
}

/* A part of an IPv4 address in one of the forms that inet_aton() takes besides a.b.c.d. */
static bool
looks_like_number(struct str host)
{
    struct str last = host;
    size_t dot;

    while ((dot = str_find_char(last, '.')) < last.n && dot + 1 < last.n)
        last = str_slice(last, dot + 1, last.n);
    return last.n > 0 && last.p[0] >= '0' && last.p[0] <= '9';
}

static enum err
unsafe(struct error *e, const char *why)
{
    return fail(e, ERR_INVALID_REQUEST, "unsafe workspace URL: %s", why);
}

static enum err
host_check(struct str host, bool bracketed, struct error *e)
{
    unsigned char address[16];
    char text[256];

    if (host.n == 0 || host.n >= sizeof(text))
        return unsafe(e, "it has no host");
    memcpy(text, host.p, host.n);
    text[host.n] = '\0';
    if (bracketed) {
        if (inet_pton(AF_INET6, text, address) != 1)
            return unsafe(e, "the address in brackets is none");
        return is_closed(AF_INET6, address) ? unsafe(e, "that address is closed") : ERR_OK;
    }
    if (inet_pton(AF_INET, text, address) == 1)
        return is_closed(AF_INET, address) ? unsafe(e, "that address is closed") : ERR_OK;
    if (looks_like_number(host))
        return unsafe(e, "write the address as four numbers with dots");
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '-' && c != '.' && c != '_')
            return unsafe(e, "its host holds a character that no host name has");
    }
    return ERR_OK;
}

enum err
url_check(struct str url, struct error *e)
{
    struct str rest, host;
    bool bracketed;
    size_t end;

    if (str_starts_with(url, STR("http://")))
        rest = str_slice(url, 7, url.n);
    else if (str_starts_with(url, STR("https://")))
        rest = str_slice(url, 8, url.n);
    else
        return unsafe(e, "http:// or https:// only");
    for (end = 0; end < rest.n && strchr("/?#", rest.p[end]) == NULL; end++)
        ;
    rest = str_slice(rest, 0, end);
    if (str_find_char(rest, '@') < rest.n)
        return unsafe(e, "no user names in it");
    bracketed = rest.n > 0 && rest.p[0] == '[';
    host = bracketed ? str_slice(rest, 1, str_find_char(rest, ']'))
                     : str_slice(rest, 0, str_find_char(rest, ':'));
    return host_check(host, bracketed, e);
}
