#include "sim/conn.h"

#include "sim/reply.h"

#include <errno.h>
#include <sys/socket.h>

struct sim_conn *
sim_conn_new(int fd, struct sim_shared *shared)
{
    struct sim_conn *c = calloc(1, sizeof(*c));

    ENSURE(c != NULL);
    c->fd = fd;
    c->shared = shared;
    buf_init(&c->in, (size_t)SIM_BODY_MAX + (1 << 20));
    buf_init(&c->out, 64 * 1024 * 1024);
    return c;
}

void
sim_conn_free(struct sim_conn *c)
{
    sim_reply_end(c, SIM_ABORTED);
    close(c->fd);
    buf_done(&c->in);
    buf_done(&c->out);
    free(c->marks);
    free(c);
}

/* ---- requests ---- */

/* 1: a request was started, 0: more bytes are needed, -1: not HTTP that we speak. */
static int
take_request(struct sim_conn *c, char *p, size_t n)
{
    struct sim_head h;
    enum sim_head_result r = sim_head_parse((struct str){p, n}, &h);

    if (r == SIM_HEAD_OK)
        r = sim_body_take(&c->body, &h, p, n);
    if (r == SIM_HEAD_BAD)
        return -1;
    if (r == SIM_HEAD_MORE) {
        if (c->body.at > 0 && h.expect_continue && !c->continued) {
            c->continued = true;
            if (send(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL) != 25)
                return -1;
            c->sent_before += 25;
        }
        return 0;
    }
    sim_reply_start(c, &h, (struct str){p + c->body.from, c->body.bytes});
    return 1;
}

/* Keeps what is left of the n bytes at p behind `used` for later. */
static void
keep_rest(struct sim_conn *c, const char *p, size_t n, size_t used)
{
    if (n == used && c->in.n == 0)
        return;
    if (c->in.n > 0) {
        memmove(c->in.p, c->in.p + used, n - used);
        c->in.n = n - used;
    } else {
        buf_add(&c->in, (struct str){p + used, n - used});
    }
    if (c->in.n == 0 && c->in.capacity > 0)
        buf_done(&c->in);
}

/* Starts requests that are there whole; false when the connection is done for. */
static bool
take_requests(struct sim_conn *c, char *p, size_t n)
{
    size_t used = 0;
    int r = 1;

    while (r == 1 && used < n && !c->busy && !c->dead) {
        r = take_request(c, p + used, n - used);
        if (r == 1) {
            used += c->body.at;
            c->body = (struct sim_body){0};
            c->continued = false;
        }
    }
    keep_rest(c, p, n, used);
    return r >= 0;
}

/* Reads once. 1: went on, 0: nothing there, -1: over. */
static int
read_once(struct sim_conn *c)
{
    bool fresh = c->in.n == 0;
    char *to = fresh ? c->shared->scratch : buf_reserve(&c->in, SIM_SCRATCH_BYTES);
    ssize_t n = to == NULL ? 0 : recv(c->fd, to, SIM_SCRATCH_BYTES, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        c->readable = false;
        return 0;
    }
    if (n <= 0)
        return -1;
    if (n < SIM_SCRATCH_BYTES)
        c->readable = false;
    if (!fresh)
        buf_grown(&c->in, (size_t)n);
    return (fresh ? take_requests(c, to, (size_t)n) : take_requests(c, c->in.p, c->in.n)) ? 1 : -1;
}

static void
go_on(struct sim_conn *c)
{
    while (!c->busy && !c->dead) {
        if (c->in.n > 0 && !take_requests(c, c->in.p, c->in.n))
            c->dead = true;
        if (c->busy || c->dead || !c->readable)
            return;
        c->dead |= read_once(c) < 0;
    }
}

void
sim_conn_readable(struct sim_conn *c)
{
    c->readable = true;
    go_on(c);
}

void
sim_conn_writable(struct sim_conn *c)
{
    if (c->busy && c->out.n > 0) {
        sim_reply_run(c);
        go_on(c);
    }
}

void
sim_conn_due(struct sim_conn *c)
{
    c->woken_ms = c->due_ms;
    c->due_ms = 0;
    sim_reply_run(c);
    go_on(c);
}

void
sim_conn_hangup(struct sim_conn *c)
{
    sim_reply_abort(c);
}
