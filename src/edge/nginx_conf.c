#include "edge/nginx_conf.h"

#include "base/arena.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* Of one worker: clients and vendors together, about 0.5 KiB each even when they are not used. */
enum { CONNECTIONS_MAX = 16384, FILES_BESIDES = 256 };

/* As many as the limit of open files leaves room for. */
static unsigned long
worker_files(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == -1 || l.rlim_max > CONNECTIONS_MAX + FILES_BESIDES)
        return CONNECTIONS_MAX + FILES_BESIDES;
    return l.rlim_max < 2 * FILES_BESIDES ? 2 * FILES_BESIDES : (unsigned long)l.rlim_max;
}

static void
render_head(const struct edge_options *o, struct buf *out)
{
    buf_addf(out,
        "# Written by purserd at every change. Do not edit: change purser.yaml instead.\n"
        "load_module \"%.*s\";\n",
        STR_ARG(o->module_path));
    if (geteuid() == 0 && o->worker_user.n > 0)
        buf_addf(out, "user %.*s;\n", STR_ARG(o->worker_user));
    buf_addf(out,
        "worker_processes %.*s;\n"
        "worker_rlimit_core 0;\n"
        "worker_rlimit_nofile %lu;\n"
        "worker_shutdown_timeout 1h;\n"
        "pid \"%.*s/nginx.pid\";\n"
        "error_log stderr warn;\n"
        "events { worker_connections %lu; }\n"
        "http {\n",
        STR_ARG(o->worker_processes), worker_files(), STR_ARG(o->run_dir),
        worker_files() - FILES_BESIDES);
    buf_addf(out,
        "  purser_policy \"%.*s/policy\";\n"
        "  purser_counters \"%.*s/counters\";\n"
        "  purser_recorder \"%.*s\";\n"
        "  purser_keys \"%.*s/keys.sock\";\n",
        STR_ARG(o->run_dir), STR_ARG(o->run_dir), STR_ARG(o->recorder_path), STR_ARG(o->run_dir));
    buf_addf(out,
        "  client_body_temp_path \"%.*s/tmp/body\";\n"
        "  proxy_temp_path \"%.*s/tmp/proxy\";\n"
        "  fastcgi_temp_path \"%.*s/tmp/fastcgi\";\n"
        "  uwsgi_temp_path \"%.*s/tmp/uwsgi\";\n"
        "  scgi_temp_path \"%.*s/tmp/scgi\";\n",
        STR_ARG(o->run_dir), STR_ARG(o->run_dir), STR_ARG(o->run_dir), STR_ARG(o->run_dir),
        STR_ARG(o->run_dir));
    /* Neither arguments nor bodies nor credentials: paths, sizes, times and the id of the call. */
    buf_addf(out,
        "  log_format purser '$time_iso8601 $remote_addr $request_method $uri $status $bytes_sent "
        "'\n"
        "    '$request_time $upstream_response_time $purser_call_id';\n"
        "  access_log \"%.*s/access.log\" purser buffer=32k flush=1s;\n"
        "  server_tokens off;\n"
        "  default_type application/octet-stream;\n"
        "  tcp_nodelay on;\n"
        "  keepalive_timeout 75s;\n"
        /* Between two reads, or two writes, of a client that is slow on purpose. */
        "  client_header_timeout 20s;\n"
        "  client_body_timeout 30s;\n"
        "  send_timeout 60s;\n"
        /*
         * What an open stream holds is this and little more. The heads of Claude Code and Codex fit
         * into 2 KiB; whoever sends more gets a large buffer. A usual call fills the pool; in three
         * smaller ones nginx would look at each for every few bytes that it needs.
         */
        "  client_header_buffer_size 2k;\n"
        "  request_pool_size 13824;\n"
        "  large_client_header_buffers 8 32k;\n",
        STR_ARG(o->log_dir));
}

