#include "sim/reply.h"

#include "base/ids.h"
#include "sim/answer.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

/* linux/tcp.h has the long struct, but does not go together with netinet/tcp.h. */
enum { TCP_INFO_BYTES_ACKED_OFFSET = 120, BURST_BYTES = 64 * 1024, STEP_WHOLE = 0 };

/* ---- the end of a call ---- */

static int64_t
bytes_acked(const struct sim_conn *c)
{
    char info[512];
    socklen_t n = sizeof(info);
    uint64_t acked;

    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, info, &n) != 0 ||
        n < TCP_INFO_BYTES_ACKED_OFFSET + sizeof(acked))
        return -1;
    memcpy(&acked, info + TCP_INFO_BYTES_ACKED_OFFSET, sizeof(acked));
    return acked < c->sent_before ? 0 : (int64_t)(acked - c->sent_before);
}

void
sim_reply_end(struct sim_conn *c, enum sim_outcome outcome)
{
    if (!c->busy)
        return;
    if (outcome == SIM_ABORTED || outcome == SIM_DIED)
        c->call.bytes_acked = bytes_acked(c);
    c->sent_before += c->call.bytes_sent;
    if (c->call.id != 0)
        sim_truth_end(c->shared->truth, &c->call, outcome);
    sim_ask_done(&c->ask);
    c->busy = false;
    c->due_ms = 0;
    c->marks_n = c->marks_at = 0;
    if (c->out.capacity > BURST_BYTES)
        buf_done(&c->out);
    buf_clear(&c->out);
    c->out_at = 0;
}

void
sim_reply_abort(struct sim_conn *c)
{
    sim_reply_end(c, SIM_ABORTED);
    c->dead = true;
}

/* ---- writing ---- */

/* The last byte of a step is with the kernel: from now on it counts. */
static void
deliver(struct sim_conn *c, int64_t step)
{
    struct sim_call *call = &c->call;
    const struct sim_tokens *t = &c->ask.b.tokens;

    if (c->whole) {
        bool counts = call->status == 200 && c->ask.kind >= SIM_MESSAGES;

        call->head_delivered = true;
        if (counts)
            call->generated_output = t->output;
        if (counts && !c->ask.b.no_usage) {
            call->usage = *t;
            call->usage_delivered = true;
        }
        return;
    }
    if (step == 0) {
        call->head_delivered = true;
        if (sim_answer_head_has_usage(&c->ask)) {
            call->usage = *t;
            call->usage.output = t->output > 0;
        }
    } else if (step <= c->ask.b.events) {
        call->events = step;
        call->generated_output = sim_answer_generated(&c->ask, step);
    } else if (sim_answer_tail_has_usage(&c->ask)) {
        call->usage = *t;
        call->usage_delivered = true;
    }
}

/* True when everything is out. */
static bool
flush(struct sim_conn *c)
{
    while (c->out_at < c->out.n) {
        ssize_t n = send(c->fd, c->out.p + c->out_at, c->out.n - c->out_at, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR)
                sim_reply_abort(c);
            return false;
        }
        c->out_at += (size_t)n;
        c->call.bytes_sent += (uint64_t)n;
        while (c->marks_at < c->marks_n && c->marks[c->marks_at].end <= c->out_at)
            deliver(c, c->marks[c->marks_at++].step);
    }
    buf_clear(&c->out);
    c->out_at = 0;
    c->marks_n = c->marks_at = 0;
    return true;
}

static void
mark(struct sim_conn *c, int64_t step)
{
    if (c->marks_n == c->marks_room) {
        c->marks_room = c->marks_room == 0 ? 8 : c->marks_room * 2;
        c->marks = reallocarray(c->marks, c->marks_room, sizeof(*c->marks));
        ENSURE(c->marks != NULL);
    }
    c->marks[c->marks_n++] = (struct sim_mark){c->out.n, step};
}

/* What vendors add to every answer; a gateway hides most of it. */
static void
add_head(struct sim_conn *c, int status, const char *type)
{
    buf_addf(&c->out, "HTTP/1.1 %d %s\r\ncontent-type: %s\r\n", status,
        status == 200 ? "OK" : "Error", type);
    if (c->ask.openai)
        buf_addf(&c->out,
            "x-request-id: req_sim%012" PRIx64 "\r\nopenai-organization: sim-account\r\n"
            "x-ratelimit-remaining-requests: 999\r\n",
            c->call.id);
    else
        buf_addf(&c->out,
            "request-id: req_sim%012" PRIx64 "\r\nanthropic-organization-id: sim-account\r\n"
            "anthropic-ratelimit-requests-remaining: 999\r\n",
            c->call.id);
    if (c->ask.b.retry_after >= 0)
        buf_addf(&c->out, "retry-after: %" PRId64 "\r\n", c->ask.b.retry_after);
    if (!c->keep)
        buf_add(&c->out, STR("connection: close\r\n"));
    c->call.status = status;
}

