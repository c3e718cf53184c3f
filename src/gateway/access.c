/* The access phase: token -> policy -> body -> decision -> recorder slot -> spliced body. */

#include "gateway/ngx_http_purser.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>

/* The context is wiped by internal redirects; its clean-up entry is not. */
static void
ngx_http_purser_ctx_cleanup(void *data)
{
    ngx_http_purser_close(data);
    ngx_http_purser_upload_end(data);
    ngx_http_purser_stream_done(data);
}

ngx_http_purser_ctx_t *
ngx_http_purser_get_ctx(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);

    if (ctx != NULL || (!r->internal && !r->filter_finalize))
        return ctx;
    for (ngx_pool_cleanup_t *c = r->pool->cleanup; c != NULL; c = c->next) {
        if (c->handler == ngx_http_purser_ctx_cleanup)
            return c->data;
    }
    return NULL;
}

/* UUIDv7: the milliseconds, then random bits. */
static void
ngx_http_purser_new_call_id(uint8_t id[static 16], u_char text[static 36])
{
    static const u_char hex[] = "0123456789abcdef";
    uint64_t ms = (uint64_t)ngx_http_purser_now_ms();
    u_char *p = text;

    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(ms >> (8 * (5 - i)));
    ngx_http_purser_random(id + 6, 10);
    id[6] = (uint8_t)(0x70 | (id[6] & 0x0f));
    id[8] = (uint8_t)(0x80 | (id[8] & 0x3f));
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = hex[id[i] >> 4];
        *p++ = hex[id[i] & 0x0f];
    }
}

/* One header that may carry a credential. Ours is noted; another's is dropped later, unread. */
static enum refusal
ngx_http_purser_token_in(struct str value, struct str *token)
{
    enum token_kind kind;

    if (value.n > 7 && ngx_strncasecmp((u_char *)value.p, (u_char *)"Bearer ", 7) == 0)
        value = str_slice(value, 7, value.n);
    value = str_trim(value);
    if (!token_parse(value, &kind) || kind != TOKEN_USAGE)
        return REFUSAL_NONE;
    if (token->p != NULL && !str_equal(*token, value))
        return REFUSAL_TOKEN_CONFLICT;
    *token = value;
    return REFUSAL_NONE;
}

static enum refusal
ngx_http_purser_find_token(ngx_http_request_t *r, struct str *ret)
{
    ngx_list_part_t *part = &r->headers_in.headers.part;
    ngx_uint_t seen = 0;

    *ret = STR_NONE;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            struct str name = {(char *)headers[i].lowcase_key, headers[i].key.len};
            enum refusal refusal;

            if (!str_equal(name, STR("x-api-key")) && !str_equal(name, STR("authorization")))
                continue;
            seen++;
            refusal = ngx_http_purser_token_in(ngx_http_purser_str(headers[i].value), ret);
            if (refusal != REFUSAL_NONE)
                return refusal;
        }
    }
    if (ret->p != NULL)
        return REFUSAL_NONE;
    return seen > 0 ? REFUSAL_TOKEN_INVALID : REFUSAL_UNAUTHENTICATED;
}

/*
 * What token_digest() does, by the library nginx has at hand: it uses the processor's instructions.
 */
static void
ngx_http_purser_digest(struct str text, uint8_t ret[static TOKEN_DIGEST_BYTES])
{
    SHA256_CTX sha;

    SHA256_Init(&sha);
    SHA256_Update(&sha, text.p, text.n);
    SHA256_Final(ret, &sha);
}

enum refusal
ngx_http_purser_check_token(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx,
    struct policy **ret_policy, struct policy_token *ret_token)
{
    ngx_http_purser_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_purser_module);
    int64_t now = ngx_http_purser_now_ms();
    struct policy *policy = ngx_http_purser_policy(mcf, r->connection->log);

    if (policy == NULL || admit_policy(policy, now) != REFUSAL_NONE)
        return REFUSAL_NO_POLICY;
    if (!policy_token_find(policy, ctx->digest, ret_token) ||
        (ret_token->expires_ms != 0 && ret_token->expires_ms <= now))
        return REFUSAL_TOKEN_INVALID;
    *ret_policy = policy;
    return REFUSAL_NONE;
}