static void
render_upstreams(const struct routes *routes, struct buf *out)
{
    for (size_t i = 0; i < routes->hosts_n; i++) {
        const struct routes_host *h = &routes->hosts[i];

        if (h->addresses_n == 0)
            continue; /* nginx would refuse to start; its calls get 502 */
        buf_addf(out, "  upstream %s {\n", h->upstream);
        for (size_t k = 0; k < h->addresses_n; k++)
            buf_addf(out, "    server %s max_fails=1 fail_timeout=10s;\n", h->addresses[k]);
        buf_add(out,
            STR("    keepalive 64;\n    keepalive_timeout 30s;\n"
                "    keepalive_requests 100000;\n    purser_upstream;\n  }\n"));
    }
}

/*
 * Reading the list of authorities takes nginx a tenth of a second: only where a vendor speaks TLS.
 */
static const char upstream_tls[] =
    "      proxy_ssl_name $purser_tls_name;\n"
    "      proxy_ssl_server_name on;\n"
    "      proxy_ssl_verify on;\n"
    "      proxy_ssl_verify_depth 5;\n"
    "      proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;\n"
    "      proxy_ssl_protocols TLSv1.2 TLSv1.3;\n";

static bool
any_tls(const struct routes *routes)
{
    for (size_t i = 0; i < routes->hosts_n; i++) {
        if (routes->hosts[i].tls)
            return true;
    }
    return false;
}

#define LLM "/api/v1/internal/llm"

/* What the gateway serves: a location, what is there, and the vendor's path behind its base URL. */
static const struct call_path {
    const char *location;
    const char *role;
    enum dialect dialect;
    const char *vendor_path;
} call_paths[] = {
    {LLM "/anthropic/v1/messages", "call", DIALECT_ANTHROPIC, "/v1/messages"},
    {LLM "/anthropic/v1/messages/count_tokens", "free", DIALECT_ANTHROPIC,
        "/v1/messages/count_tokens"},
    {LLM "/openai/v1/chat/completions", "call", DIALECT_OPENAI_CHAT, "/chat/completions"},
    {LLM "/openai/v1/responses", "call", DIALECT_OPENAI_RESPONSES, "/responses"},
    {LLM "/openai/v1/embeddings", "call", DIALECT_OPENAI_EMBEDDINGS, "/embeddings"},
};

/*
 * The agent's credential, whose client it is, which way it came and whose bill it is: not the
 * vendor's to know or choose.
 */
static const char *const dropped_headers[] = {"x-api-key", "api-key", "x-goog-api-key",
    "Authorization", "Accept-Encoding", "Cookie", "Content-Encoding", "Proxy-Authorization",
    "OpenAI-Organization", "OpenAI-Project", "chatgpt-account-id", "anthropic-organization-id",
    "anthropic-workspace-id", "x-goog-user-project", "Forwarded", "Via", "X-Forwarded-For",
    "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Port", "X-Forwarded-Prefix",
    "X-Forwarded-Server", "X-Real-IP", "X-Client-IP", "True-Client-IP", "CF-Connecting-IP",
    "Fly-Client-IP"};

/*
 * How a call is passed on. The credential headers of the agent never go upstream, and the vendor's
 * own is a line behind Host; what was scanned as JSON in UTF-8 is read as that, and nothing else.
 */
static void
render_pass(enum dialect d, bool tls, struct buf *out)
{
    struct str dialect = dialect_name(d);

    buf_addf(out,
        "      error_page 400 403 405 408 411 413 414 500 501 503 @error_%.*s;\n"
        "      error_page 502 504 @again_%.*s;\n"
        "      proxy_pass $purser_url;\n"
        "      proxy_set_header Host $purser_host$purser_key_header$purser_key;\n"
        "      proxy_set_header Connection \"\";\n"
        "      proxy_set_header Content-Type application/json;\n",
        STR_ARG(dialect), STR_ARG(dialect));
    for (size_t i = 0; i < sizeof(dropped_headers) / sizeof(dropped_headers[0]); i++)
        buf_addf(out, "      proxy_set_header %s \"\";\n", dropped_headers[i]);
    buf_addf(out, "%s    }\n", tls ? upstream_tls : "");
}

static void
render_models(const char *location, enum dialect d, struct buf *out)
{
    const char *dialect = dialect_name(d).p;

    buf_addf(out,
        "    location = %s { purser models %s; }\n"
        "    location %s/ { purser models %s; }\n",
        location, dialect, location, dialect);
}