/* A whole answer. cut: only half of the body will come. */
static void
answer_whole(struct sim_conn *c, int status, struct str body, bool cut)
{
    add_head(c, status, "application/json");
    buf_addf(&c->out, "content-length: %zu\r\n\r\n", body.n);
    buf_add(&c->out, cut ? str_slice(body, 0, body.n / 2) : body);
    c->whole = true;
    c->step = -1;
    if (!cut)
        mark(c, STEP_WHOLE);
}

static void
answer_error(struct sim_conn *c, int status, const char *message)
{
    AUTO_BUF struct buf body;

    buf_init(&body, 4096);
    sim_answer_error(&body, c->ask.openai, status, message);
    c->outcome = SIM_REFUSED;
    answer_whole(c, status, buf_str(&body), false);
}

/* Appends what render said as one HTTP chunk. */
static void
add_step(struct sim_conn *c, int64_t step)
{
    const struct sim_ask *a = &c->ask;
    AUTO_BUF struct buf data;

    buf_init(&data, 8 * 1024 * 1024);
    if (step == 0) {
        add_head(c, 200, "text/event-stream; charset=utf-8");
        buf_addf(&c->out, "cache-control: no-cache\r\n%s\r\n",
            c->chunked ? "transfer-encoding: chunked\r\n" : "");
        sim_answer_head(&data, a, c->call.id);
    } else if (step <= a->b.events) {
        sim_answer_delta(&data, a, c->call.id, step - 1);
    } else {
        sim_answer_tail(&data, a, c->call.id);
    }
    if (c->chunked)
        buf_addf(&c->out, "%zx\r\n", data.n);
    buf_add(&c->out, buf_str(&data));
    if (c->chunked)
        buf_add(&c->out, step > a->b.events ? STR("\r\n0\r\n\r\n") : STR("\r\n"));
    mark(c, step);
}

/* Half of what the next delta would have been, then nothing more. */
static void
add_cut(struct sim_conn *c)
{
    AUTO_BUF struct buf data;

    buf_init(&data, 4 * 1024 * 1024);
    sim_answer_delta(&data, &c->ask, c->call.id, c->step - 1);
    if (c->chunked)
        buf_addf(&c->out, "%zx\r\n", data.n);
    buf_add(&c->out, str_slice(buf_str(&data), 0, data.n / 2));
    c->outcome = SIM_DIED;
    c->step = -1;
}

static void
add_broken(struct sim_conn *c)
{
    AUTO_BUF struct buf data;

    buf_init(&data, 4096);
    sim_answer_broken(&data, &c->ask);
    if (c->chunked)
        buf_addf(&c->out, "%zx\r\n", data.n);
    buf_add(&c->out, buf_str(&data));
    if (c->chunked)
        buf_add(&c->out, STR("\r\n0\r\n\r\n"));
    c->outcome = SIM_REFUSED;
    c->step = -1;
}

/* ---- step by step ---- */

/* Everything is out and nothing more will come. */
static void
finish(struct sim_conn *c)
{
    bool keep = c->keep && c->outcome != SIM_DIED;

    sim_reply_end(c, c->outcome);
    c->dead = !keep;
}

static int64_t
delay_before(const struct sim_conn *c)
{
    return c->step == 0              ? c->ask.b.first_delay_ms
        : c->step <= c->ask.b.events ? c->ask.b.delay_ms
                                     : 0;
}

/* True when the connection now waits for its time. */
static bool
wait_for_step(struct sim_conn *c)
{
    int64_t delay = c->delayed_step == c->step ? 0 : delay_before(c);

    c->delayed_step = c->step;
    if (delay <= 0)
        return false;
    c->due_ms = (c->woken_ms == 0 ? clock_monotonic_ms() : c->woken_ms) + delay;
    return true;
}

static void
render_whole(struct sim_conn *c)
{
    AUTO_BUF struct buf body;

    buf_init(&body, 16 * 1024 * 1024);
    if (c->ask.b.status >= 0) {
        answer_error(c, (int)c->ask.b.status, "The simulated vendor was asked to answer like this");
        return;
    }
    sim_answer_json(&body, &c->ask, c->call.id);
    if (c->ask.b.die_after >= 0)
        c->outcome = SIM_DIED;
    answer_whole(c, 200, buf_str(&body), c->ask.b.die_after >= 0);
}