/* Every line of it counts: the vendor may read another than the first. */
static ngx_uint_t
ngx_http_purser_body_is_encoded(ngx_http_request_t *r)
{
    ngx_list_part_t *part = &r->headers_in.headers.part;

    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            struct str name = {(char *)headers[i].lowcase_key, headers[i].key.len};
            struct str value = ngx_http_purser_str(headers[i].value);

            if (str_equal(name, STR("content-encoding")) && value.n > 0 &&
                !str_equal_name(value, STR("identity")))
                return 1;
        }
    }
    return 0;
}

enum refusal
ngx_http_purser_authenticate(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx,
    struct policy **ret_policy, struct policy_token *ret_token)
{
    struct str text;
    enum refusal refusal;

    /* Other upgrades (h2c, which some clients always offer) may be ignored, and are. */
    if (r->headers_in.upgrade != NULL &&
        ngx_strcasestrn(r->headers_in.upgrade->value.data, "websocket", 9 - 1) != NULL)
        return REFUSAL_UPGRADE_REFUSED;
    refusal = ngx_http_purser_find_token(r, &text);
    if (refusal != REFUSAL_NONE)
        return refusal;
    ngx_http_purser_digest(text, ctx->digest);
    return ngx_http_purser_check_token(r, ctx, ret_policy, ret_token);
}

/* What can be said before the body is read. */
static enum refusal
ngx_http_purser_check_head(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    struct policy *policy;
    struct policy_token token;
    enum refusal refusal = ngx_http_purser_authenticate(r, ctx, &policy, &token);

    if (refusal != REFUSAL_NONE)
        return refusal;
    if (r->method != NGX_HTTP_POST)
        return REFUSAL_METHOD_NOT_ALLOWED;
    if (ngx_http_purser_body_is_encoded(r))
        return REFUSAL_COMPRESSED_BODY;
    return ngx_http_purser_upload_begin(r, ctx);
}

/* What is wrong with the body; a tool that cannot be given by its name. */
static struct str
ngx_http_purser_problem(ngx_http_request_t *r, const struct request_scan *scan)
{
    struct str text = request_problem_text(scan->problem);
    size_t room = text.n + REQUEST_WORD_MAX + sizeof("; this is \"\"");
    u_char *p;

    if (scan->problem != REQUEST_TOOL_UNPRICED || scan->word_n == 0 ||
        scan->word_n > REQUEST_WORD_MAX)
        return text;
    p = ngx_pnalloc(r->pool, room);
    if (p == NULL)
        return text;
    return (struct str){(char *)p,
        (size_t)(ngx_snprintf(p, room, "%*s; this is \"%*s\"", text.n, text.p, (size_t)scan->word_n,
                     scan->word) -
            p)};
}

static enum refusal
ngx_http_purser_scan_body(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, struct str *ret_detail)
{
    struct request_scan *scan = &ctx->scan;

    request_scan_init(scan, ctx->dialect);
    for (ngx_chain_t *in = r->request_body->bufs; in != NULL; in = in->next) {
        if (ngx_buf_special(in->buf)) /* the empty end of a chunked body */
            continue;
        if (!ngx_buf_in_memory(in->buf) || in->buf->in_file)
            return REFUSAL_REQUEST_TOO_LARGE;
        ctx->body_bytes += (size_t)(in->buf->last - in->buf->pos);
        if (in->buf->last > in->buf->pos)
            ctx->padded = in->buf->last[-1] != '}';
        (void)request_scan_feed(scan, (char *)in->buf->pos, (size_t)(in->buf->last - in->buf->pos));
    }
    if (request_scan_finish(scan) != REQUEST_OK) {
        *ret_detail = ngx_http_purser_problem(r, scan);
        return request_problem_is_price(scan->problem) ? REFUSAL_TOOL_NOT_PRICED
                                                       : REFUSAL_BAD_REQUEST;
    }
    return REFUSAL_NONE;
}