/* Where the module counts a credential that it refuses: see render_failed_auth(). */
static void
render_failed_calls(const struct edge_options *o, const char *dialect, struct buf *out)
{
    buf_addf(out, "    location @failed_%s {\n      purser failed %s;\n", dialect, dialect);
    if (o->auth_failures_per_minute > 0)
        buf_addf(out,
            "      limit_req zone=purser_failed burst=%lld nodelay;\n"
            "      error_page 429 @error_%s;\n",
            (long long)o->auth_failures_per_minute, dialect);
    buf_add(out, STR("    }\n"));
}

static void
render_calls(const struct edge_options *o, bool tls, struct buf *out)
{
    buf_add(out,
        STR("    # Bodies stay in memory: a body in a file could not be scanned.\n"
            "    client_max_body_size 32m;\n"
            "    client_body_buffer_size 32m;\n"
            "    recursive_error_pages on;\n"
            "    proxy_http_version 1.1;\n"
            "    proxy_buffering off;\n"
            "    proxy_buffer_size 16k;\n"
            "    proxy_buffers 8 16k;\n"
            "    proxy_next_upstream off;\n"
            "    # Where the registry has none for a provider:\n"
            "    proxy_connect_timeout 10s;\n"
            "    proxy_send_timeout 60s;\n"
            "    proxy_read_timeout 600s;\n"
            "    # A vendor gives no orders to this proxy: a redirect would be a call without a "
            "slot.\n"
            "    proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate\n"
            "      X-Accel-Buffering X-Accel-Charset;\n"));
    for (size_t i = 0; i < sizeof(call_paths) / sizeof(call_paths[0]); i++) {
        const struct call_path *p = &call_paths[i];

        buf_addf(out, "    location = %s {\n      purser %s %s %s;\n", p->location, p->role,
            dialect_name(p->dialect).p, p->vendor_path);
        render_pass(p->dialect, tls, out);
    }
    for (int d = 0; d < DIALECT_COUNT; d++) {
        const char *dialect = dialect_name((enum dialect)d).p;

        buf_addf(out, "    location @again_%s {\n      purser again %s;\n", dialect, dialect);
        render_pass((enum dialect)d, tls, out);
        buf_addf(out, "    location @error_%s { internal; purser error %s; }\n", dialect, dialect);
        render_failed_calls(o, dialect, out);
    }
    render_models(LLM "/anthropic/v1/models", DIALECT_ANTHROPIC, out);
    render_models(LLM "/openai/v1/models", DIALECT_OPENAI_CHAT, out);
    buf_add(out,
        STR("    location " LLM "/anthropic { purser unknown anthropic; }\n"
            "    location " LLM "/openai { purser unknown openai-chat; }\n"));
}

/*
 * What a bad credential costs its address. Only what the API refused with 401 is counted, so a good
 * credential is never slowed down by bad ones beside it; nginx can count that only in a location of
 * its own, behind the answer. Its text comes along in a header, for an internal redirect drops it.
 */
static void
render_failed_auth_zone(const struct edge_options *o, struct buf *out)
{
    if (o->auth_failures_per_minute == 0)
        return;
    buf_addf(out,
        "  limit_req_zone $binary_remote_addr zone=purser_failed:2m rate=%lldr/m;\n"
        "  limit_req_status 429;\n"
        "  limit_req_log_level info;\n",
        (long long)o->auth_failures_per_minute);
}

static void
render_failed_auth(const struct edge_options *o, struct buf *out)
{
    if (o->auth_failures_per_minute == 0)
        return;
    buf_addf(out,
        "    location @purser_failed {\n"
        "      limit_req zone=purser_failed burst=%lld nodelay;\n"
        "      recursive_error_pages on;\n"
        "      error_page 429 = @purser_limited;\n"
        "      try_files /no/such/file @purser_refused;\n"
        "    }\n",
        (long long)o->auth_failures_per_minute);
    buf_add(out,
        STR("    location @purser_refused {\n"
            "      default_type application/json;\n"
            "      add_header Cache-Control no-store always;\n"
            "      return 401 $upstream_http_x_purser_refused;\n"
            "    }\n"
            "    location @purser_limited {\n"
            "      default_type application/json;\n"
            "      add_header Retry-After 60 always;\n"
            "      add_header Cache-Control no-store always;\n"
            "      return 429 '{\"error\":\"too many requests with a bad credential came from this"
            " address: correct it and try again in a minute\",\"code\":\"TOO_MANY_FAILURES\"}';\n"
            "    }\n"));
}

