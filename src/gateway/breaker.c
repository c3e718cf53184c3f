/*
 * A breaker for each upstream: after a row of failures it is passed over while there is somewhere
 * else to go. Where there is not, the call is made all the same: a breaker only changes the order.
 * One call at a time tries whether the vendor is back. Kept by each worker for itself.
 */

#include "gateway/ngx_http_purser.h"

enum { BREAKER_FAILURES = 5, BREAKER_OPEN_MS = 10000 };

static ngx_http_purser_breaker_t *
ngx_http_purser_breaker_find(const char *upstream)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;

    for (ngx_uint_t i = 0; i < w->breakers_n; i++) {
        if (ngx_strcmp(w->breakers[i].upstream, upstream) == 0)
            return &w->breakers[i];
    }
    return NULL;
}

ngx_uint_t
ngx_http_purser_breaker_is_open(const char *upstream)
{
    ngx_http_purser_breaker_t *b = ngx_http_purser_breaker_find(upstream);

    if (b == NULL || b->failures < BREAKER_FAILURES)
        return 0;
    if (b->open_until_ms > ngx_http_purser_now_ms())
        return 1;
    /* This call goes and sees; until it is back, the others go elsewhere. */
    b->open_until_ms = ngx_http_purser_now_ms() + BREAKER_OPEN_MS;
    return 0;
}

void
ngx_http_purser_breaker_note(const char *upstream, ngx_uint_t failed)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    ngx_http_purser_breaker_t *b = ngx_http_purser_breaker_find(upstream);

    if (!failed) {
        if (b != NULL)
            b->failures = 0;
        return;
    }
    if (b == NULL) {
        /* Names change only with the registry; when the table is full, the oldest tells least. */
        b = &w->breakers[w->breakers_n < PURSER_BREAKERS_MAX ? w->breakers_n++ : 0];
        ngx_memzero(b, sizeof(*b));
        ngx_cpystrn((u_char *)b->upstream, (u_char *)upstream, sizeof(b->upstream));
    }
    if (++b->failures == BREAKER_FAILURES)
        b->open_until_ms = ngx_http_purser_now_ms() + BREAKER_OPEN_MS;
}