static void
ngx_http_purser_body_done(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    struct str detail = STR_NONE;
    enum refusal refusal = ngx_http_purser_scan_body(r, ctx, &detail);

    if (refusal == REFUSAL_NONE) {
        ctx->body = r->request_body->bufs;
        refusal = ngx_http_purser_attempt_open(r, ctx);
    }
    if (refusal != REFUSAL_NONE) {
        ngx_http_finalize_request(r,
            ngx_http_purser_refuse(
                r, ctx->dialect, refusal, ctx->detail.n > 0 ? ctx->detail : detail));
        return;
    }
    ctx->body_read = 1;
    r->preserve_body = 1;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

ngx_http_purser_ctx_t *
ngx_http_purser_new_ctx(ngx_http_request_t *r, const ngx_http_purser_loc_conf_t *lcf)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_purser_ctx_t));
    ngx_http_purser_ctx_t *ctx;

    if (cleanup == NULL)
        return NULL;
    ctx = cleanup->data;
    ngx_memzero(ctx, sizeof(*ctx));
    cleanup->handler = ngx_http_purser_ctx_cleanup;
    ctx->request = r;
    ctx->dialect = (enum dialect)lcf->dialect;
    ctx->path = lcf->path;
    ctx->is_free = lcf->role == NGX_HTTP_PURSER_FREE;
    ctx->http_version = r->http_version;
    /* Refusals have an id too. */
    ngx_http_purser_new_call_id(ctx->call_id, ctx->call_id_text);
    ngx_http_set_ctx(r, ctx, ngx_http_purser_module);
    return ctx;
}

/*
 * error_page leads here after an attempt without an answer, or with one that is not for the client
 * since another attempt is prepared.
 */
static ngx_int_t
ngx_http_purser_go_on(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_uint_t status = r->err_status;
    ngx_uint_t too_late = status == NGX_HTTP_GATEWAY_TIME_OUT && r->upstream->request_sent;

    ngx_http_set_ctx(r, ctx, ngx_http_purser_module);
    if (ctx->prepared || (!too_late && ngx_http_purser_attempt_next(r, ctx, 0) == NGX_OK)) {
        ctx->prepared = 0;
        r->err_status = 0;
        return NGX_OK;
    }
    ngx_http_finalize_request(r,
        ngx_http_purser_refuse(r, ctx->dialect,
            status == NGX_HTTP_GATEWAY_TIME_OUT ? REFUSAL_GATEWAY_TIMEOUT : REFUSAL_BAD_GATEWAY,
            STR_NONE));
    return NGX_DONE;
}

ngx_int_t
ngx_http_purser_access_handler(ngx_http_request_t *r)
{
    ngx_http_purser_loc_conf_t *lcf = ngx_http_get_module_loc_conf(r, ngx_http_purser_module);
    ngx_http_purser_ctx_t *ctx;
    enum refusal refusal;
    ngx_int_t rc;

    if (r != r->main ||
        (lcf->role != NGX_HTTP_PURSER_CALL && lcf->role != NGX_HTTP_PURSER_FREE &&
            lcf->role != NGX_HTTP_PURSER_AGAIN))
        return NGX_DECLINED;
    ctx = ngx_http_purser_get_ctx(r);
    if (lcf->role == NGX_HTTP_PURSER_AGAIN && ctx != NULL && ctx->body_read)
        return ngx_http_purser_go_on(r, ctx);
    /* Led here by something else than the client's own request line: that would be another call. */
    if (r->internal)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (ctx != NULL)
        return ctx->body_read ? NGX_OK : NGX_DONE;
    ctx = ngx_http_purser_new_ctx(r, lcf);
    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    refusal = ngx_http_purser_check_head(r, ctx);
    if (refusal != REFUSAL_NONE) {
        ngx_http_finalize_request(r, ngx_http_purser_turn_away(r, ctx, refusal));
        return NGX_DONE;
    }
    rc = ngx_http_read_client_request_body(r, ngx_http_purser_body_done);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    ngx_http_finalize_request(r, NGX_DONE);
    return NGX_DONE;
}
