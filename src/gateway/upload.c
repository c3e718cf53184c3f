/*
 * Bodies on their way in. They are scanned whole before anything is sent, so they are in memory
 * whole, and never in a file: prompts do not touch the disk. Here is what keeps that from being all
 * the memory there is.
 */

#include "gateway/ngx_http_purser.h"

enum {
    UPLOAD_SMALL_BYTES = 1 << 20,    /* up to here a body is taken whatever else is going on */
    UPLOADS_LARGE_BYTES = 1 << 30,   /* all larger ones of a worker at one time */
    UNANNOUNCED_BYTES = 4 << 20,     /* a body without a Content-Length */
    UNANNOUNCED_RAW_BYTES = 8 << 20, /* the same with what is around its chunks */
};

static ngx_http_request_body_filter_pt ngx_http_next_request_body_filter;

enum refusal
ngx_http_purser_upload_begin(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    size_t bytes = r->headers_in.content_length != NULL ? (size_t)r->headers_in.content_length_n
                                                        : UNANNOUNCED_BYTES;

    if (bytes <= UPLOAD_SMALL_BYTES)
        return REFUSAL_NONE;
    if (w->upload_bytes + bytes > UPLOADS_LARGE_BYTES)
        return REFUSAL_UPLOADS_BUSY;
    ctx->upload_bytes = bytes;
    w->upload_bytes += bytes;
    return REFUSAL_NONE;
}

void
ngx_http_purser_upload_end(ngx_http_purser_ctx_t *ctx)
{
    ngx_http_purser_worker.upload_bytes -= ctx->upload_bytes;
    ctx->upload_bytes = 0;
}

/*
 * A body without a length is refused as soon as it is too long. nginx alone would go on until its
 * buffer is full, which small chunks fill several times faster than their content tells, and then
 * write it into a file.
 */
static ngx_int_t
ngx_http_purser_upload_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);

    if (ctx == NULL || r->headers_in.content_length != NULL)
        return ngx_http_next_request_body_filter(r, in);
    for (ngx_chain_t *link = in; link != NULL; link = link->next)
        ctx->unannounced_bytes += (size_t)(link->buf->last - link->buf->pos);
    if (ctx->unannounced_bytes > UNANNOUNCED_BYTES || r->request_length > UNANNOUNCED_RAW_BYTES)
        return NGX_HTTP_REQUEST_ENTITY_TOO_LARGE;
    return ngx_http_next_request_body_filter(r, in);
}

void
ngx_http_purser_upload_init(void)
{
    ngx_http_next_request_body_filter = ngx_http_top_request_body_filter;
    ngx_http_top_request_body_filter = ngx_http_purser_upload_filter;
}
