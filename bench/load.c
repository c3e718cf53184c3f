/*
 * A load generator: N keep-alive connections that each make one call after the other, or calls at a
 * fixed rate whatever the server does (open loop: a late answer delays nobody's start). One thread,
 * one epoll. Prints one JSON object: calls, errors, rate, latencies.
 *
 * Latency of an open-loop call counts from when it was due, so a stalled server cannot hide.
 */
#include "base/buf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static const char help[] =
    "usage: bench-load [options] URL\n"
    "  --connections N    keep-alive connections (default 32)\n"
    "  --rate N           open loop: N calls a second, over as many connections as needed (at most "
    "--connections)\n"
    "  --seconds S        how long to start calls (default 5)\n"
    "  --requests N       or how many calls\n"
    "  --key KEY          sent as x-api-key\n"
    "  --model NAME       default claude-opus-4-7\n"
    "  --body BYTES       size of the JSON body (default 2048)\n"
    "  --wish TEXT        behaviour asked of the sim, put into the message (\"events=60 "
    "delay_ms=5\")\n"
    "  --stream           server-sent events\n"
    "  --hold             only open the connections and keep them for --seconds\n";

enum { EVENTS_MAX = 512, READ_BYTES = 256 * 1024, SAMPLES_MAX = 4000000 };

struct options {
    const char *url, *key, *model, *wish;
    long connections, rate, requests, body;
    double seconds;
    bool stream, hold;
};

struct conn {
    int fd;
    bool busy, connected;
    size_t sent;
    int64_t due_ns, first_byte_ns;
    /* Of the answer: what is left of the head, of the chunk, of the body. */
    int status;
    bool in_body, chunked, close;
    int64_t left; /* content-length, or of the current chunk; -1: a chunk's size comes next */
    char head[4096];
    size_t head_n;
    bool complete_mark; /* a stream's end was seen, not only the end of the body */
    char tail[16];      /* the last bytes of the body so far */
};

struct load {
    struct options o;
    struct sockaddr_in address;
    struct buf request;
    struct conn *conns;
    int epoll;
    char *scratch;
    long started, done, errors, open;
    int64_t begin_ns, end_ns;
    uint64_t bytes;
    uint32_t *samples_us, *first_us;
    size_t samples_n;
    int statuses[600];
};

static int64_t
now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- set-up ---- */

static bool
parse_url(struct load *l, char *host, size_t host_bytes, const char **path)
{
    const char *p = l->o.url, *slash, *colon;

    if (strncmp(p, "http://", 7) != 0)
        return false;
    p += 7;
    slash = strchr(p, '/');
    *path = slash == NULL ? "/" : slash;
    snprintf(host, host_bytes, "%.*s", slash == NULL ? (int)strlen(p) : (int)(slash - p), p);
    colon = strchr(host, ':');
    l->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(80)};
    if (colon != NULL) {
        char name[64];

        l->address.sin_port = htons((uint16_t)strtol(colon + 1, NULL, 10));
        snprintf(name, sizeof(name), "%.*s", (int)(colon - host), host);
        return inet_pton(AF_INET, name, &l->address.sin_addr) == 1;
    }
    return inet_pton(AF_INET, host, &l->address.sin_addr) == 1;
}

static void
build_request(struct load *l, const char *host, const char *path)
{
    AUTO_BUF struct buf body;

    buf_init(&body, 128 << 20);
    buf_addf(&body,
        "{\"model\":\"%s\",\"max_tokens\":1024,%s\"messages\":[{\"role\":\"user\",\"content\":\"",
        l->o.model, l->o.stream ? "\"stream\":true," : "");
    while ((long)(body.n + strlen(l->o.wish) + 12) < l->o.body)
        buf_add_char(&body, body.n % 8 == 0 ? ' ' : 'x');
    buf_addf(&body, " sim: %s\"}]}", l->o.wish);
    buf_init(&l->request, 129 << 20);
    buf_addf(&l->request,
        "POST %s HTTP/1.1\r\nHost: %s\r\nx-api-key: %s\r\nanthropic-version: 2023-06-01\r\n"
        "content-type: application/json\r\nuser-agent: bench-load\r\naccept: application/json\r\n"
        "content-length: %zu\r\n\r\n",
        path, host, l->o.key, body.n);
    buf_add(&l->request, buf_str(&body));
}