/* Renders the next step; false when the connection is to stay silent from here on. */
static bool
render(struct sim_conn *c)
{
    const struct sim_behaviour *b = &c->ask.b;
    int64_t delivered = c->step - 1;

    if (b->die_before) {
        c->outcome = SIM_DIED;
        c->step = -1;
    } else if (c->whole && b->stall_after >= 0) {
        return false;
    } else if (c->whole) {
        render_whole(c);
    } else if (c->step > 0 && delivered == b->die_after) {
        c->outcome = SIM_DIED;
        c->step = -1;
    } else if (c->step > 0 && c->step <= b->events && delivered == b->cut_after) {
        add_cut(c);
    } else if (c->step > 0 && delivered == b->stall_after) {
        return false;
    } else if (c->step > 0 && delivered == b->error_after) {
        add_broken(c);
    } else {
        add_step(c, c->step);
        c->step = c->step > b->events ? -1 : c->step + 1;
    }
    return true;
}

/* Renders and sends as far as time and the socket allow. */
void
sim_reply_run(struct sim_conn *c)
{
    bool silent = false;

    while (c->busy && !c->dead) {
        while (!silent && c->step >= 0 && c->out.n < BURST_BYTES && c->due_ms == 0 &&
            !wait_for_step(c))
            silent = !render(c);
        if (!flush(c) || c->due_ms != 0 || silent)
            return;
        if (c->step < 0)
            finish(c);
    }
}

/* ---- the beginning of a call ---- */

/* What needs no key and is not told in stats. Returns whether it was such a request. */
static bool
answer_own(struct sim_conn *c)
{
    AUTO_BUF struct buf body;
    struct sim_call **open;
    size_t n = 0;

    buf_init(&body, 1024 * 1024 * 1024);
    if (c->ask.kind == SIM_STATS) {
        open = calloc(c->shared->all_n + 1, sizeof(*open));
        ENSURE(open != NULL);
        for (size_t i = 0; i < c->shared->all_n; i++) {
            if (c->shared->all[i]->busy && c->shared->all[i]->call.id != 0)
                open[n++] = &c->shared->all[i]->call;
        }
        sim_truth_stats(c->shared->truth, open, n, &body);
        free(open);
    } else if (c->ask.kind == SIM_RESET) {
        sim_truth_reset(c->shared->truth);
        buf_add(&body, STR("{\"status\":\"reset\"}"));
    } else if (c->ask.kind != SIM_HELLO) {
        return false;
    }
    answer_whole(c, 200, buf_str(&body), false);
    return true;
}

static void
judge(struct sim_conn *c, const struct sim_head *h, int key)
{
    const struct sim_ask *a = &c->ask;

    if (h->upgrade)
        answer_error(c, 426, "WebSockets are not spoken here");
    else if (key < 0)
        answer_error(c, 401, a->openai ? "Incorrect API key provided" : "invalid x-api-key");
    else if (a->kind == SIM_OTHER)
        answer_error(c, 404, "Not found");
    else if (a->kind >= SIM_COUNT_TOKENS && a->bad_json)
        answer_error(c, 400, "The request body is not valid JSON");
    else if (a->kind >= SIM_COUNT_TOKENS && a->model[0] == '\0')
        answer_error(c, 400, "model: Field required");
}

void
sim_reply_start(struct sim_conn *c, const struct sim_head *h, struct str body)
{
    int key;

    sim_ask_init(&c->ask, h, body);
    c->busy = true;
    c->keep = !h->close;
    c->chunked = !h->http_1_0;
    c->outcome = SIM_COMPLETED;
    c->step = 0;
    c->delayed_step = -1;
    c->due_ms = c->woken_ms = 0;
    c->call = (struct sim_call){.key = -1};
    c->whole = !c->ask.stream || c->ask.kind < SIM_MESSAGES || c->ask.kind == SIM_EMBEDDINGS ||
        c->ask.b.status >= 0;
    if (!answer_own(c)) {
        key = sim_truth_key(c->shared->truth, h->key);
        sim_truth_begin(c->shared->truth, &c->call, h, &c->ask, key, h->bytes + body.n);
        judge(c, h, key);
    }
    if (!c->chunked && !c->whole)
        c->keep = false;
    sim_reply_run(c);
}
