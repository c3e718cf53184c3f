/* Directives, configuration and hooks. See docs/architecture.md for the walk of a call. */

#include "gateway/ngx_http_purser.h"

#include <sys/prctl.h>

static void *ngx_http_purser_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_purser_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_purser_role(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_purser_add_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_purser_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_purser_init_process(ngx_cycle_t *cycle);

static ngx_command_t ngx_http_purser_commands[] = {
    /* purser_policy PATH: the policy file that purserd publishes */
    {ngx_string("purser_policy"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, policy_path), NULL},
    /* purser_recorder PATH: the flight recorder */
    {ngx_string("purser_recorder"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, recorder_path), NULL},
    /* purser_keys PATH: the socket where purserd hands out the platform's keys */
    {ngx_string("purser_keys"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, keys_path), NULL},
    /* purser call|unknown|error DIALECT: what this location is */
    {ngx_string("purser"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE2, ngx_http_purser_role,
        NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    ngx_null_command};

static ngx_http_module_t ngx_http_purser_module_ctx = {ngx_http_purser_add_variables,
    ngx_http_purser_init, ngx_http_purser_create_main_conf, NULL, NULL, NULL,
    ngx_http_purser_create_loc_conf, NULL};

ngx_module_t ngx_http_purser_module = {NGX_MODULE_V1, &ngx_http_purser_module_ctx,
    ngx_http_purser_commands, NGX_HTTP_MODULE, NULL, NULL, ngx_http_purser_init_process, NULL, NULL,
    NULL, NULL, NGX_MODULE_V1_PADDING};

static void *
ngx_http_purser_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_purser_main_conf_t *mcf = ngx_pcalloc(cf->pool, sizeof(*mcf));

    if (mcf != NULL)
        mcf->recorder_fd = NGX_INVALID_FILE;
    return mcf;
}

static void *
ngx_http_purser_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_purser_loc_conf_t));
}

static char *
ngx_http_purser_role(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_purser_loc_conf_t *lcf = conf;
    ngx_http_core_loc_conf_t *clcf;
    ngx_str_t *args = cf->args->elts;
    struct str role = ngx_http_purser_str(args[1]);
    enum dialect dialect;

    if (lcf->role != NGX_HTTP_PURSER_NONE)
        return "is duplicate";
    if (!dialect_from_name(ngx_http_purser_str(args[2]), &dialect))
        return "names an unknown dialect";
    lcf->dialect = dialect;
    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    if (str_equal(role, STR("call"))) {
        lcf->role = NGX_HTTP_PURSER_CALL;
    } else if (str_equal(role, STR("unknown"))) {
        lcf->role = NGX_HTTP_PURSER_UNKNOWN;
        clcf->handler = ngx_http_purser_unknown_handler;
    } else if (str_equal(role, STR("error"))) {
        lcf->role = NGX_HTTP_PURSER_ERROR;
        clcf->handler = ngx_http_purser_error_handler;
    } else {
        return "takes call, unknown or error";
    }
    return NGX_CONF_OK;
}

enum {
    VARIABLE_URL,
    VARIABLE_HOST,
    VARIABLE_TLS_NAME,
    VARIABLE_X_API_KEY,
    VARIABLE_AUTHORIZATION,
    VARIABLE_API_KEY
};

static ngx_int_t
ngx_http_purser_set_text(ngx_http_request_t *r, ngx_http_variable_value_t *v, const char *format,
    const char *text, ngx_str_t rest)
{
    size_t n = ngx_strlen(format) + ngx_strlen(text) + rest.len;
    u_char *p = ngx_pnalloc(r->pool, n);

    if (p == NULL)
        return NGX_ERROR;
    v->data = p;
    v->len = (unsigned)(ngx_snprintf(p, n, format, text, &rest) - p);
    return NGX_OK;
}

static ngx_int_t
ngx_http_purser_set_url(
    ngx_http_request_t *r, ngx_http_variable_value_t *v, const struct policy_endpoint *e)
{
    static const char *const paths[DIALECT_COUNT] = {
        [DIALECT_ANTHROPIC] = "/v1/messages",
        [DIALECT_OPENAI_CHAT] = "/chat/completions",
        [DIALECT_OPENAI_RESPONSES] = "/responses",
    };
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    size_t n = sizeof("https://") + sizeof(e->upstream) + sizeof(e->path) + 32 + r->args.len;
    u_char *p = ngx_pnalloc(r->pool, n), *end;

    if (p == NULL)
        return NGX_ERROR;
    end = ngx_snprintf(p, n, "%s%s%s%s%s%V", e->tls ? "https://" : "http://", e->upstream, e->path,
        paths[ctx->dialect], r->args.len > 0 ? "?" : "", &r->args);
    v->data = p;
    v->len = (unsigned)(end - p);
    return NGX_OK;
}

