/* The loop of the fake vendor: one epoll, edge-triggered, and a heap of those who wait for their
 * time. */
#include "sim/conn.h"

#include "base/ids.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { EVENTS_MAX = 256 };

struct sim {
    int listener, epoll, stop;
    char url[64];
    struct sim_shared shared;
    struct sim_conn **conns, **heap;
    size_t conns_n, conns_room, heap_n;
    pthread_t thread;
};

/* ---- the heap: earliest first; heap_at is the place plus one, 0 for "not in it" ---- */

static void
heap_put(struct sim *s, size_t at, struct sim_conn *c)
{
    s->heap[at] = c;
    c->heap_at = at + 1;
}

static void
heap_up(struct sim *s, size_t at)
{
    struct sim_conn *c = s->heap[at];

    while (at > 0 && s->heap[(at - 1) / 2]->due_ms > c->due_ms) {
        heap_put(s, at, s->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(s, at, c);
}

static void
heap_down(struct sim *s, size_t at)
{
    struct sim_conn *c = s->heap[at];

    for (;;) {
        size_t child = 2 * at + 1;

        if (child + 1 < s->heap_n && s->heap[child + 1]->due_ms < s->heap[child]->due_ms)
            child++;
        if (child >= s->heap_n || s->heap[child]->due_ms >= c->due_ms)
            break;
        heap_put(s, at, s->heap[child]);
        at = child;
    }
    heap_put(s, at, c);
}

static void
heap_remove(struct sim *s, struct sim_conn *c)
{
    size_t at = c->heap_at - 1;
    struct sim_conn *last;

    if (c->heap_at == 0)
        return;
    c->heap_at = 0;
    last = s->heap[--s->heap_n];
    if (last == c)
        return;
    heap_put(s, at, last);
    heap_up(s, at);
    heap_down(s, last->heap_at - 1);
}

/* ---- connections ---- */

static void
conn_drop(struct sim *s, struct sim_conn *c)
{
    heap_remove(s, c);
    s->conns[c->index] = s->conns[--s->conns_n];
    s->conns[c->index]->index = c->index;
    sim_conn_free(c);
}

static void
conn_add(struct sim *s, int fd)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET};
    struct sim_conn *c = sim_conn_new(fd, &s->shared);
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (s->conns_n == s->conns_room) {
        s->conns_room = s->conns_room == 0 ? 256 : s->conns_room * 2;
        s->conns = reallocarray(s->conns, s->conns_room, sizeof(struct sim_conn *));
        s->heap = reallocarray(s->heap, s->conns_room, sizeof(struct sim_conn *));
        ENSURE(s->conns != NULL && s->heap != NULL);
    }
    c->index = s->conns_n;
    s->conns[s->conns_n++] = c;
    ev.data.ptr = c;
    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
        conn_drop(s, c);
}

/* After something happened to c: its place among the waiting follows its due time. */
static void
conn_settle(struct sim *s, struct sim_conn *c)
{
    heap_remove(s, c);
    if (c->dead || c->due_ms == 0)
        return;
    s->heap_n++;
    heap_put(s, s->heap_n - 1, c);
    heap_up(s, s->heap_n - 1);
}

static void
accept_all(struct sim *s)
{
    /* Bounded, so that running streams are not kept waiting; the listener is level-triggered. */
    for (int i = 0; i < 64; i++) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        conn_add(s, fd);
    }
}

static void
share_list(struct sim *s)
{
    s->shared.all = s->conns;
    s->shared.all_n = s->conns_n;
}

static void
handle(struct sim *s, struct sim_conn *c, uint32_t events)
{
    if (events & EPOLLIN)
        sim_conn_readable(c);
    if (!c->dead && (events & EPOLLOUT))
        sim_conn_writable(c);
    if (!c->dead && (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        sim_conn_hangup(c);
    conn_settle(s, c);
}

static void
handle_due(struct sim *s)
{
    int64_t now = clock_monotonic_ms();

    while (s->heap_n > 0 && s->heap[0]->due_ms <= now) {
        struct sim_conn *c = s->heap[0];

        heap_remove(s, c);
        sim_conn_due(c);
        conn_settle(s, c);
        if (c->dead)
            conn_drop(s, c);
        share_list(s);
    }
}

static int
time_to_wait(const struct sim *s)
{
    int64_t left;

    if (s->heap_n == 0)
        return -1;
    left = s->heap[0]->due_ms - clock_monotonic_ms();
    return left < 0 ? 0 : left > 60000 ? 60000 : (int)left;
}

static void *
serve(void *arg)
{
    struct sim *s = arg;
    struct epoll_event events[EVENTS_MAX];

    for (;;) {
        int n = epoll_wait(s->epoll, events, EVENTS_MAX, time_to_wait(s));

        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr == &s->stop)
                return NULL;
            share_list(s);
            if (events[i].data.ptr == &s->listener)
                accept_all(s);
            else
                handle(s, events[i].data.ptr, events[i].events);
        }
        /* Only now: a later event of the same batch may speak of a connection that died earlier. */
        for (int i = 0; i < n; i++) {
            struct sim_conn *c = events[i].data.ptr;

            if ((void *)c != &s->listener && c->dead)
                conn_drop(s, c);
        }
        share_list(s);
        handle_due(s);
    }
}