static bool
conn_open(struct load *l, struct conn *c)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    int on = 1;

    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (struct sockaddr *)&l->address, sizeof(l->address)) != 0 &&
        errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        return false;
    }
    return epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) == 0;
}

/* ---- one call ---- */

static void
call_end(struct load *l, struct conn *c, bool good)
{
    int64_t now = now_ns();

    if (!c->busy)
        return;
    c->busy = false;
    l->open--;
    l->done++;
    if (c->status > 0 && c->status < 600)
        l->statuses[c->status]++;
    if (!good || c->status != 200 || (l->o.stream && !c->complete_mark)) {
        l->errors++;
        return;
    }
    if (l->samples_n < SAMPLES_MAX) {
        l->first_us[l->samples_n] = (uint32_t)((c->first_byte_ns - c->due_ns) / 1000);
        l->samples_us[l->samples_n++] = (uint32_t)((now - c->due_ns) / 1000);
    }
}

static void
conn_drop(struct load *l, struct conn *c)
{
    call_end(l, c, false);
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    c->connected = false;
}

static void
conn_write(struct load *l, struct conn *c)
{
    while (c->busy && c->sent < l->request.n) {
        ssize_t n = send(c->fd, l->request.p + c->sent, l->request.n - c->sent, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno != EAGAIN)
                conn_drop(l, c);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void
call_start(struct load *l, struct conn *c, int64_t due_ns)
{
    c->busy = true;
    c->sent = 0;
    c->due_ns = due_ns;
    c->first_byte_ns = 0;
    c->status = 0;
    c->in_body = c->chunked = c->close = c->complete_mark = false;
    memset(c->tail, 0, sizeof(c->tail));
    c->left = 0;
    c->head_n = 0;
    l->started++;
    l->open++;
    if (c->fd < 0 && !conn_open(l, c)) {
        conn_drop(l, c);
        return;
    }
    if (c->connected)
        conn_write(l, c);
}

/* ---- reading an answer ---- */

static bool
head_read(struct conn *c)
{
    char *p;

    c->head[c->head_n] = '\0';
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1)
        return false;
    c->chunked = strcasestr(c->head, "transfer-encoding: chunked") != NULL;
    c->close = strcasestr(c->head, "connection: close") != NULL;
    p = strcasestr(c->head, "content-length:");
    c->left = c->chunked ? -1 : p == NULL ? 0 : strtoll(p + 15, NULL, 10);
    c->in_body = true;
    c->head_n = 0;
    return true;
}

static bool
has_end_mark(const char *p, size_t n)
{
    return memmem(p, n, "message_stop", 12) != NULL || memmem(p, n, "[DONE]", 6) != NULL;
}

/* A whole stream ends with its last event, which may be cut anywhere between two reads. */
static void
note_tail(struct conn *c, const char *p, size_t n)
{
    char seam[2 * sizeof(c->tail)];
    size_t more = n < sizeof(c->tail) ? n : sizeof(c->tail);

    memcpy(seam, c->tail, sizeof(c->tail));
    memcpy(seam + sizeof(c->tail), p, more);
    if (has_end_mark(p, n) || has_end_mark(seam, sizeof(c->tail) + more))
        c->complete_mark = true;
    memcpy(c->tail, seam + more, sizeof(c->tail));
    if (n > sizeof(c->tail))
        memcpy(c->tail, p + n - sizeof(c->tail), sizeof(c->tail));
}

/* One line of the head or of a chunk's frame; true when it is whole. */
static bool
take_line(struct conn *c, const char **p, const char *end)
{
    while (*p < end && c->head_n < sizeof(c->head) - 1) {
        char ch = *(*p)++;

        c->head[c->head_n++] = ch;
        if (ch == '\n')
            return true;
    }
    return false;
}

/* 1: the answer is whole, 0: more to come, -1: nonsense. */
static int
answer_feed(struct conn *c, const char *p, const char *end)
{
    while (p < end) {
        if (!c->in_body) {
            if (!take_line(c, &p, end))
                return c->head_n < sizeof(c->head) - 1 ? 0 : -1;
            if (c->head_n < 4 || memcmp(c->head + c->head_n - 4, "\r\n\r\n", 4) != 0)
                continue;
            if (!head_read(c))
                return -1;
            if (!c->chunked && c->left == 0)
                return 1;
        } else if (c->chunked && c->left < 0) {
            long size;

            if (!take_line(c, &p, end))
                return c->head_n < 64 ? 0 : -1;
            c->head[c->head_n] = '\0';
            if (c->head_n <= 2) { /* the line end behind a chunk */
                c->head_n = 0;
                continue;
            }
            size = strtol(c->head, NULL, 16);
            c->head_n = 0;
            c->left = size == 0 ? -2 : size;
            if (c->left == -2)
                return 1; /* no trailers here; the last line end is read with the next answer */
        } else {
            size_t n = (size_t)(end - p) < (size_t)c->left ? (size_t)(end - p) : (size_t)c->left;

            note_tail(c, p, n);
            p += n;
            c->left -= (int64_t)n;
            if (c->left == 0 && !c->chunked)
                return 1;
            if (c->left == 0)
                c->left = -1;
        }
    }
    return 0;
}

static void
conn_read(struct load *l, struct conn *c)
{
    for (;;) {
        ssize_t n = recv(c->fd, l->scratch, READ_BYTES, 0);
        const char *p = l->scratch;
        int r;

        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            conn_drop(l, c);
            return;
        }
        l->bytes += (uint64_t)n;
        /* The "\r\n" behind a last chunk may come on its own. */
        while (!c->busy && p < l->scratch + n)
            p++;
        if (c->busy && c->first_byte_ns == 0) {
            while (p < l->scratch + n && (*p == '\r' || *p == '\n') && c->head_n == 0)
                p++;
            if (p == l->scratch + n)
                continue;
            c->first_byte_ns = now_ns();
        }
        r = c->busy ? answer_feed(c, p, l->scratch + n) : 0;
        if (r != 0) {
            call_end(l, c, r > 0);
            if (r < 0 || c->close)
                conn_drop(l, c);
            return;
        }
        if (n < READ_BYTES)
            return;
    }
}

