/* Our own answers, in the shape of the dialect called. */

#include "gateway/ngx_http_purser.h"

/* Failures are counted by the minute. */
enum { FAILED_RETRY_MS = 60000 };

ngx_int_t
ngx_http_purser_add_header(ngx_http_request_t *r, struct str key, struct str value)
{
    ngx_table_elt_t *h = ngx_list_push(&r->headers_out.headers);

    if (h == NULL)
        return NGX_ERROR;
    h->hash = 1;
    h->key.data = (u_char *)key.p;
    h->key.len = key.n;
    h->value.data = (u_char *)value.p;
    h->value.len = value.n;
    return NGX_OK;
}

ngx_int_t
ngx_http_purser_add_id(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx)
{
    struct str id = {(char *)ctx->call_id_text, sizeof(ctx->call_id_text)};

    if (ngx_http_purser_add_header(r, STR("x-purser-call-id"), id) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_purser_add_header(
        r, ctx->dialect == DIALECT_ANTHROPIC ? STR("request-id") : STR("x-request-id"), id);
}

ngx_int_t
ngx_http_purser_send_json(ngx_http_request_t *r, ngx_uint_t status, ngx_buf_t *b)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    ngx_chain_t out = {.buf = b};
    ngx_int_t rc;

    if (ctx != NULL && ngx_http_purser_add_id(r, ctx) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last_buf = 1;
    b->last_in_chain = 1;
    r->err_status = 0;
    r->headers_out.status = status;
    r->headers_out.status_line.len = 0;
    r->headers_out.content_length_n = b->last - b->pos;
    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    return ngx_http_output_filter(r, &out);
}

/* Whole seconds, rounded up. */
static ngx_int_t
ngx_http_purser_add_retry_after(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx)
{
    int64_t ms = ctx != NULL && ctx->retry_after_ms > 0 ? ctx->retry_after_ms : 1000;
    u_char *text = ngx_pnalloc(r->pool, NGX_INT64_LEN);
    size_t n;

    if (text == NULL)
        return NGX_ERROR;
    n = (size_t)(ngx_sprintf(text, "%L", (ms + 999) / 1000) - text);
    return ngx_http_purser_add_header(r, STR("retry-after"), (struct str){(char *)text, n});
}

ngx_int_t
ngx_http_purser_refuse(
    ngx_http_request_t *r, enum dialect d, enum refusal refusal, struct str detail)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    ngx_uint_t may_retry = refusal_may_retry(refusal);
    struct str id = STR_NONE;
    ngx_int_t rc;
    ngx_buf_t *b;

    if (ctx != NULL) {
        id = (struct str){(char *)ctx->call_id_text, sizeof(ctx->call_id_text)};
        ctx->passing = 0; /* what follows is no vendor's answer */
    }
    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        return rc;
    b = ngx_create_temp_buf(r->pool, REFUSAL_BODY_MAX);
    if (b == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last = b->pos + refusal_body(refusal, d, detail, id, (char *)b->pos);
    if (ngx_http_purser_add_header(r, STR("x-purser-code"), refusal_name(refusal)) != NGX_OK ||
        ngx_http_purser_add_header(
            r, STR("x-should-retry"), may_retry ? STR("true") : STR("false")) != NGX_OK ||
        ((may_retry || (ctx != NULL && ctx->retry_after_ms > 0)) &&
            ngx_http_purser_add_retry_after(r, ctx) != NGX_OK))
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_purser_send_json(r, (ngx_uint_t)refusal_status(refusal, d), b);
}

/*
 * The location of failed credentials counts them and comes back here: nginx counts only by
 * locations, and in the call's own a good credential would be slowed down by bad ones beside it.
 */
ngx_int_t
ngx_http_purser_turn_away(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, enum refusal refusal)
{
    struct str dialect = dialect_name(ctx->dialect);
    ngx_str_t name;

    if (refusal_status(refusal, ctx->dialect) != NGX_HTTP_UNAUTHORIZED)
        return ngx_http_purser_refuse(r, ctx->dialect, refusal, STR_NONE);
    ctx->failed = refusal;
    name.data = ngx_pnalloc(r->pool, sizeof("@failed_") + dialect.n);
    if (name.data == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    name.len = (size_t)(ngx_sprintf(name.data, "@failed_%*s", dialect.n, dialect.p) - name.data);
    return ngx_http_named_location(r, &name);
}

ngx_int_t
ngx_http_purser_failed_handler(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);

    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_purser_refuse(r, ctx->dialect, ctx->failed, STR_NONE);
}

/* The base of an API, or hello below it: clients probe them with HEAD before they have a token. */
static ngx_uint_t
ngx_http_purser_is_probe(ngx_http_request_t *r)
{
    static const struct str ends[] = {STR_INIT("/llm/anthropic"), STR_INIT("/llm/openai/v1"),
        STR_INIT("/llm/anthropic/api/hello"), STR_INIT("/llm/openai/v1/api/hello")};
    struct str path = ngx_http_purser_str(r->uri);

    if (r->method != NGX_HTTP_HEAD)
        return 0;
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (str_ends_with(path, ends[i]))
            return 1;
    }
    return 0;
}

/* Paths that lead nowhere, but for the probes. */
ngx_int_t
ngx_http_purser_unknown_handler(ngx_http_request_t *r)
{
    ngx_http_purser_loc_conf_t *lcf = ngx_http_get_module_loc_conf(r, ngx_http_purser_module);

    if (ngx_http_purser_is_probe(r)) {
        /* Unread, it would be taken for the next request of the connection. */
        ngx_int_t rc = ngx_http_discard_request_body(r);

        if (rc != NGX_OK)
            return rc;
        r->headers_out.status = NGX_HTTP_OK;
        r->headers_out.content_length_n = 0;
        r->header_only = 1;
        return ngx_http_send_header(r);
    }
    return ngx_http_purser_refuse(r, lcf->dialect, REFUSAL_NOT_FOUND, STR_NONE);
}

/* nginx's own errors on the way of a call, led here by error_page. */
ngx_int_t
ngx_http_purser_error_handler(ngx_http_request_t *r)
{
    ngx_http_purser_loc_conf_t *lcf = ngx_http_get_module_loc_conf(r, ngx_http_purser_module);
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    enum refusal refusal;

    switch (r->err_status) {
    case NGX_HTTP_TOO_MANY_REQUESTS:
        refusal = REFUSAL_TOO_MANY_FAILURES;
        if (ctx != NULL)
            ctx->retry_after_ms = FAILED_RETRY_MS;
        break;
    case NGX_HTTP_REQUEST_ENTITY_TOO_LARGE:
        refusal = r->headers_in.content_length == NULL ? REFUSAL_LENGTH_REQUIRED
                                                       : REFUSAL_REQUEST_TOO_LARGE;
        break;
    case NGX_HTTP_LENGTH_REQUIRED:
        refusal = REFUSAL_LENGTH_REQUIRED;
        break;
    case NGX_HTTP_BAD_GATEWAY:
    case NGX_HTTP_SERVICE_UNAVAILABLE:
        refusal = REFUSAL_BAD_GATEWAY;
        break;
    case NGX_HTTP_GATEWAY_TIME_OUT:
        refusal = REFUSAL_GATEWAY_TIMEOUT;
        break;
    default:
        refusal = r->err_status < 500 ? REFUSAL_BAD_REQUEST : REFUSAL_INTERNAL;
        break;
    }
    return ngx_http_purser_refuse(r, lcf->dialect, refusal, STR_NONE);
}
