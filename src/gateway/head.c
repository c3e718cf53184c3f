/* What of a vendor's answer is not the client's: whose account it is and how much it has left. */

#include "gateway/ngx_http_purser.h"

/* Lower case; a name that ends with '-' hides all that begin so. */
static const struct str ngx_http_purser_hidden[] = {
    /* The platform's account and what it has left. */
    STR_INIT("anthropic-organization-id"),
    STR_INIT("anthropic-workspace-id"),
    STR_INIT("anthropic-ratelimit-"),
    STR_INIT("openai-organization"),
    STR_INIT("openai-project"),
    STR_INIT("x-ratelimit-"),
    STR_INIT("ratelimit-"),
    STR_INIT("ratelimit"),
    STR_INIT("msh-"),
    STR_INIT("set-cookie"),
    /* Replaced by the call's own. */
    STR_INIT("request-id"),
    STR_INIT("x-request-id"),
    STR_INIT("x-purser-"),
    /* What binds a client to the vendor's host, said from ours. */
    STR_INIT("strict-transport-security"),
    STR_INIT("alt-svc"),
    STR_INIT("nel"),
    STR_INIT("report-to"),
    STR_INIT("via"),
    STR_INIT("cf-"),
};

/* name in lower case */
static ngx_uint_t
ngx_http_purser_is_hidden(struct str name)
{
    static const char firsts[] = "aomrxnsvc";
    u_char first = name.n > 0 ? (u_char)name.p[0] : '\0';

    if (ngx_strchr(firsts, first) == NULL)
        return 0;
    for (size_t i = 0; i < sizeof(ngx_http_purser_hidden) / sizeof(struct str); i++) {
        struct str hidden = ngx_http_purser_hidden[i];
        ngx_uint_t is_prefix = hidden.p[hidden.n - 1] == '-';

        if (first == (u_char)hidden.p[0] && (is_prefix ? name.n > hidden.n : name.n == hidden.n) &&
            ngx_memcmp(name.p, hidden.p, hidden.n) == 0)
            return 1;
    }
    return 0;
}

/*
 * The vendor's own id of the request stays readable under another name: it is what the vendor's
 * support asks for.
 */
ngx_int_t
ngx_http_purser_clean_answer(ngx_http_request_t *r, const ngx_http_purser_ctx_t *ctx)
{
    ngx_list_part_t *part = &r->headers_out.headers.part;
    struct str vendor_id = STR_NONE;

    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *h = part->elts;

        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            /* What came from a vendor has it in lower case, too. */
            struct str name = {(char *)h[i].lowcase_key, h[i].key.len};

            if (h[i].hash == 0 || !ngx_http_purser_is_hidden(name))
                continue;
            if (str_equal(name, STR("request-id")) || str_equal(name, STR("x-request-id")))
                vendor_id = ngx_http_purser_str(h[i].value);
            h[i].hash = 0;
        }
    }
    if (vendor_id.n > 0 &&
        ngx_http_purser_add_header(r, STR("x-purser-vendor-request-id"), vendor_id) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_purser_add_id(r, ctx);
}
