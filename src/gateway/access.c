/* The access phase: token -> policy -> body -> decision -> recorder slot -> spliced body. */

#include "gateway/ngx_http_purser.h"

#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <sodium/randombytes.h>

/* A chunked body may be no larger than this: it is read into memory before its size is known. */
enum { CHUNKED_BODY_MAX = 4 << 20 };

/* The context is wiped by internal redirects; its clean-up entry is not. */
static void
ngx_http_purser_ctx_cleanup(void *data)
{
    ngx_http_purser_close(data);
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

/* UUIDv7: the milliseconds, then random bits from a store that is refilled now and then. */
static void
ngx_http_purser_new_call_id(uint8_t id[static 16], u_char text[static 36])
{
    ngx_http_purser_worker_t *w = &ngx_http_purser_worker;
    uint64_t ms = (uint64_t)ngx_http_purser_now_ms();
    u_char *p = text;

    if (w->random_used + 10 > sizeof(w->random)) {
        randombytes_buf(w->random, sizeof(w->random));
        w->random_used = 0;
    }
    for (int i = 0; i < 6; i++)
        id[i] = (uint8_t)(ms >> (8 * (5 - i)));
    ngx_memcpy(id + 6, w->random + w->random_used, 10);
    w->random_used += 10;
    id[6] = (uint8_t)(0x70 | (id[6] & 0x0f));
    id[8] = (uint8_t)(0x80 | (id[8] & 0x3f));
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        p = ngx_hex_dump(p, &id[i], 1);
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

/*
 * A live token right now. Asked before the body is read and once more after it: uploads take time.
 */
static enum refusal
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

/* What can be said before the body is read. */
static enum refusal
ngx_http_purser_check_head(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    struct policy *policy;
    struct policy_token token;
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
    refusal = ngx_http_purser_check_token(r, ctx, &policy, &token);
    if (refusal != REFUSAL_NONE)
        return refusal;
    if (r->method != NGX_HTTP_POST)
        return REFUSAL_METHOD_NOT_ALLOWED;
    if (ngx_http_purser_body_is_encoded(r))
        return REFUSAL_COMPRESSED_BODY;
    return REFUSAL_NONE;
}

static enum refusal
ngx_http_purser_scan_body(ngx_http_request_t *r, struct request_scan *scan, struct str *ret_detail)
{
    size_t n = 0;

    request_scan_init(scan);
    for (ngx_chain_t *in = r->request_body->bufs; in != NULL; in = in->next) {
        if (ngx_buf_special(in->buf)) /* the empty end of a chunked body */
            continue;
        if (!ngx_buf_in_memory(in->buf) || in->buf->in_file)
            return r->headers_in.chunked ? REFUSAL_LENGTH_REQUIRED : REFUSAL_REQUEST_TOO_LARGE;
        n += (size_t)(in->buf->last - in->buf->pos);
        (void)request_scan_feed(scan, (char *)in->buf->pos, (size_t)(in->buf->last - in->buf->pos));
    }
    if (r->headers_in.chunked && n > CHUNKED_BODY_MAX)
        return REFUSAL_LENGTH_REQUIRED;
    if (request_scan_finish(scan) != REQUEST_OK) {
        *ret_detail = request_problem_text(scan->problem);
        return REFUSAL_BAD_REQUEST;
    }
    return REFUSAL_NONE;
}

static void
ngx_http_purser_copy_text(char *to, size_t to_bytes, const char *from)
{
    size_t n = ngx_min(ngx_strlen(from), to_bytes - 1);

    ngx_memcpy(to, from, n);
    to[n] = '\0';
}

/* The intent, written down before a byte goes upstream. */
static void
ngx_http_purser_open_slot(ngx_http_purser_ctx_t *ctx, const struct admit_decision *d,
    const struct policy *policy, const struct policy_token *token, const struct keywire_key *key)
{
    struct recorder_open open = {.attempt = 1, .dialect = (uint8_t)ctx->dialect};

    ngx_memcpy(open.call_id, ctx->call_id, sizeof(open.call_id));
    ngx_memcpy(open.org_id, token->org_id, sizeof(open.org_id));
    ngx_memcpy(open.workspace_id, token->workspace_id, sizeof(open.workspace_id));
    ngx_memcpy(open.token_id, token->token_id, sizeof(open.token_id));
    ngx_memcpy(open.decision_id, token->decision_id, sizeof(open.decision_id));
    ngx_memcpy(open.key_id, key->id, sizeof(open.key_id));
    ngx_memcpy(open.registry_fingerprint, policy->header->registry_fingerprint,
        sizeof(open.registry_fingerprint));
    open.opened_ms = ngx_http_purser_now_ms();
    open.bound_nano_usd = d->bound_nano_usd;
    open.prompt_bound = d->prompt_bound;
    open.output_bound = d->output_bound;
    open.tiers_n = (uint8_t)d->tiers_n;
    ngx_memcpy(open.tiers, d->tiers, sizeof(open.tiers));
    ngx_http_purser_copy_text(open.provider, sizeof(open.provider), d->route->provider);
    ngx_http_purser_copy_text(open.model_asked, sizeof(open.model_asked), d->route->id);
    ngx_http_purser_copy_text(open.model_vendor, sizeof(open.model_vendor), d->route->vendor_model);
    recorder_slot_open(&ngx_http_purser_worker.recorder, ctx->slot, &open);
    ctx->recording = 1;
}

/*
 * The whole decision, once the body is there. REFUSAL_NONE: a slot is open and the body is spliced.
 */
static enum refusal
ngx_http_purser_decide(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, struct str *ret_detail)
{
    ngx_http_purser_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_purser_module);
    struct admit_facts facts = {.dialect = ctx->dialect, .now_ms = ngx_http_purser_now_ms()};
    struct request_scan scan;
    struct policy_token token;
    struct policy *policy;
    struct admit_decision d;
    struct keywire_key key;
    enum refusal refusal;

    refusal = ngx_http_purser_scan_body(r, &scan, ret_detail);
    if (refusal == REFUSAL_NONE)
        refusal = ngx_http_purser_check_token(r, ctx, &policy, &token);
    if (refusal != REFUSAL_NONE)
        return refusal;
    facts.policy = policy;
    facts.token = &token;
    facts.request = &scan;
    d = admit(&facts);
    if (d.refusal != REFUSAL_NONE)
        return d.refusal;
    if (ngx_http_purser_keys_find(mcf, str_from_cstr(d.route->provider), &key) != NGX_OK)
        return REFUSAL_NO_PLATFORM_KEY;
    if (ngx_http_purser_splice(r, &scan, str_from_cstr(d.route->vendor_model)) != NGX_OK)
        return REFUSAL_INTERNAL;
    if (ngx_http_purser_slot_take(r->connection->log, &ctx->slot) != NGX_OK)
        return REFUSAL_RECORDER_FULL;
    ctx->endpoint = *d.endpoint;
    ctx->key.data = (u_char *)key.value.p;
    ctx->key.len = key.value.n;
    ngx_http_purser_open_slot(ctx, &d, policy, &token, &key);
    return REFUSAL_NONE;
}

static void
ngx_http_purser_body_done(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_purser_module);
    struct str detail = STR_NONE;
    enum refusal refusal = ngx_http_purser_decide(r, ctx, &detail);

    if (refusal != REFUSAL_NONE) {
        ngx_http_finalize_request(r, ngx_http_purser_refuse(r, ctx->dialect, refusal, detail));
        return;
    }
    ctx->body_read = 1;
    r->preserve_body = 1;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

static ngx_http_purser_ctx_t *
ngx_http_purser_new_ctx(ngx_http_request_t *r, enum dialect dialect)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_purser_ctx_t));
    ngx_http_purser_ctx_t *ctx;

    if (cleanup == NULL)
        return NULL;
    ctx = cleanup->data;
    ngx_memzero(ctx, sizeof(*ctx));
    cleanup->handler = ngx_http_purser_ctx_cleanup;
    ctx->request = r;
    ctx->dialect = dialect;
    ctx->http_version = r->http_version;
    /* Refusals have an id too. */
    ngx_http_purser_new_call_id(ctx->call_id, ctx->call_id_text);
    ngx_http_set_ctx(r, ctx, ngx_http_purser_module);
    return ctx;
}

ngx_int_t
ngx_http_purser_access_handler(ngx_http_request_t *r)
{
    ngx_http_purser_loc_conf_t *lcf = ngx_http_get_module_loc_conf(r, ngx_http_purser_module);
    ngx_http_purser_ctx_t *ctx;
    enum refusal refusal;
    ngx_int_t rc;

    if (lcf->role != NGX_HTTP_PURSER_CALL || r != r->main)
        return NGX_DECLINED;
    /* Led here by something else than the client's own request line: that would be another call. */
    if (r->internal)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx = ngx_http_purser_get_ctx(r);
    if (ctx != NULL)
        return ctx->body_read ? NGX_OK : NGX_DONE;
    ctx = ngx_http_purser_new_ctx(r, lcf->dialect);
    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    refusal = ngx_http_purser_check_head(r, ctx);
    if (refusal != REFUSAL_NONE) {
        ngx_http_finalize_request(r, ngx_http_purser_refuse(r, ctx->dialect, refusal, STR_NONE));
        return NGX_DONE;
    }
    rc = ngx_http_read_client_request_body(r, ngx_http_purser_body_done);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    ngx_http_finalize_request(r, NGX_DONE);
    return NGX_DONE;
}
