/* Directives, configuration and hooks. See docs/architecture.md for the walk of a call. */

#include "gateway/ngx_http_purser.h"

#include <sys/prctl.h>

static void *ngx_http_purser_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_purser_create_srv_conf(ngx_conf_t *cf);
static void *ngx_http_purser_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_purser_role(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_purser_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_purser_init_process(ngx_cycle_t *cycle);

static ngx_command_t ngx_http_purser_commands[] = {
    /* purser_policy PATH: the policy file that purserd publishes */
    {ngx_string("purser_policy"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, policy_path), NULL},
    /* purser_counters PATH: budgets and rate limits, shared by all workers */
    {ngx_string("purser_counters"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, counters_path), NULL},
    /* purser_recorder PATH: the flight recorder */
    {ngx_string("purser_recorder"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, recorder_path), NULL},
    /* purser_keys PATH: the socket where purserd hands out the platform's keys */
    {ngx_string("purser_keys"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_conf_set_str_slot,
        NGX_HTTP_MAIN_CONF_OFFSET, offsetof(ngx_http_purser_main_conf_t, keys_path), NULL},
    /* purser call|free DIALECT PATH, purser again|models|unknown|failed|error DIALECT: what a
     * location is */
    {ngx_string("purser"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE23, ngx_http_purser_role,
        NGX_HTTP_LOC_CONF_OFFSET, 0, NULL},
    /* purser_upstream: calls to it have the time-outs of their provider; the last line of a block */
    {ngx_string("purser_upstream"), NGX_HTTP_UPS_CONF | NGX_CONF_NOARGS, ngx_http_purser_upstream,
        NGX_HTTP_SRV_CONF_OFFSET, 0, NULL},
    ngx_null_command};

static ngx_http_module_t ngx_http_purser_module_ctx = {ngx_http_purser_add_variables,
    ngx_http_purser_init, ngx_http_purser_create_main_conf, NULL, ngx_http_purser_create_srv_conf,
    NULL, ngx_http_purser_create_loc_conf, NULL};

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
ngx_http_purser_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_purser_srv_conf_t));
}

static void *
ngx_http_purser_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_purser_loc_conf_t));
}

static char *
ngx_http_purser_role(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    static const struct {
        struct str name;
        ngx_uint_t role;
        ngx_uint_t has_path;
        ngx_http_handler_pt handler; /* NULL: proxy_pass */
    } roles[] = {
        {STR_INIT("call"), NGX_HTTP_PURSER_CALL, 1, NULL},
        {STR_INIT("free"), NGX_HTTP_PURSER_FREE, 1, NULL},
        {STR_INIT("again"), NGX_HTTP_PURSER_AGAIN, 0, NULL},
        {STR_INIT("models"), NGX_HTTP_PURSER_MODELS, 0, ngx_http_purser_models_handler},
        {STR_INIT("unknown"), NGX_HTTP_PURSER_UNKNOWN, 0, ngx_http_purser_unknown_handler},
        {STR_INIT("failed"), NGX_HTTP_PURSER_FAILED, 0, ngx_http_purser_failed_handler},
        {STR_INIT("error"), NGX_HTTP_PURSER_ERROR, 0, ngx_http_purser_error_handler},
    };
    ngx_http_purser_loc_conf_t *lcf = conf;
    ngx_str_t *args = cf->args->elts;
    enum dialect dialect;
    ngx_uint_t i = 0;

    if (lcf->role != NGX_HTTP_PURSER_NONE)
        return "is duplicate";
    while (i < sizeof(roles) / sizeof(roles[0]) &&
        !str_equal(ngx_http_purser_str(args[1]), roles[i].name))
        i++;
    if (i == sizeof(roles) / sizeof(roles[0]))
        return "takes call, free, again, models, unknown, failed or error";
    if (!dialect_from_name(ngx_http_purser_str(args[2]), &dialect))
        return "names an unknown dialect";
    if (cf->args->nelts != 3 + roles[i].has_path)
        return "takes a path for call and free, and none otherwise";
    lcf->role = roles[i].role;
    lcf->dialect = dialect;
    if (roles[i].has_path)
        lcf->path = args[3];
    if (roles[i].handler != NULL) {
        ngx_http_core_loc_conf_t *clcf =
            ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);

        clcf->handler = roles[i].handler;
    }
    return NGX_CONF_OK;
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
    /* In this order: purserd hands out keys when the recorder is the one it will keep. */
    if (ngx_http_purser_keys_fetch(cf, mcf) != NGX_OK ||
        ngx_http_purser_recorder_prepare(cf, mcf) != NGX_OK)
        return NGX_ERROR;
    handler = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (handler == NULL)
        return NGX_ERROR;
    *handler = ngx_http_purser_access_handler;
    handler = ngx_array_push(&cmcf->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (handler == NULL)
        return NGX_ERROR;
    *handler = ngx_http_purser_log_handler;
    ngx_http_purser_upload_init();
    return ngx_http_purser_meter_init(cf);
}

static ngx_int_t
ngx_http_purser_init_process(ngx_cycle_t *cycle)
{
    ngx_http_purser_main_conf_t *mcf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_purser_module);

    if (mcf == NULL || mcf->policy_path.len == 0)
        return NGX_OK;
    ngx_http_purser_heap_init(cycle);
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
