/*
 * The worker's heap. Bodies of tens of kilobytes come and go with every call: their pages are kept
 * for the next ones, since the kernel's page faults cost more than reading what is in them. After a
 * crowd has passed, what it left is given back.
 */

#include "gateway/ngx_http_purser.h"

#include <malloc.h>

enum {
    HEAP_KEPT_BYTES = 4 << 20,
    HEAP_MMAP_BYTES = 512 << 10, /* larger blocks are the kernel's at once */
    HEAP_SPARE_BYTES = 6 << 20,
    HEAP_LOOK_MS = 2000,
};

static ngx_event_t ngx_http_purser_heap_timer;

static void
ngx_http_purser_heap_look(ngx_event_t *ev)
{
    if (mallinfo2().fordblks > HEAP_SPARE_BYTES)
        (void)malloc_trim(HEAP_KEPT_BYTES);
    if (!ngx_exiting)
        ngx_add_timer(ev, HEAP_LOOK_MS);
}

void
ngx_http_purser_heap_init(ngx_cycle_t *cycle)
{
    static ngx_connection_t dumb = {
        .fd = (ngx_socket_t)-1}; /* what nginx's log of timers looks at */

    (void)mallopt(M_TRIM_THRESHOLD, HEAP_KEPT_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_MMAP_BYTES);
    ngx_http_purser_heap_timer = (ngx_event_t){
        .handler = ngx_http_purser_heap_look, .data = &dumb, .log = cycle->log, .cancelable = 1};
    ngx_add_timer(&ngx_http_purser_heap_timer, HEAP_LOOK_MS);
}
