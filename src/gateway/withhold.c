/*
 * The one chunk of a streamed chat completion that only tells the usage we asked for is not for the
 * client. What passes is changed in place: the bytes of that chunk are closed up. An event whose
 * kind is not known yet is held back, in memory of our own, until it is.
 */

#include "gateway/ngx_http_purser.h"

/* Nobody's usage chunk is that long: a longer event passes. */
enum { HELD_MAX = 65536 };

static ngx_int_t
ngx_http_purser_hold(
    ngx_http_request_t *r, ngx_http_purser_withheld_t *w, const u_char *p, size_t n)
{
    if (w->held_n + n > w->room) {
        size_t room = ngx_max(w->held_n + n, 2 * w->room + 1024);
        u_char *grown = ngx_pnalloc(r->pool, room);

        if (grown == NULL)
            return NGX_ERROR;
        if (w->held_n > 0)
            ngx_memcpy(grown, w->held, w->held_n);
        (void)ngx_pfree(r->pool, w->held);
        w->held = grown;
        w->room = room;
    }
    ngx_memcpy(w->held + w->held_n, p, n);
    w->held_n += n;
    return NGX_OK;
}

/* Puts what was held into a buffer of its own. */
static ngx_chain_t *
ngx_http_purser_released(ngx_http_request_t *r, ngx_http_purser_withheld_t *w)
{
    ngx_chain_t *link = ngx_chain_get_free_buf(r->pool, &w->free);
    ngx_buf_t *b;

    if (link == NULL)
        return NULL;
    b = link->buf;
    if ((size_t)(b->end - b->start) < w->held_n) {
        size_t room = ngx_max(w->held_n, 1024);

        b->start = ngx_pnalloc(r->pool, room);
        if (b->start == NULL)
            return NULL;
        b->end = b->start + room;
    }
    b->pos = b->start;
    b->last = ngx_cpymem(b->start, w->held, w->held_n);
    b->temporary = 1;
    b->tag = (ngx_buf_tag_t)&ngx_http_purser_module;
    w->held_n = 0;
    return link;
}

/*
 * Feeds one buffer to the meter, leaves in it what passes, and appends to the chain what was held
 * before it and may pass now.
 */
static ngx_int_t
ngx_http_purser_withhold_in(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_buf_t *b, ngx_chain_t ***last)
{
    ngx_http_purser_withheld_t *w = &ctx->withheld;
    u_char *p = b->pos, *to = b->pos;

    while (p < b->last) {
        size_t n = usage_meter_feed_event(&ctx->meter, (char *)p, (size_t)(b->last - p));
        ngx_uint_t ended = ctx->meter.event_ended;
        ngx_uint_t is_ours = ctx->meter.event == USAGE_EVENT_USAGE_ONLY;
        ngx_uint_t passes = ctx->meter.event == USAGE_EVENT_PASS || w->let_go ||
            (ended && !is_ours) || w->held_n + n > HELD_MAX;

        if (passes && w->held_n > 0) {
            /* Held bytes are of this event, and of earlier buffers. */
            **last = ngx_http_purser_released(r, w);
            if (**last == NULL)
                return NGX_ERROR;
            *last = &(**last)->next;
            **last = NULL;
        }
        if (passes) {
            if (to != p)
                ngx_memmove(to, p, n);
            to += n;
        } else if (ended) {
            w->held_n = 0;
        } else if (ngx_http_purser_hold(r, w, p, n) != NGX_OK) {
            return NGX_ERROR;
        }
        w->let_go = passes && !ended;
        p += n;
    }
    b->last = to;
    return NGX_OK;
}

ngx_int_t
ngx_http_purser_withhold(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *in, ngx_chain_t **ret)
{
    ngx_http_purser_withheld_t *w = &ctx->withheld;
    ngx_chain_t **last = ret;

    *ret = NULL;
    for (ngx_chain_t *link = in; link != NULL; link = link->next) {
        ngx_buf_t *b = link->buf;

        if (ngx_buf_in_memory(b)) {
            if (ngx_http_purser_withhold_in(r, ctx, b, &last) != NGX_OK)
                return NGX_ERROR;
            /* nginx takes an empty buffer for a mistake. */
            if (b->pos == b->last && !b->last_buf)
                continue;
        }
        if (b->last_buf && w->held_n > 0 && ctx->meter.event != USAGE_EVENT_USAGE_ONLY) {
            /* The vendor stopped in the middle of an event. */
            *last = ngx_http_purser_released(r, w);
            if (*last == NULL)
                return NGX_ERROR;
            last = &(*last)->next;
        }
        *last = ngx_alloc_chain_link(r->pool);
        if (*last == NULL)
            return NGX_ERROR;
        (*last)->buf = b;
        last = &(*last)->next;
        *last = NULL;
    }
    return NGX_OK;
}

void
ngx_http_purser_withhold_sent(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *passed)
{
    ngx_chain_update_chains(r->pool, &ctx->withheld.free, &ctx->withheld.busy, &passed,
        (ngx_buf_tag_t)&ngx_http_purser_module);
}
