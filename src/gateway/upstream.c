/* What differs from vendor to vendor once a call is on its way: time-outs and abandoned calls. */

#include "gateway/ngx_http_purser.h"

/* The client left and the vendor's answer is read on, for so long. */
static void
ngx_http_purser_client_left(ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx)
{
    ngx_connection_t *c = r->connection, *vendor = r->upstream->peer.connection;

    c->error = 1;
    if (ctx->client_left)
        return;
    ctx->client_left = 1;
    ctx->drain_until_ms = ngx_http_purser_now_ms() + ctx->drain_ms;
    ctx->conf->read_timeout = ngx_min(ctx->conf->read_timeout, ctx->drain_ms);
    if (vendor != NULL && vendor->read->timer_set)
        ngx_add_timer(vendor->read, ctx->conf->read_timeout);
    /*
     * Was the vendor waiting for a slow client? A socket that is gone can be written to at once, but
     * of a stream of HTTP/2 nobody would tell.
     */
    ngx_post_event(c->write, &ngx_posted_events);
}

/*
 * What nginx would do is hang up; this notes that nobody listens any more. A call that the vendor
 * does not have yet is not made for nobody.
 */
static void
ngx_http_purser_watch_client(ngx_http_request_t *r)
{
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    ngx_connection_t *c = r->connection;
    char byte;

    if (ctx == NULL || r->upstream == NULL || ctx->conf == NULL)
        return;
    /* Before its end a connection may have bytes that nobody reads: TLS says goodbye. */
    if (!c->error && !c->read->pending_eof && (r->stream || recv(c->fd, &byte, 1, MSG_PEEK) != 0))
        return;
    if (ngx_http_purser_upstream_has_call(ctx)) {
        ngx_http_purser_client_left(r, ctx);
        return;
    }
    c->error = 1;
    ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
}

/*
 * Runs when nginx is about to connect: the last moment at which an attempt can be given time-outs
 * of its own.
 */
static ngx_int_t
ngx_http_purser_init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_purser_srv_conf_t *scf = ngx_http_conf_upstream_srv_conf(us, ngx_http_purser_module);
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(r);
    ngx_http_upstream_t *u = r->upstream;

    if (ctx != NULL && ctx->passing) {
        ctx->conf = ngx_palloc(r->pool, sizeof(*ctx->conf));
        if (ctx->conf == NULL)
            return NGX_ERROR;
        *ctx->conf = *u->conf;
        if (ctx->connect_ms > 0)
            ctx->conf->connect_timeout = ctx->connect_ms;
        if (ctx->first_byte_ms > 0)
            ctx->conf->read_timeout = ctx->first_byte_ms;
        u->conf = ctx->conf;
        if (ctx->drain_ms > 0 && ctx->recording) {
            r->read_event_handler = ngx_http_purser_watch_client;
            r->write_event_handler = ngx_http_request_empty_handler;
        }
    }
    if (scf->init_peer(r, us) != NGX_OK)
        return NGX_ERROR;
    if (ctx != NULL)
        ngx_http_purser_kept_watch(u, ctx);
    return NGX_OK;
}

static ngx_int_t
ngx_http_purser_init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    ngx_http_purser_srv_conf_t *scf = ngx_http_conf_upstream_srv_conf(us, ngx_http_purser_module);

    if (scf->init_upstream(cf, us) != NGX_OK)
        return NGX_ERROR;
    scf->init_peer = us->peer.init;
    us->peer.init = ngx_http_purser_init_peer;
    return NGX_OK;
}

char *
ngx_http_purser_upstream(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_purser_srv_conf_t *scf = conf;
    ngx_http_upstream_srv_conf_t *us =
        ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    if (scf->init_upstream != NULL)
        return "is duplicate";
    scf->init_upstream = us->peer.init_upstream != NULL ? us->peer.init_upstream
                                                        : ngx_http_upstream_init_round_robin;
    us->peer.init_upstream = ngx_http_purser_init_upstream;
    return NGX_CONF_OK;
}

ngx_uint_t
ngx_http_purser_upstream_has_call(const ngx_http_purser_ctx_t *ctx)
{
    const ngx_http_upstream_t *u = ctx->request->upstream;

    /* Without settings of its own the attempt never came to an upstream: r's is the last one's. */
    return ctx->conf != NULL &&
        ((ctx->padded ? u->request_sent : u->request_body_sent) ||
            ctx->progress.vendor_status != 0);
}

void
ngx_http_purser_upstream_began(ngx_http_purser_ctx_t *ctx)
{
    if (ctx->conf != NULL && ctx->idle_ms > 0 && !ctx->client_left)
        ctx->conf->read_timeout = ctx->idle_ms;
}

static void
ngx_http_purser_swallow(ngx_chain_t *in)
{
    for (; in != NULL; in = in->next)
        in->buf->pos = in->buf->last;
}

/*
 * What the call has cost so far, as it would be booked now; 0 while the vendor has not told its
 * input: a bound says nothing about how much of it is used up.
 */
static int64_t
ngx_http_purser_cost_so_far(const ngx_http_purser_ctx_t *ctx)
{
    struct recorder_progress p = ctx->progress;

    if ((ctx->meter.flags & USAGE_INPUT_SEEN) == 0)
        return 0;
    p.end = RECORDER_CLIENT_LEFT;
    p.counts = ctx->meter.counts;
    p.text_bytes = ctx->meter.text_bytes;
    p.flags = ctx->meter.flags;
    return recorder_cost(&recorder_slot_at(&ngx_http_purser_worker.recorder, ctx->slot)->open, &p);
}

/* Pieces of this answer wait for their turn on a connection that other calls go on using. */
static ngx_uint_t
ngx_http_purser_is_queued(ngx_http_request_t *r)
{
#if (NGX_HTTP_V2)
    return r->stream != NULL && r->stream->queued > 0;
#else
    return 0;
#endif
}

ngx_int_t
ngx_http_purser_drain(
    ngx_http_request_t *r, ngx_http_purser_ctx_t *ctx, ngx_chain_t *in, ngx_int_t rc)
{
    ngx_connection_t *c = r->connection;
    int64_t left;

    if (rc != NGX_ERROR || !ctx->recording || ctx->drain_ms == 0 || !c->error || ctx->conf == NULL)
        return rc;
    ngx_http_purser_client_left(r, ctx);
    left = ctx->drain_until_ms - ngx_http_purser_now_ms();
    if (left <= 0 ||
        (ctx->drain_nano_usd > 0 && ngx_http_purser_cost_so_far(ctx) > ctx->drain_nano_usd))
        return NGX_ERROR;
    /* A vendor that falls silent ends the reading, too. */
    ctx->conf->read_timeout = ngx_min(ctx->conf->read_timeout, (ngx_msec_t)left);
    /* The client was told how long they are: emptied now, they would put it out of step. */
    if (ngx_http_purser_is_queued(r))
        return NGX_OK;
    ngx_http_purser_swallow(in);
    ngx_http_purser_swallow(r->upstream->busy_bufs);
    c->buffered = 0;
    c->write->ready = 1;
    return NGX_OK;
}
