/*
 * What an attempt sends: the client's body with the vendor's model name in the place of the
 * platform's and, where a stream would not tell its usage, a word that asks for it. Nothing is
 * copied: the body becomes a chain of views into what was read and of the new pieces.
 */

#include "gateway/ngx_http_purser.h"

enum { EDITS_MAX = 2 };

/* Bytes [off, off + cut) of the client's body give way to text. */
typedef struct {
    size_t off, cut;
    struct str text;
} ngx_http_purser_edit_t;

/* The chain as it grows. */
typedef struct {
    ngx_http_request_t *request;
    ngx_chain_t *first, **last;
    off_t bytes;
} ngx_http_purser_spliced_t;

/* Appends a buffer over memory that lives as long as the request. */
static ngx_int_t
ngx_http_purser_splice_add(ngx_http_purser_spliced_t *out, const u_char *from, size_t n)
{
    ngx_chain_t *link;
    ngx_buf_t *b;

    if (n == 0)
        return NGX_OK;
    link = ngx_alloc_chain_link(out->request->pool);
    b = ngx_calloc_buf(out->request->pool);
    if (link == NULL || b == NULL)
        return NGX_ERROR;
    b->start = b->pos = (u_char *)from;
    b->end = b->last = (u_char *)from + n;
    b->memory = 1;
    link->buf = b;
    link->next = NULL;
    *out->last = link;
    out->last = &link->next;
    out->bytes += (off_t)n;
    return NGX_OK;
}

/* Appends bytes [from, to) of the client's body. */
static ngx_int_t
ngx_http_purser_splice_body(
    ngx_http_purser_spliced_t *out, const ngx_chain_t *body, size_t from, size_t to)
{
    size_t base = 0;

    for (; body != NULL && base < to; body = body->next) {
        size_t n = (size_t)(body->buf->last - body->buf->pos);
        size_t head = from > base ? ngx_min(from - base, n) : 0, tail = ngx_min(to - base, n);

        if (tail > head &&
            ngx_http_purser_splice_add(out, body->buf->pos + head, tail - head) != NGX_OK)
            return NGX_ERROR;
        base += n;
    }
    return NGX_OK;
}

ngx_int_t
ngx_http_purser_splice(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, struct str model)
{
    ngx_http_purser_spliced_t out = {.request = r, .last = &out.first};
    ngx_http_purser_edit_t edits[EDITS_MAX], *e = edits;
    ngx_http_purser_edit_t name = {ctx->scan.model_off, ctx->scan.model_n, model}, usage;
    ngx_uint_t asks =
        !ctx->is_free && request_usage_splice(&ctx->scan, &usage.off, &usage.cut, &usage.text);
    u_char *copy = ngx_pnalloc(r->pool, model.n);
    size_t at = 0;

    if (copy == NULL)
        return NGX_ERROR;
    ngx_memcpy(copy, model.p, model.n);
    name.text.p = (char *)copy;
    if (asks && usage.off < name.off)
        *e++ = usage;
    *e++ = name;
    if (asks && usage.off >= name.off)
        *e++ = usage;
    for (ngx_http_purser_edit_t *edit = edits; edit < e; edit++) {
        if (ngx_http_purser_splice_body(&out, ctx->body, at, edit->off) != NGX_OK ||
            ngx_http_purser_splice_add(&out, (u_char *)edit->text.p, edit->text.n) != NGX_OK)
            return NGX_ERROR;
        at = edit->off + edit->cut;
    }
    if (ngx_http_purser_splice_body(&out, ctx->body, at, ctx->body_bytes) != NGX_OK)
        return NGX_ERROR;
    for (ngx_chain_t *link = out.first; link != NULL; link = link->next)
        link->buf->last_buf = link->next == NULL;
    ctx->asks_usage = asks;
    r->request_body->bufs = out.first;
    r->headers_in.content_length_n = out.bytes;
    return NGX_OK;
}
