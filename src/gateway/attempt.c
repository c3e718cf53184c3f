/*
 * A call is tried at one vendor after the other until an answer has begun: each attempt has a
 * target, a key, a slot of the recorder and a bound of its own.
 *
 * After 401, 403 and 429 another key of the same vendor comes next, after everything else the next
 * target: 5xx, no connection, a connection lost before the first byte of an answer. A call that was
 * wholly sent may have been served all the same, so it is booked with its bound; it is never sent
 * twice to the same place. A time-out is not tried again: whoever waited so long has no more time.
 */

#include "gateway/ngx_http_purser.h"

static void
ngx_http_purser_copy_text(char *to, size_t to_bytes, const char *from)
{
    size_t n = ngx_min(ngx_strlen(from), to_bytes - 1);

    ngx_memcpy(to, from, n);
    to[n] = '\0';
}

/*
 * The intent, written down before a byte goes upstream, and what it needs of budgets and limits. On
 * a refusal the slot is free again: it never was an attempt.
 */
static enum refusal
ngx_http_purser_open_slot(ngx_http_purser_ctx_t *ctx, const struct admit_decision *d,
    const struct policy *policy, const struct policy_token *token, const uint8_t key_id[static 16])
{
    struct recorder_open open = {.attempt = ctx->attempt, .dialect = (uint8_t)ctx->dialect};
    enum refusal refusal;

    ngx_memcpy(open.call_id, ctx->call_id, sizeof(open.call_id));
    ngx_memcpy(open.org_id, token->org_id, sizeof(open.org_id));
    ngx_memcpy(open.workspace_id, token->workspace_id, sizeof(open.workspace_id));
    ngx_memcpy(open.token_id, token->token_id, sizeof(open.token_id));
    ngx_memcpy(open.decision_id, token->decision_id, sizeof(open.decision_id));
    ngx_memcpy(open.key_id, key_id, sizeof(open.key_id));
    ngx_memcpy(open.registry_fingerprint, policy->header->registry_fingerprint,
        sizeof(open.registry_fingerprint));
    open.opened_ms = ngx_http_purser_now_ms();
    open.bound_nano_usd = d->bound_nano_usd;
    open.prompt_bound = d->most.prompt_tokens;
    open.output_bound = d->most.output_tokens;
    open.searches_bound = d->most.web_searches;
    open.bills_answered = (uint8_t)d->target->bills_answered;
    ngx_memcpy(open.billed, d->billed, sizeof(open.billed));
    open.tiers_n = (uint8_t)d->tiers_n;
    ngx_memcpy(open.tiers, d->tiers, sizeof(open.tiers));
    ngx_http_purser_copy_text(open.provider, sizeof(open.provider), d->target->provider);
    ngx_http_purser_copy_text(open.model_asked, sizeof(open.model_asked), d->route->id);
    ngx_http_purser_copy_text(
        open.model_vendor, sizeof(open.model_vendor), d->target->vendor_model);
    refusal = ngx_http_purser_budget_name(ctx->request, policy, token, &open);
    if (refusal != REFUSAL_NONE)
        return refusal;
    recorder_slot_open(&ngx_http_purser_worker.recorder, ctx->slot, &open);
    refusal = ngx_http_purser_budget_reserve(ctx);
    if (refusal != REFUSAL_NONE)
        recorder_slot_free(&ngx_http_purser_worker.recorder, ctx->slot);
    ctx->recording = refusal == REFUSAL_NONE;
    return refusal;
}

/*
 * From ctx->target on, the first target that can take the call, and a key for it. patient: also one
 * whose breaker is open.
 */
static enum refusal
ngx_http_purser_pick(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, struct admit_facts *facts,
    ngx_uint_t patient, struct admit_decision *ret, struct keywire_key *ret_key)
{
    ngx_http_purser_main_conf_t *mcf = ngx_http_get_module_main_conf(r, ngx_http_purser_module);
    enum refusal first = REFUSAL_NONE, refusal;

    for (;; facts->target++) {
        int route = facts->target == 0
            ? 0
            : policy_route_find(
                  facts->policy, (struct str){facts->request->model, facts->request->model_n});

        if (route < 0 ||
            (facts->target > 0 && facts->target >= facts->policy->routes[route].targets_n))
            return first != REFUSAL_NONE ? first : REFUSAL_BAD_GATEWAY;
        *ret = admit(facts);
        refusal = ret->refusal;
        if (ret->route == NULL)
            return refusal;
        if (refusal == REFUSAL_NONE && !patient && ret->route->targets_n > 1 &&
            ngx_http_purser_breaker_is_open(ret->endpoint->upstream))
            refusal = REFUSAL_BAD_GATEWAY;
        if (refusal == REFUSAL_NONE &&
            ngx_http_purser_keys_pick(mcf, str_from_cstr(ret->target->provider), ctx->tried,
                facts->target == ctx->target ? ctx->tried_n : 0, ret_key) != NGX_OK)
            refusal = REFUSAL_NO_PLATFORM_KEY;
        if (refusal == REFUSAL_NONE)
            return REFUSAL_NONE;
        first = first == REFUSAL_NONE ? refusal : first;
    }
}