static const char api_headers[] = "      proxy_set_header Host $http_host;\n"
                                  "      proxy_set_header X-Real-IP $remote_addr;\n"
                                  "      proxy_set_header X-Forwarded-Proto $scheme;\n"
                                  "      proxy_set_header Connection \"\";\n";

/* Event streams go on for hours, unbuffered as everything here, past a listener of their own. */
static void
render_streams(const struct edge_options *o, struct buf *out)
{
    buf_addf(out,
        "    location ~ ^(/workspaces/[^/]+)?/events$ {\n"
        "      proxy_pass http://unix:%.*s:;\n"
        "%s"
        "      proxy_read_timeout 1h;\n"
        "    }\n",
        STR_ARG(o->stream_socket), api_headers);
}

static void
render_server(const struct edge_options *o, const struct routes *routes, struct buf *out)
{
    bool tls = o->tls_cert.n > 0;

    buf_addf(out, "  server {\n    listen %.*s%s;\n    server_name _;\n", STR_ARG(o->listen),
        tls ? " ssl http2" : "");
    if (tls)
        buf_addf(out,
            "    ssl_certificate \"%.*s\";\n"
            "    ssl_certificate_key \"%.*s\";\n"
            "    ssl_protocols TLSv1.2 TLSv1.3;\n"
            "    ssl_buffer_size 4k;\n",
            STR_ARG(o->tls_cert), STR_ARG(o->tls_key));
    render_calls(o, any_tls(routes), out);
    if (o->stream_socket.n > 0)
        render_streams(o, out);
    buf_addf(out,
        "    location / {\n"
        "      proxy_pass http://unix:%.*s:;\n"
        "      client_max_body_size 64m; # the API has a limit for each route\n"
        "      proxy_request_buffering off; # bodies carry secrets: never into a file\n"
        "%s"
        "      proxy_read_timeout 120s;\n"
        "      proxy_hide_header X-Purser-Refused;\n"
        "%s"
        "    }\n",
        STR_ARG(o->api_socket), api_headers,
        o->auth_failures_per_minute == 0 ? ""
                                         : "      proxy_intercept_errors on;\n"
                                           "      recursive_error_pages on;\n"
                                           "      error_page 401 = @purser_failed;\n");
    render_failed_auth(o, out);
    buf_add(out, STR("  }\n}\n"));
}

void
nginx_conf_render(const struct edge_options *o, const struct routes *routes, struct buf *out)
{
    render_head(o, out);
    render_failed_auth_zone(o, out);
    render_upstreams(routes, out);
    render_server(o, routes, out);
}

enum err
nginx_conf_write(const struct edge_options *o, const struct routes *routes, struct error *e)
{
    AUTO_BUF struct buf text;
    AUTO_ARENA struct arena a;
    AUTO_CLOSE int fd = -1;
    const char *path, *fresh;

    arena_init(&a);
    buf_init(&text, 1 << 20);
    nginx_conf_render(o, routes, &text);
    if (!buf_ok(&text))
        return fail(e, ERR_GATEWAY_UNUSABLE, "the gateway's configuration would be too long");
    path = arena_printf(&a, "%.*s/nginx.conf", STR_ARG(o->run_dir)).p;
    fresh = arena_printf(&a, "%s.new", path).p;
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd == -1 || write(fd, text.p, text.n) != (ssize_t)text.n)
        return fail_errno(e, ERR_STATE_UNUSABLE, "writing %s", fresh);
    if (rename(fresh, path) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "renaming %s", fresh);
    return ERR_OK;
}
