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
 * What is no final answer in HTTP (1xx, or no HTTP at all, which nginx takes for HTTP/0.9) would be
 * followed by bytes that are passed as they are, unmetered; after a 101 in both directions.
 */
static ngx_uint_t
ngx_http_purser_is_no_answer(const ngx_http_request_t *r)
{
    ngx_uint_t status = r->upstream->headers_in.status_n;

    return r->http_version < NGX_HTTP_VERSION_10 || (status > 0 && status < NGX_HTTP_OK);
}

/* The answer is a final one of the vendor's: what is known from its head. */
static ngx_int_t
ngx_http_purser_answer_begins(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    struct str type = ngx_http_purser_str(r->headers_out.content_type);
    ngx_uint_t status = r->upstream->headers_in.status_n;

    ctx->progress.vendor_status = (int32_t)status;
    ctx->progress.first_byte_ms = ngx_http_purser_now_ms();
    if (ngx_http_purser_attempt_next(r, ctx, status) == NGX_OK) {
        ctx->prepared = 1;
        return NGX_DECLINED;
    }
    ngx_http_purser_upstream_began(ctx);
    if (status == NGX_HTTP_OK) {
        ngx_uint_t is_stream =
            str_equal_name(str_slice(type, 0, ngx_min(type.n, 17)), STR("text/event-stream"));

        usage_meter_init(&ctx->meter, ctx->dialect, is_stream);
        ctx->metering = ctx->recording;
        ctx->is_stream = is_stream;
        ctx->withholding = ctx->metering && is_stream && ctx->asks_usage;
        if (ctx->withholding)
            ngx_http_clear_content_length(r);
        ngx_http_purser_body_free(r, ctx);
    } else if (ctx->recording) {
        /* Known from here on, whatever dies: an error answer costs nothing. */
        recorder_slot_progress(&ngx_http_purser_worker.recorder, ctx->slot, &ctx->progress);
    }
    return ngx_http_purser_clean_answer(r, ctx);
}

static ngx_int_t
ngx_http_purser_header_filter(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    ngx_int_t rc;

    if (ctx == NULL || !ctx->passing || r != r->main || r->upstream == NULL)
        return ngx_http_next_header_filter(r);
    if (ngx_http_purser_is_no_answer(r)) {
        r->http_version = ctx->http_version;
        ngx_http_clean_header(r);
        return NGX_HTTP_BAD_GATEWAY;
    }
    if (r->upstream->headers_in.status_n == 0)
        return ngx_http_next_header_filter(r);
    rc = ngx_http_purser_answer_begins(r, ctx);
    if (rc == NGX_DECLINED) {
        /* error_page leads to the next attempt. */
        ngx_http_purser_kept_give_back(r->upstream);
        ngx_http_clean_header(r);
        return NGX_HTTP_BAD_GATEWAY;
    }
    if (rc != NGX_OK)
        return rc;
    return ngx_http_purser_drain(r, ctx, NULL, ngx_http_next_header_filter(r));
}

static void
ngx_http_purser_feed(ngx_http_purser_ctx_t *ctx, ngx_chain_t *in)
{
    for (; in != NULL; in = in->next) {
        if (ngx_buf_in_memory(in->buf))
            usage_meter_feed(
                &ctx->meter, (char *)in->buf->pos, (size_t)(in->buf->last - in->buf->pos));
    }
}

/* What the meter found out, written down before the client sees what it was found in. */
static void
ngx_http_purser_note(ngx_http_purser_ctx_t *ctx, ngx_uint_t counted)
{
    int64_t freed = 0;

    if (!counted && ctx->meter.text_bytes == ctx->text_written)
        return;
    ngx_http_purser_write_down(ctx);
    if (counted)
        freed = ngx_http_purser_budget_shrink(ctx);
    recorder_slot_progress(&ngx_http_purser_worker.recorder, ctx->slot, &ctx->progress);
    ngx_http_purser_budget_free(ctx, freed);
}

static ngx_int_t
ngx_http_purser_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    ngx_chain_t *out = in;
    uint32_t changes;
    ngx_int_t rc;

    if (ctx == NULL || !ctx->metering || !ctx->recording || r != r->main)
        return ngx_http_next_body_filter(r, in);
    changes = ctx->meter.changes;
    if (ctx->client_left || !ctx->withholding)
        ngx_http_purser_feed(ctx, in);
    else if (ngx_http_purser_withhold(r, ctx, in, &out) != NGX_OK)
        return NGX_ERROR;
    ngx_http_purser_note(ctx, ctx->meter.changes != changes);
    if (ctx->client_left)
        rc = NGX_ERROR;
    else if (in != NULL && out == NULL)
        rc = NGX_OK; /* all of it waits, or was ours */
    else
        rc = ngx_http_next_body_filter(r, out);
    if (out != in)
        ngx_http_purser_withhold_sent(r, ctx, out);
    rc = ngx_http_purser_drain(r, ctx, in, rc);
    if (ctx->is_stream && rc != NGX_ERROR)
        ngx_http_purser_stream_fit(r, ctx);
    return rc;
}

static enum recorder_end
ngx_http_purser_end(const ngx_http_purser_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->request;

    if (!ngx_http_purser_upstream_has_call(ctx))
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
    ngx_http_purser_budget_settle(ctx);
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
