/* The answer passes by: metered, written down as it comes, settled at the end. */

#include "gateway/ngx_http_purser.h"

static ngx_http_output_header_filter_pt ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt ngx_http_next_body_filter;

static void
ngx_http_purser_write_down(ngx_http_purser_ctx_t *ctx)
{
    ctx->progress.counts = ctx->meter.counts;
    ctx->progress.text_bytes = ctx->text_written = ctx->meter.text_bytes;
    ctx->progress.flags = ctx->meter.flags;
    ngx_memcpy(ctx->progress.model_answered, ctx->meter.model,
        ngx_min(ctx->meter.model_n, sizeof(ctx->progress.model_answered) - 1));
}

/*
 * Once an answer has begun no second try can follow, so the request's body is of no more use: tens
 * of kilobytes for each stream that is open.
 */
static void
ngx_http_purser_free_body(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_buf_t *block = r->request_body != NULL ? r->request_body->buf : NULL;

    if (ctx->body_freed || block == NULL || !r->upstream->request_body_sent)
        return;
    ctx->body_freed = 1;
    r->upstream->request_bufs = NULL;
    r->request_body->bufs = NULL;
    r->request_body->buf = NULL;
    if (block->temporary)
        ngx_pfree(r->pool, block->start);
}

/*
 * What is no final answer in HTTP (1xx, or no HTTP at all, which nginx takes for HTTP/0.9) would be
 * followed by bytes that are passed as they are, unmetered; after a 101 in both directions.
 */
static ngx_uint_t
ngx_http_purser_is_no_answer(const ngx_http_request_t *r)
{
    ngx_uint_t status = r->upstream->headers_in.status_n;

    return r->http_version < NGX_HTTP_VERSION_10 || (status > 0 && status < NGX_HTTP_OK);
}

static ngx_int_t
ngx_http_purser_header_filter(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    struct str type;

    if (ctx == NULL || !ctx->recording || r != r->main || r->upstream == NULL)
        return ngx_http_next_header_filter(r);
    if (ngx_http_purser_is_no_answer(r)) {
        r->http_version = ctx->http_version;
        ngx_http_clean_header(r);
        return NGX_HTTP_BAD_GATEWAY;
    }
    if (r->upstream->headers_in.status_n == 0)
        return ngx_http_next_header_filter(r);
    ctx->progress.vendor_status = (int32_t)r->upstream->headers_in.status_n;
    ctx->progress.first_byte_ms = ngx_http_purser_now_ms();
    if (ctx->progress.vendor_status == NGX_HTTP_OK) {
        type = ngx_http_purser_str(r->headers_out.content_type);
        usage_meter_init(&ctx->meter,
            str_equal_name(str_slice(type, 0, ngx_min(type.n, 17)), STR("text/event-stream")));
        ctx->metering = 1;
        ngx_http_purser_free_body(r, ctx);
    } else {
        /* Known from here on, whatever dies: an error answer costs nothing. */
        recorder_slot_progress(&ngx_http_purser_worker.recorder, ctx->slot, &ctx->progress);
    }
    return ngx_http_next_header_filter(r);
}

static ngx_int_t
ngx_http_purser_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    uint32_t changes;

    if (ctx == NULL || !ctx->metering || !ctx->recording || r != r->main)
        return ngx_http_next_body_filter(r, in);
    changes = ctx->meter.changes;
    for (ngx_chain_t *link = in; link != NULL; link = link->next) {
        if (ngx_buf_in_memory(link->buf))
            usage_meter_feed(
                &ctx->meter, (char *)link->buf->pos, (size_t)(link->buf->last - link->buf->pos));
    }
    if (ctx->meter.changes != changes || ctx->meter.text_bytes != ctx->text_written) {
        ngx_http_purser_write_down(ctx);
        recorder_slot_progress(&ngx_http_purser_worker.recorder, ctx->slot, &ctx->progress);
    }
    return ngx_http_next_body_filter(r, in);
}

static enum recorder_end
ngx_http_purser_end(const ngx_http_purser_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->request;

    if (r->upstream == NULL || !r->upstream->request_sent)
        return RECORDER_NEVER_SENT;
    /* Who leaves after the last word has left nothing behind. */
    if ((ctx->meter.flags & USAGE_COMPLETE) != 0)
        return RECORDER_ENDED;
    if (r->connection->error || r->connection->timedout ||
        r->headers_out.status == NGX_HTTP_CLIENT_CLOSED_REQUEST)
        return RECORDER_CLIENT_LEFT;
    return RECORDER_ENDED;
}

/* Settles the attempt, once. */
void
ngx_http_purser_close(ngx_http_purser_ctx_t *ctx)
{
    if (!ctx->recording)
        return;
    ctx->recording = 0;
    if (ctx->metering)
        ngx_http_purser_write_down(ctx);
    ctx->progress.end = (uint32_t)ngx_http_purser_end(ctx);
    ctx->progress.closed_ms = ngx_http_purser_now_ms();
    recorder_slot_close(&ngx_http_purser_worker.recorder, ctx->slot, &ctx->progress);
}

ngx_int_t
ngx_http_purser_log_handler(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);

    if (ctx != NULL && r == r->main)
        ngx_http_purser_close(ctx);
    return NGX_OK;
}

ngx_int_t
ngx_http_purser_meter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_purser_header_filter;
    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_purser_body_filter;
    return NGX_OK;
}