/* ---- start and stop ---- */

static enum err
bind_to(struct sim *s, const char *listen_on, struct error *e)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t n = sizeof(a);
    const char *colon = strrchr(listen_on, ':');
    char host[32], shown[INET_ADDRSTRLEN];
    int on = 1, port = colon == NULL ? -1 : (int)sim_number(str_from_cstr(colon + 1));

    if (port < 0 || port > 65535 || colon - listen_on >= (ptrdiff_t)sizeof(host))
        return fail(e, ERR_USAGE, "listen address \"%s\" is not ADDRESS:PORT", listen_on);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - listen_on), listen_on);
    a.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
        return fail(
            e, ERR_USAGE, "listen address \"%s\" is not an IPv4 address and a port", listen_on);
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0)
        return fail_errno(e, ERR_IO, "opening a socket");
    setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(s->listener, (struct sockaddr *)&a, sizeof(a)) != 0)
        return fail_errno(
            e, errno == EADDRINUSE ? ERR_PORT_IN_USE : ERR_IO, "listening on %s", listen_on);
    if (listen(s->listener, 4096) != 0 || getsockname(s->listener, (struct sockaddr *)&a, &n) != 0)
        return fail_errno(e, ERR_IO, "listening on %s", listen_on);
    inet_ntop(AF_INET, &a.sin_addr, shown, sizeof(shown));
    snprintf(s->url, sizeof(s->url), "http://%s:%d", shown, ntohs(a.sin_port));
    return ERR_OK;
}

static enum err
watch(struct sim *s, int *fd, struct error *e)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, *fd, &ev) != 0)
        return fail_errno(e, ERR_IO, "watching a socket");
    return ERR_OK;
}

static void
sim_free(struct sim *s)
{
    while (s->conns_n > 0)
        conn_drop(s, s->conns[0]);
    cleanup_close(&s->listener);
    cleanup_close(&s->epoll);
    cleanup_close(&s->stop);
    sim_truth_free(s->shared.truth);
    free(s->shared.scratch);
    free(s->conns);
    free(s->heap);
    free(s);
}

static enum err
set_up(struct sim *s, const struct sim_options *o, struct error *e)
{
    enum err r = bind_to(s, o->listen == NULL ? "127.0.0.1:0" : o->listen, e);

    if (r != ERR_OK)
        return r;
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    s->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->epoll < 0 || s->stop < 0)
        return fail_errno(e, ERR_IO, "setting up epoll");
    r = watch(s, &s->listener, e);
    if (r == ERR_OK)
        r = watch(s, &s->stop, e);
    if (r != ERR_OK)
        return r;
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        return fail(e, ERR_IO, "cannot start a thread");
    return ERR_OK;
}

enum err
sim_start(const struct sim_options *o, struct sim **ret, struct error *e)
{
    struct sim *s = calloc(1, sizeof(*s));
    enum err r;

    ENSURE(s != NULL);
    s->listener = s->epoll = s->stop = -1;
    s->shared.truth = sim_truth_new(o);
    s->shared.scratch = malloc(SIM_SCRATCH_BYTES);
    ENSURE(s->shared.scratch != NULL);
    r = set_up(s, o, e);
    if (r != ERR_OK) {
        sim_free(s);
        return r;
    }
    *ret = s;
    return ERR_OK;
}

void
sim_stop(struct sim *s)
{
    uint64_t one = 1;

    if (s == NULL)
        return;
    ENSURE(write(s->stop, &one, sizeof(one)) == sizeof(one));
    pthread_join(s->thread, NULL);
    sim_free(s);
}

const char *
sim_url(const struct sim *s)
{
    return s->url;
}