/* Where the call goes and with which credential. Empty for whatever is not an admitted call. */
static ngx_int_t
ngx_http_purser_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t what)
{
    static const ngx_str_t none = ngx_null_string;
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    const struct policy_endpoint *e;

    v->valid = 1;
    v->no_cacheable = 1;
    v->not_found = 0;
    v->data = (u_char *)"";
    v->len = 0;
    if (ctx == NULL || !ctx->recording)
        return NGX_OK;
    e = &ctx->endpoint;
    switch (what) {
    case VARIABLE_URL:
        return ngx_http_purser_set_url(r, v, e);
    case VARIABLE_HOST:
        return ngx_http_purser_set_text(r, v, "%s%V", e->host, none);
    case VARIABLE_TLS_NAME:
        v->data = (u_char *)e->host;
        v->len = (unsigned)str_find_char(str_from_cstr(e->host), e->host[0] == '[' ? ']' : ':');
        if (e->host[0] == '[') {
            v->data++;
            v->len--;
        }
        return NGX_OK;
    case VARIABLE_X_API_KEY:
        if (e->header == AUTH_HEADER_X_API_KEY)
            return ngx_http_purser_set_text(r, v, "%s%V", "", ctx->key);
        return NGX_OK;
    case VARIABLE_API_KEY:
        if (e->header == AUTH_HEADER_API_KEY)
            return ngx_http_purser_set_text(r, v, "%s%V", "", ctx->key);
        return NGX_OK;
    default:
        if (e->header == AUTH_HEADER_BEARER)
            return ngx_http_purser_set_text(r, v, "%s%V", "Bearer ", ctx->key);
        return NGX_OK;
    }
}

static ngx_int_t
ngx_http_purser_call_id(ngx_http_request_t *r, ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);

    v->valid = ctx != NULL;
    v->not_found = ctx == NULL;
    v->no_cacheable = 1;
    if (ctx != NULL) {
        v->data = ctx->call_id_text;
        v->len = sizeof(ctx->call_id_text);
    }
    return NGX_OK;
}

static ngx_http_variable_t ngx_http_purser_variables[] = {
    {ngx_string("purser_url"), NULL, ngx_http_purser_variable, VARIABLE_URL,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_host"), NULL, ngx_http_purser_variable, VARIABLE_HOST,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_tls_name"), NULL, ngx_http_purser_variable, VARIABLE_TLS_NAME,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_x_api_key"), NULL, ngx_http_purser_variable, VARIABLE_X_API_KEY,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_authorization"), NULL, ngx_http_purser_variable, VARIABLE_AUTHORIZATION,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_api_key"), NULL, ngx_http_purser_variable, VARIABLE_API_KEY,
        NGX_HTTP_VAR_NOCACHEABLE, 0},
    {ngx_string("purser_call_id"), NULL, ngx_http_purser_call_id, 0, NGX_HTTP_VAR_NOCACHEABLE, 0},
    ngx_http_null_variable};

static ngx_int_t
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

/*
 * Runs while the configuration is read, so that a reload without purserd fails here and the old
 * cycle stays: nginx ends the master when an init_module hook fails.
 */
static ngx_int_t
ngx_http_purser_init(ngx_conf_t *cf)
{
    ngx_http_purser_main_conf_t *mcf =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_purser_module);
    ngx_http_core_main_conf_t *cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_handler_pt *handler;

    if (mcf->policy_path.len == 0 && mcf->recorder_path.len == 0 && mcf->keys_path.len == 0)
        return NGX_OK;
    if (mcf->policy_path.len == 0 || mcf->recorder_path.len == 0 || mcf->keys_path.len == 0) {
        ngx_conf_log_error(
            NGX_LOG_EMERG, cf, 0, "purser_policy, purser_recorder and purser_keys go together");
        return NGX_ERROR;
    }
    if (ngx_http_purser_recorder_prepare(cf, mcf) != NGX_OK ||
        ngx_http_purser_keys_fetch(cf, mcf) != NGX_OK)
        return NGX_ERROR;
    handler = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (handler == NULL)
        return NGX_ERROR;
    *handler = ngx_http_purser_access_handler;
    handler = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (handler == NULL)
        return NGX_ERROR;
    *handler = ngx_http_purser_log_handler;
    return ngx_http_purser_meter_init(cf);
}

static ngx_int_t
ngx_http_purser_init_process(ngx_cycle_t *cycle)
{
    ngx_http_purser_main_conf_t *mcf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_purser_module);

    if (mcf == NULL || mcf->policy_path.len == 0)
        return NGX_OK;
    /*
     * nginx turned it on when it changed the uid: no core with a key in it, no look into our
     * memory.
     */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno, "prctl(PR_SET_DUMPABLE) failed");
        return NGX_ERROR;
    }
    if (ngx_http_purser_keys_lock(mcf, cycle->log) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_purser_shared_open(mcf, cycle->log);
}
