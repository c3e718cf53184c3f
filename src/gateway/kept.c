/*
 * Connections to vendors carry one call after another. Nothing that comes on one may become a part
 * of the answer to the next call, which is another customer's.
 */

#include "gateway/ngx_http_purser.h"

/*
 * Where nginx decides whether the connection may carry another call. It looks for leftovers in the
 * socket; those that TLS has taken out of there it would not see.
 */
static void
ngx_http_purser_finalize_upstream(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_upstream_t *u = r->upstream;
    ngx_connection_t *vendor = u->peer.connection;

    if (vendor != NULL && vendor->ssl != NULL && SSL_has_pending(vendor->ssl->connection))
        u->keepalive = 0;
}

static void
ngx_http_purser_close_kept(ngx_connection_t *c)
{
    if (c->ssl != NULL) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
        (void)ngx_ssl_shutdown(c);
    }
    ngx_destroy_pool(c->pool);
    ngx_close_connection(c);
}

/*
 * nginx closes a kept connection on which anything comes, its end or a word that nobody asked for,
 * but not before it gets to it: a call that is served first would take the connection.
 */
static ngx_int_t
ngx_http_purser_get_peer(ngx_peer_connection_t *pc, void *data)
{
    ngx_http_upstream_t *u = ngx_queue_data(pc, ngx_http_upstream_t, peer);
    ngx_http_purser_ctx_t *ctx = ngx_http_purser_get_ctx(u->input_filter_ctx); /* proxy's request */
    ngx_int_t rc = ctx->get_peer(pc, data);
    char byte;

    if (rc != NGX_DONE || pc->connection == NULL ||
        (recv(pc->connection->fd, &byte, 1, MSG_PEEK) == -1 && ngx_socket_errno == NGX_EAGAIN))
        return rc;
    ngx_http_purser_close_kept(pc->connection);
    pc->connection = NULL;
    pc->cached = 0;
    return NGX_OK; /* the address is known: nginx connects anew */
}

void
ngx_http_purser_kept_watch(ngx_http_upstream_t *u, ngx_http_purser_ctx_t *ctx)
{
    u->finalize_request = ngx_http_purser_finalize_upstream; /* proxy's own does nothing */
    ctx->get_peer = u->peer.get;
    u->peer.get = ngx_http_purser_get_peer;
}

/*
 * nginx keeps a connection when the answer on it was read to its end. Waiting for that end would
 * keep the client waiting: what is there by now must be all of it, and fit into the buffer.
 */
void
ngx_http_purser_kept_give_back(ngx_http_upstream_t *u)
{
    ngx_connection_t *c = u->peer.connection;
    ngx_buf_t *b = &u->buffer;
    ssize_t n = b->last - b->pos;

    if (c == NULL || u->input_filter_init(u->input_filter_ctx) != NGX_OK)
        return;
    b->last = b->pos;
    for (;;) {
        if (n > 0 && u->input_filter(u->input_filter_ctx, n) != NGX_OK)
            return;
        if (u->length == 0 || !c->read->ready || b->last == b->end)
            return;
        n = c->recv(c, b->last, (size_t)(b->end - b->last));
        if (n <= 0)
            return;
    }
}
