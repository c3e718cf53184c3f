#include "edge/nginx_conf.h"

#include "base/arena.h"

#include <fcntl.h>
#include <sys/stat.h>

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
        "worker_shutdown_timeout 1h;\n"
        "pid \"%.*s/nginx.pid\";\n"
        "error_log stderr warn;\n"
        "events { worker_connections 8192; }\n"
        "http {\n",
        STR_ARG(o->worker_processes), STR_ARG(o->run_dir));
    buf_addf(out,
        "  purser_policy \"%.*s/policy\";\n"
        "  purser_recorder \"%.*s\";\n"
        "  purser_keys \"%.*s/keys.sock\";\n",
        STR_ARG(o->run_dir), STR_ARG(o->recorder_path), STR_ARG(o->run_dir));
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
                "    keepalive_requests 100000;\n  }\n"));
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

/* What every call shares. The credential headers of the agent never go upstream. */
static void
render_call_location(const char *path, struct str dialect, bool tls, struct buf *out)
{
    buf_addf(out,
        "    location = %s {\n"
        "      purser call %.*s;\n"
        "      error_page 400 403 405 408 411 413 414 500 501 502 503 504 @error_%.*s;\n"
        "      proxy_pass $purser_url;\n"
        "      proxy_set_header Host $purser_host;\n"
        "      proxy_set_header x-api-key $purser_x_api_key;\n"
        "      proxy_set_header api-key $purser_api_key;\n"
        "      proxy_set_header Authorization $purser_authorization;\n"
        "      proxy_set_header Connection \"\";\n"
        "      proxy_set_header Accept-Encoding \"\";\n"
        "      proxy_set_header Cookie \"\";\n"
        /* What was scanned as JSON in UTF-8 is read as that, and nothing else. */
        "      proxy_set_header Content-Type application/json;\n"
        "      proxy_set_header Content-Encoding \"\";\n"
        /* Other credentials and whose bill it is: not the agent's to choose. */
        "      proxy_set_header Proxy-Authorization \"\";\n"
        "      proxy_set_header x-goog-api-key \"\";\n"
        "      proxy_set_header OpenAI-Organization \"\";\n"
        "      proxy_set_header OpenAI-Project \"\";\n"
        "%s"
        "    }\n",
        path, STR_ARG(dialect), STR_ARG(dialect), tls ? upstream_tls : "");
}

static void
render_calls(bool tls, struct buf *out)
{
    buf_add(out,
        STR("    # Bodies stay in memory: a body in a file could not be scanned.\n"
            "    client_max_body_size 32m;\n"
            "    client_body_buffer_size 32m;\n"
            "    proxy_http_version 1.1;\n"
            "    proxy_buffering off;\n"
            "    proxy_buffer_size 16k;\n"
            "    proxy_buffers 8 16k;\n"
            "    proxy_next_upstream off;\n"
            "    proxy_connect_timeout 10s;\n"
            "    proxy_send_timeout 60s;\n"
            "    proxy_read_timeout 600s;\n"
            "    # A vendor gives no orders to this proxy: a redirect would be a call without a "
            "slot.\n"
            "    proxy_ignore_headers X-Accel-Redirect X-Accel-Expires X-Accel-Limit-Rate\n"
            "      X-Accel-Buffering X-Accel-Charset;\n"
            "    proxy_hide_header Set-Cookie;\n"
            "    proxy_hide_header anthropic-organization-id;\n"
            "    proxy_hide_header openai-organization;\n"
            "    add_header x-purser-call-id $purser_call_id always;\n"));
    render_call_location(
        "/api/v1/internal/llm/anthropic/v1/messages", dialect_name(DIALECT_ANTHROPIC), tls, out);
    buf_add(out,
        STR("    location /api/v1/internal/llm/anthropic { purser unknown anthropic; }\n"
            "    location /api/v1/internal/llm/openai { purser unknown openai-chat; }\n"
            "    location @error_anthropic { internal; purser error anthropic; }\n"));
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
            "    ssl_protocols TLSv1.2 TLSv1.3;\n",
            STR_ARG(o->tls_cert), STR_ARG(o->tls_key));
    render_calls(any_tls(routes), out);
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
