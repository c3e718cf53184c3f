/* Agents' addresses: what is taken is http(s), names no user, and leads nowhere that is closed. */
#include "api/url.h"

#include <arpa/inet.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_address(const char *host)
{
    struct in_addr v4;
    uint32_t a;

    if (inet_aton(host, &v4) == 0)
        return;
    a = ntohl(v4.s_addr);
    ENSURE(a >> 24 != 0 && a >> 24 != 127 && a >> 16 != 0xa9fe && a >> 28 != 0xe);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *url = malloc(n + (n == 0)), host[256];
    struct error e;

    ENSURE(url != NULL);
    memcpy(url, data, n);
    if (url_check((struct str){url, n}, &e) == ERR_OK) {
        struct str rest = str_slice((struct str){url, n}, 7 + (url[4] == 's'), n);
        size_t end = 0;

        ENSURE(memcmp(url, "http", 4) == 0);
        while (end < rest.n && strchr(":/?#", rest.p[end]) == NULL)
            end++;
        ENSURE(end > 0 && end < sizeof(host) && memchr(rest.p, '@', end) == NULL);
        memcpy(host, rest.p, end);
        host[end] = '\0';
        check_address(host);
    } else {
        ENSURE(e.code == ERR_INVALID_REQUEST);
    }
    free(url);
    return 0;
}
