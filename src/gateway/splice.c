/* Puts the vendor's model name in the place of the platform's, without copying the body. */

#include "gateway/ngx_http_purser.h"

/* Appends a buffer over [from, to) of memory that lives as long as the request. */
static ngx_int_t
ngx_http_purser_splice_add(ngx_http_request_t *r, ngx_chain_t ***last, u_char *from, u_char *to)
{
    ngx_chain_t *link;
    ngx_buf_t *b;

    if (from == to)
        return NGX_OK;
    link = ngx_alloc_chain_link(r->pool);
    b = ngx_calloc_buf(r->pool);
    if (link == NULL || b == NULL)
        return NGX_ERROR;
    /* A second try of the upstream rewinds pos to start. */
    b->start = b->pos = from;
    b->end = b->last = to;
    b->memory = 1;
    link->buf = b;
    link->next = NULL;
    **last = link;
    *last = &link->next;
    return NGX_OK;
}

ngx_int_t
ngx_http_purser_splice(ngx_http_request_t *r, const struct request_scan *scan, struct str model)
{
    size_t from = scan->model_off, to = scan->model_off + scan->model_n, base = 0;
    ngx_chain_t *spliced = NULL, **last = &spliced;
    u_char *name = ngx_pnalloc(r->pool, model.n);

    if (name == NULL)
        return NGX_ERROR;
    ngx_memcpy(name, model.p, model.n);
    for (ngx_chain_t *in = r->request_body->bufs; in != NULL; in = in->next) {
        u_char *pos = in->buf->pos;
        size_t n = (size_t)(in->buf->last - pos);
        size_t head = from > base ? ngx_min(from - base, n) : 0;
        size_t tail = to > base ? ngx_min(to - base, n) : 0;

        if (ngx_http_purser_splice_add(r, &last, pos, pos + head) != NGX_OK)
            return NGX_ERROR;
        /* Once, in the buffer that holds the name's first byte. */
        if (from >= base && from < base + n &&
            ngx_http_purser_splice_add(r, &last, name, name + model.n) != NGX_OK)
            return NGX_ERROR;
        if (ngx_http_purser_splice_add(r, &last, pos + tail, pos + n) != NGX_OK)
            return NGX_ERROR;
        base += n;
    }
    for (ngx_chain_t *link = spliced; link != NULL; link = link->next)
        link->buf->last_buf = link->next == NULL;
    r->request_body->bufs = spliced;
    r->headers_in.content_length_n = (off_t)(base - scan->model_n + model.n);
    return NGX_OK;
}