static void
ngx_http_purser_take(ngx_http_purser_ctx_t *ctx, const struct admit_facts *facts,
    const struct admit_decision *d, const struct keywire_key *key)
{
    const struct policy_target *t = d->target;

    if (facts->target != ctx->target)
        ctx->tried_n = 0;
    ctx->target = facts->target;
    ngx_memcpy(ctx->tried[ctx->tried_n++], key->id, sizeof(key->id));
    ctx->attempt++;
    ctx->endpoint = *d->endpoint;
    ctx->key.data = (u_char *)key->value.p;
    ctx->key.len = key->value.n;
    ctx->connect_ms = t->connect_ms;
    ctx->first_byte_ms = t->first_byte_ms;
    ctx->idle_ms = t->idle_ms;
    ctx->drain_ms = t->drain_ms;
    ctx->drain_nano_usd = t->drain_nano_usd;
    ctx->conf = NULL;
    ctx->metering = 0;
    ctx->text_written = 0;
    ngx_memzero(&ctx->progress, sizeof(ctx->progress));
}

enum refusal
ngx_http_purser_attempt_open(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    struct admit_facts facts = {.request = &ctx->scan,
        .dialect = ctx->dialect,
        .is_free = ctx->is_free,
        .target = ctx->target,
        .now_ms = ngx_http_purser_now_ms()};
    struct policy_token token;
    struct policy *policy;
    struct admit_decision d;
    struct keywire_key key;
    enum refusal refusal = ngx_http_purser_check_token(r, ctx, &policy, &token);

    if (refusal != REFUSAL_NONE)
        return refusal;
    facts.policy = policy;
    facts.token = &token;
    refusal = ngx_http_purser_pick(r, ctx, &facts, 0, &d, &key);
    if (refusal == REFUSAL_BAD_GATEWAY && ctx->attempt == 0) {
        facts.target = 0;
        refusal = ngx_http_purser_pick(r, ctx, &facts, 1, &d, &key);
    }
    if (refusal != REFUSAL_NONE)
        return refusal;
    if (!ctx->is_free && ngx_http_purser_slot_take(r->connection->log, &ctx->slot) != NGX_OK)
        return REFUSAL_RECORDER_FULL;
    if (ngx_http_purser_splice(r, ctx, str_from_cstr(d.target->vendor_model)) != NGX_OK)
        return REFUSAL_INTERNAL;
    ngx_http_purser_take(ctx, &facts, &d, &key);
    if (!ctx->is_free) {
        refusal = ngx_http_purser_open_slot(ctx, &d, policy, &token, key.id);
        if (refusal != REFUSAL_NONE)
            return refusal;
    }
    ctx->passing = 1;
    return REFUSAL_NONE;
}

/* Would another attempt make sense after this? 0: the vendor gave no answer. */
static ngx_uint_t
ngx_http_purser_may_go_on(ngx_uint_t status)
{
    return status == 0 || status == NGX_HTTP_UNAUTHORIZED || status == NGX_HTTP_FORBIDDEN ||
        status == NGX_HTTP_TOO_MANY_REQUESTS || status >= NGX_HTTP_INTERNAL_SERVER_ERROR;
}

ngx_int_t
ngx_http_purser_attempt_next(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_uint_t status)
{
    ngx_uint_t other_key =
        status >= NGX_HTTP_BAD_REQUEST && status < NGX_HTTP_INTERNAL_SERVER_ERROR;

    ngx_http_purser_breaker_note(
        ctx->endpoint.upstream, status == 0 || status >= NGX_HTTP_INTERNAL_SERVER_ERROR);
    if (!ngx_http_purser_may_go_on(status) || ctx->body_freed || ctx->client_left ||
        r->connection->error)
        return NGX_DECLINED;
    /* What it held of the budgets is free before the next one asks for its bound. */
    ngx_http_purser_close(ctx);
    if (ctx->attempt >= PURSER_ATTEMPTS_MAX)
        return NGX_DECLINED;
    if (!other_key) {
        ctx->target++;
        ctx->tried_n = 0;
    }
    return ngx_http_purser_attempt_open(r, ctx) == REFUSAL_NONE ? NGX_OK : NGX_DECLINED;
}