/* ---- the loop ---- */

static bool
may_start(const struct load *l, int64_t now)
{
    if (l->o.requests > 0)
        return l->started < l->o.requests;
    return now < l->end_ns;
}

static struct conn *
idle_conn(struct load *l, size_t *at)
{
    for (long i = 0; i < l->o.connections; i++) {
        struct conn *c = &l->conns[*at];

        *at = (*at + 1) % (size_t)l->o.connections;
        if (!c->busy)
            return c;
    }
    return NULL;
}

/* Open loop: starts what is due; returns nanoseconds until the next is. */
static int64_t
start_due(struct load *l, size_t *at)
{
    int64_t gap = 1000000000LL / l->o.rate, now = now_ns();

    for (;;) {
        int64_t due = l->begin_ns + l->started * gap;
        struct conn *c;

        if (l->o.requests > 0 ? l->started >= l->o.requests : due >= l->end_ns)
            return 1000000000LL;
        if (due > now)
            return due - now;
        c = idle_conn(l, at);
        if (c == NULL)
            return 1000000; /* every connection is busy: the wait counts as latency */
        call_start(l, c, due);
    }
}

static void
handle(struct load *l, struct conn *c, uint32_t events)
{
    if (events & EPOLLOUT) {
        c->connected = true;
        conn_write(l, c);
    }
    if (c->fd >= 0 && (events & EPOLLIN))
        conn_read(l, c);
    if (c->fd >= 0 && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
        conn_drop(l, c);
    if (l->o.rate == 0 && !c->busy && !l->o.hold && may_start(l, now_ns()))
        call_start(l, c, now_ns());
}

static void
run(struct load *l)
{
    struct epoll_event events[EVENTS_MAX];
    size_t at = 0;
    bool going = true;

    l->begin_ns = now_ns();
    l->end_ns = l->begin_ns + (int64_t)(l->o.seconds * 1e9);
    for (long i = 0; i < l->o.connections && l->o.rate == 0; i++) {
        if (l->o.hold)
            conn_open(l, &l->conns[i]);
        else if (may_start(l, l->begin_ns))
            call_start(l, &l->conns[i], l->begin_ns);
    }
    while (going) {
        int64_t wait_ns = l->o.rate > 0 ? start_due(l, &at) : 100000000;
        int64_t wait_ms = wait_ns / 1000000;
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, wait_ms > 100 ? 100 : (int)wait_ms);
        int64_t now = now_ns();

        for (int i = 0; i < n; i++)
            handle(l, events[i].data.ptr, events[i].events);
        going = l->open > 0 || (l->o.requests > 0 ? l->started < l->o.requests : now < l->end_ns);
        if (now > l->end_ns + 60000000000LL && l->o.requests == 0)
            going = false; /* what has not ended by now is an error */
    }
    for (long i = 0; i < l->o.connections; i++)
        conn_drop(l, &l->conns[i]);
    l->end_ns = now_ns();
}

