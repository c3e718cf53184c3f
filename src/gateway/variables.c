/* Where an attempt goes and with which credential, for proxy_pass and proxy_set_header. */

#include "gateway/ngx_http_purser.h"

enum {
    VARIABLE_URL,
    VARIABLE_HOST,
    VARIABLE_TLS_NAME,
    VARIABLE_KEY_HEADER,
    VARIABLE_KEY,
    VARIABLE_CALL_ID,
};

/*
 * Where a vendor wants the key: the line that follows another header; the key itself comes behind
 * it. One header that nginx puts together, since each that may be empty costs every call.
 */
static const struct str ngx_http_purser_key_lines[AUTH_HEADER_COUNT] = {
    [AUTH_HEADER_X_API_KEY] = STR_INIT("\r\nx-api-key: "),
    [AUTH_HEADER_BEARER] = STR_INIT("\r\nAuthorization: Bearer "),
    [AUTH_HEADER_API_KEY] = STR_INIT("\r\napi-key: "),
    [AUTH_HEADER_X_GOOG] = STR_INIT("\r\nx-goog-api-key: "),
};

static ngx_int_t
ngx_http_purser_set_url(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, const ngx_http_purser_ctx_t *ctx)
{
    const struct policy_endpoint *e = &ctx->endpoint;
    const struct str parts[] = {e->tls ? STR("https://") : STR("http://"),
        str_from_cstr(e->upstream), str_from_cstr(e->path), ngx_http_purser_str(ctx->path),
        r->args.len > 0 ? STR("?") : STR(""), ngx_http_purser_str(r->args)};
    size_t n = 0;
    u_char *p;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        n += parts[i].n;
    p = ngx_pnalloc(r->pool, n);
    if (p == NULL)
        return NGX_ERROR;
    v->data = p;
    v->len = (unsigned)n;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        if (parts[i].n > 0)
            p = ngx_cpymem(p, parts[i].p, parts[i].n);
    return NGX_OK;
}

/* Text that lives as long as the context. */
static ngx_int_t
ngx_http_purser_set_text(ngx_http_variable_value_t *v, const char *p, size_t n)
{
    v->data = (u_char *)p;
    v->len = (unsigned)n;
    return NGX_OK;
}

static ngx_int_t
ngx_http_purser_set_tls_name(ngx_http_variable_value_t *v, const char *host)
{
    size_t brackets = host[0] == '[';

    return ngx_http_purser_set_text(
        v, host + brackets, str_find_char(str_from_cstr(host), brackets ? ']' : ':') - brackets);
}

/* Empty for whatever is not an attempt under way. */
static ngx_int_t
ngx_http_purser_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t what)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    struct str line;

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = (u_char *)"";
    v->len = 0;
    if (ctx != NULL && what == VARIABLE_CALL_ID)
        return ngx_http_purser_set_text(v, (char *)ctx->call_id_text, sizeof(ctx->call_id_text));
    if (ctx == NULL || !ctx->passing)
        return NGX_OK;
    switch (what) {
    case VARIABLE_URL:
        return ngx_http_purser_set_url(r, v, ctx);
    case VARIABLE_HOST:
        return ngx_http_purser_set_text(v, ctx->endpoint.host, ngx_strlen(ctx->endpoint.host));
    case VARIABLE_TLS_NAME:
        return ngx_http_purser_set_tls_name(v, ctx->endpoint.host);
    default:
        line = ngx_http_purser_key_lines[ctx->endpoint.header];
        if (line.n > 0 && what == VARIABLE_KEY)
            line = ngx_http_purser_str(ctx->key);
        return line.n > 0 ? ngx_http_purser_set_text(v, line.p, line.n) : NGX_OK;
    }
}

#define VARIABLE(name, what)                                                                       \
    {                                                                                              \
        ngx_string(name), NULL, ngx_http_purser_variable, what, NGX_HTTP_VAR_NOCACHEABLE, 0        \
    }

static ngx_http_variable_t ngx_http_purser_variables[] = {
    VARIABLE("purser_url", VARIABLE_URL),
    VARIABLE("purser_host", VARIABLE_HOST),
    VARIABLE("purser_tls_name", VARIABLE_TLS_NAME),
    VARIABLE("purser_key_header", VARIABLE_KEY_HEADER),
    VARIABLE("purser_key", VARIABLE_KEY),
    VARIABLE("purser_call_id", VARIABLE_CALL_ID),
    ngx_http_null_variable,
};

ngx_int_t
ngx_http_purser_add_variables(ngx_conf_t *cf)
{
    for (ngx_http_variable_t *v = ngx_http_purser_variables; v->name.len > 0; v++) {
        ngx_http_variable_t *added = ngx_http_add_variable(cf, &v->name, v->flags);

        if (added == NULL)
            return NGX_ERROR;
        added->get_handler = v->get_handler;
        added->data = v->data;
    }
    return NGX_OK;
}
