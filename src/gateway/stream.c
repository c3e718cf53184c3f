/*
 * What a stream keeps in memory while it is open, which may be for many minutes: as little as can
 * be. Nothing of it is left when a stream is waiting for its vendor's next event but the request
 * itself and a small buffer to read into.
 */

#include "gateway/ngx_http_purser.h"

/* Reads of a stream: a few events, unless the vendor sends faster than that. */
enum { STREAM_SMALL_BYTES = 2048 };

/*
 * Once an answer has begun no second try can follow, so the request's body is of no more use: tens
 * of kilobytes for each stream that is open. Nor is the buffer that it went through on its way into
 * TLS.
 */
void
ngx_http_purser_body_free(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_buf_t *block = r->request_body != NULL ? r->request_body->buf : NULL;
    ngx_connection_t *vendor = r->upstream->peer.connection;

    if (!r->upstream->request_body_sent)
        return;
    if (vendor != NULL && vendor->ssl != NULL && !vendor->buffered)
        ngx_ssl_free_buffer(vendor);
    if (ctx->body_freed || block == NULL)
        return;
    ctx->body_freed = 1;
    ngx_http_purser_upload_end(ctx);
    r->upstream->request_bufs = NULL;
    r->request_body->bufs = NULL;
    r->request_body->buf = NULL;
    if (block->temporary)
        ngx_pfree(r->pool, block->start);
}

/* Everything that was read has gone to the client. */
static ngx_uint_t
ngx_http_purser_is_passed_on(const ngx_http_upstream_t *u)
{
    for (const ngx_chain_t *link = u->out_bufs; link != NULL; link = link->next) {
        if (link->buf->pos != link->buf->last)
            return 0;
    }
    return u->busy_bufs == NULL;
}

void
ngx_http_purser_stream_done(ngx_http_purser_ctx_t *ctx)
{
    if (ctx->stream_buffer != NULL)
        ngx_free(ctx->stream_buffer);
    ctx->stream_buffer = NULL;
}

/*
 * nginx reads the head of an answer, which may be long, and then the whole stream through one
 * buffer of that size. What was read and passed on tells which size is enough for the next read: a
 * small one, until one read has filled it. A larger one comes back while the vendor sends much.
 */
void
ngx_http_purser_stream_fit(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_buf_t *b = &r->upstream->buffer;
    size_t large = r->upstream->conf->buffer_size;
    size_t room = (size_t)(b->end - b->start), used = (size_t)(b->last - b->start);
    size_t wanted = used == room ? large : used < STREAM_SMALL_BYTES ? STREAM_SMALL_BYTES : room;
    u_char *fresh;

    if (wanted == room || wanted > large || !ngx_http_purser_is_passed_on(r->upstream))
        return;
    /* Not the pool's: its small blocks would never be free again. */
    fresh = ngx_alloc(wanted, r->connection->log);
    if (fresh == NULL)
        return;
    if (ctx->stream_buffer == NULL)
        (void)ngx_pfree(r->pool, b->start);
    ngx_http_purser_stream_done(ctx);
    ctx->stream_buffer = fresh;
    b->start = b->pos = b->last = fresh;
    b->end = fresh + wanted;
}
