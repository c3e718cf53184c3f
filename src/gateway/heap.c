/*
 * The worker's heap. Bodies of tens of kilobytes come and go with every call: free() keeps their
 * pages for the next ones, since the kernel's page faults cost more than reading what is in them.
 * What a crowd of them leaves, mostly holes between the small blocks of the streams that go on, is
 * given back a little later: free() alone would never return what is not at the heap's end.
 */

#include "gateway/ngx_http_purser.h"

#include <malloc.h>

enum {
    HEAP_MMAP_BYTES = 512 << 10, /* larger blocks are the kernel's at once */
    HEAP_TRIM_BYTES = 64 << 20,  /* above it, free() gives the end of the heap back by itself */
    HEAP_SPARE_BYTES = 3 << 20,  /* more than that free: it is looked after */
    HEAP_KEPT_BYTES = 2 << 20,   /* and that much of its end stays */
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

    (void)mallopt(M_TRIM_THRESHOLD, HEAP_TRIM_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, HEAP_MMAP_BYTES);
    ngx_http_purser_heap_timer = (ngx_event_t){
        .handler = ngx_http_purser_heap_look, .data = &dumb, .log = cycle->log, .cancelable = 1};
    ngx_add_timer(&ngx_http_purser_heap_timer, HEAP_LOOK_MS);
}