static int
compare_u32(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void
print_percentiles(const char *name, uint32_t *v, size_t n)
{
    static const struct {
        const char *name;
        double at;
    } marks[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};

    qsort(v, n, sizeof(*v), compare_u32);
    printf(",\"%s\":{", name);
    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
        size_t at = n == 0 ? 0 : (size_t)(marks[i].at * (double)(n - 1));

        printf("%s\"%s\":%u", i == 0 ? "" : ",", marks[i].name, n == 0 ? 0 : v[at]);
    }
    printf("}");
}

static void
report(struct load *l)
{
    double seconds = (double)(l->end_ns - l->begin_ns) / 1e9;
    bool first = true;

    printf(
        "{\"calls\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"calls_per_second\":%.1f,\"bytes\":%llu",
        l->done, l->errors, seconds, (double)l->done / seconds, (unsigned long long)l->bytes);
    print_percentiles("latency_us", l->samples_us, l->samples_n);
    print_percentiles("first_byte_us", l->first_us, l->samples_n);
    printf(",\"statuses\":{");
    for (int s = 0; s < 600; s++) {
        if (l->statuses[s] > 0) {
            printf("%s\"%d\":%d", first ? "" : ",", s, l->statuses[s]);
            first = false;
        }
    }
    printf("}}\n");
}

static bool
read_options(int argc, char **argv, struct options *o)
{
    static const struct option names[] = {{"connections", 1, NULL, 'c'}, {"rate", 1, NULL, 'r'},
        {"seconds", 1, NULL, 't'}, {"requests", 1, NULL, 'n'}, {"key", 1, NULL, 'k'},
        {"model", 1, NULL, 'm'}, {"body", 1, NULL, 'b'}, {"wish", 1, NULL, 'w'},
        {"stream", 0, NULL, 's'}, {"hold", 0, NULL, 'h'}, {NULL, 0, NULL, 0}};
    int c;

    *o = (struct options){.key = "sim-key",
        .model = "claude-opus-4-7",
        .wish = "output=50",
        .connections = 32,
        .body = 2048,
        .seconds = 5};
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        long number = optarg == NULL ? 0 : strtol(optarg, NULL, 10);

        switch (c) {
        case 'c':
            o->connections = number;
            break;
        case 'r':
            o->rate = number;
            break;
        case 't':
            o->seconds = strtod(optarg, NULL);
            break;
        case 'n':
            o->requests = number;
            break;
        case 'k':
            o->key = optarg;
            break;
        case 'm':
            o->model = optarg;
            break;
        case 'b':
            o->body = number;
            break;
        case 'w':
            o->wish = optarg;
            break;
        case 's':
            o->stream = true;
            break;
        case 'h':
            o->hold = true;
            break;
        default:
            return false;
        }
    }
    o->url = optind + 1 == argc ? argv[optind] : NULL;
    return o->url != NULL && o->connections > 0;
}

int
main(int argc, char **argv)
{
    struct load l = {0};
    struct rlimit files;
    const char *path;
    char host[128];

    if (!read_options(argc, argv, &l.o) || !parse_url(&l, host, sizeof(host), &path)) {
        fputs(help, stderr);
        return 2;
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    build_request(&l, host, path);
    l.conns = calloc((size_t)l.o.connections, sizeof(*l.conns));
    l.scratch = malloc(READ_BYTES);
    l.samples_us = malloc(SAMPLES_MAX * sizeof(uint32_t));
    l.first_us = malloc(SAMPLES_MAX * sizeof(uint32_t));
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    ENSURE(l.conns != NULL && l.scratch != NULL && l.samples_us != NULL && l.first_us != NULL &&
        l.epoll >= 0);
    for (long i = 0; i < l.o.connections; i++)
        l.conns[i].fd = -1;
    run(&l);
    report(&l);
    buf_done(&l.request);
    free(l.conns);
    free(l.scratch);
    free(l.samples_us);
    free(l.first_us);
    return l.errors > 0;
}
