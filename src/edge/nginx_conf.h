/* nginx's configuration, written from what edge knows. Pure text: no decision is made here. */
#ifndef EDGE_NGINX_CONF_H
#define EDGE_NGINX_CONF_H

#include "base/buf.h"
#include "edge/edge.h"
#include "edge/routes.h"

/* Appends the whole configuration. */
void nginx_conf_render(const struct edge_options *o, const struct routes *routes, struct buf *out);
/* Writes it beside RUN/nginx.conf and renames it into place; 0600: it names our paths. */
enum err nginx_conf_write(
    const struct edge_options *o, const struct routes *routes, struct error *e) MUST_CHECK;

#endif
