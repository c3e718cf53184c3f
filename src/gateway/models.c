/* GET .../models and .../models/ID: what this token may call in this dialect, from the policy. */

#include "gateway/ngx_http_purser.h"

enum { MODEL_ENTRY_MAX = 512 };

static ngx_uint_t
ngx_http_purser_model_is_served(const struct policy_route *route, enum dialect d)
{
    for (uint32_t i = 0; i < route->targets_n; i++) {
        if (route->targets[i].endpoint[d].present)
            return 1;
    }
    return 0;
}

/* Callable by some path of this API? The OpenAI one has three dialects. */
static ngx_uint_t
ngx_http_purser_model_is_listed(
    const struct policy_token *token, const struct policy *policy, uint32_t i, enum dialect d)
{
    const struct policy_route *route = &policy->routes[i];

    if (!policy_grant_has(token, (int)i))
        return 0;
    if (d == DIALECT_ANTHROPIC)
        return ngx_http_purser_model_is_served(route, d);
    return ngx_http_purser_model_is_served(route, DIALECT_OPENAI_CHAT) ||
        ngx_http_purser_model_is_served(route, DIALECT_OPENAI_RESPONSES) ||
        ngx_http_purser_model_is_served(route, DIALECT_OPENAI_EMBEDDINGS);
}

/* Ids are the registry's: printable, and checked when it was loaded. */
static u_char *
ngx_http_purser_model_entry(u_char *p, const struct policy_route *route, enum dialect d)
{
    const char *format = d == DIALECT_ANTHROPIC
        ? "{\"type\":\"model\",\"id\":\"%s\",\"display_name\":\"%s\","
          "\"created_at\":\"1970-01-01T00:00:00Z\"}"
        : "{\"id\":\"%s\",\"object\":\"model\",\"created\":0,\"owned_by\":\"%s\"}";

    return ngx_snprintf(p, MODEL_ENTRY_MAX, format, route->id,
        d == DIALECT_ANTHROPIC ? route->id : route->targets[0].provider);
}

static ngx_int_t
ngx_http_purser_send_models(ngx_http_request_t *r, const struct policy *policy,
    const struct policy_token *token, enum dialect d)
{
    ngx_buf_t *b = ngx_create_temp_buf(
        r->pool, (size_t)(policy->header->routes_n + 2) * (MODEL_ENTRY_MAX + 1));
    const struct policy_route *first = NULL, *last = NULL;

    if (b == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last = ngx_cpymem(b->last, "{\"data\":[", 9);
    for (uint32_t i = 0; i < policy->header->routes_n; i++) {
        if (!ngx_http_purser_model_is_listed(token, policy, i, d))
            continue;
        if (last != NULL)
            *b->last++ = ',';
        last = &policy->routes[i];
        first = first == NULL ? last : first;
        b->last = ngx_http_purser_model_entry(b->last, last, d);
    }
    if (d != DIALECT_ANTHROPIC)
        b->last = ngx_cpymem(b->last, "],\"object\":\"list\"}\n", 19);
    else if (last == NULL)
        b->last = ngx_snprintf(
            b->last, MODEL_ENTRY_MAX, "],\"has_more\":false,\"first_id\":null,\"last_id\":null}\n");
    else
        b->last = ngx_snprintf(b->last, MODEL_ENTRY_MAX,
            "],\"has_more\":false,\"first_id\":\"%s\",\"last_id\":\"%s\"}\n", first->id, last->id);
    return ngx_http_purser_send_json(r, NGX_HTTP_OK, b);
}

static ngx_int_t
ngx_http_purser_send_model(ngx_http_request_t *r, const struct policy *policy,
    const struct policy_token *token, enum dialect d, struct str id)
{
    int route = policy_route_find(policy, id);
    ngx_buf_t *b;

    if (route < 0 || !ngx_http_purser_model_is_listed(token, policy, (uint32_t)route, d))
        return ngx_http_purser_refuse(r, d, REFUSAL_NOT_FOUND,
            STR("this agent may not call a model of that name, or it is not served in this API"));
    b = ngx_create_temp_buf(r->pool, MODEL_ENTRY_MAX + 1);
    if (b == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    b->last = ngx_http_purser_model_entry(b->last, &policy->routes[route], d);
    return ngx_http_purser_send_json(r, NGX_HTTP_OK, b);
}

ngx_int_t
ngx_http_purser_models_handler(ngx_http_request_t *r)
{
    ngx_http_purser_loc_conf_t *lcf = ngx_http_get_module_loc_conf(r, ngx_http_purser_module);
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_new_ctx(r, lcf);
    struct str path = ngx_http_purser_str(r->uri), list = STR("/models");
    struct policy *policy;
    struct policy_token token;
    enum refusal refusal;
    ngx_int_t rc;
    size_t at = 0;

    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    refusal = ngx_http_purser_authenticate(r, ctx, &policy, &token);
    if (refusal == REFUSAL_NONE && (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)) == 0)
        refusal = REFUSAL_METHOD_NOT_ALLOWED;
    if (refusal != REFUSAL_NONE)
        return ngx_http_purser_turn_away(r, ctx, refusal);
    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK)
        return rc;
    while (!str_starts_with(str_slice(path, at, path.n), list))
        at++;
    at += list.n;
    if (at + 1 < path.n)
        return ngx_http_purser_send_model(
            r, policy, &token, lcf->dialect, str_slice(path, at + 1, path.n));
    return ngx_http_purser_send_models(r, policy, &token, lcf->dialect);
}
