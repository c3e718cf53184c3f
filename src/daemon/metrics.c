#include "daemon/metrics.h"

#include "base/cleanup.h"
#include "daemon/listen.h"

#include <errno.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT_MAX = 8 << 20, CONNECTIONS_MAX = 16, TIMEOUT_S = 10 };

static const double bucket_s[METRICS_BUCKETS] = {
    0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600};

struct histogram {
    uint64_t buckets[METRICS_BUCKETS + 1]; /* not cumulated; the last: above all */
    double sum_s;
};

/* What is counted of one provider and model. */
struct series {
    char provider[LEDGER_PROVIDER_MAX + 1];
    char model[LEDGER_MODEL_MAX + 1];
    uint64_t calls[LEDGER_STATE_COUNT][LEDGER_CERTAINTY_COUNT];
    int64_t cost[LEDGER_CERTAINTY_COUNT];
    struct usage tokens;
    struct histogram first_byte, total;
};

struct metrics {
    pthread_mutex_t lock;
    struct series series[METRICS_SERIES_MAX];
    size_t n;
    struct MHD_Daemon *daemon;
    metrics_gauges_fn *gauges;
    void *gauges_ctx;
};

struct metrics *
metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof(*m));

    ENSURE(m != NULL);
    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void
metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    metrics_unlisten(m);
    free(m);
}

static struct series *
series_for(struct metrics *m, const char *provider, const char *model)
{
    for (size_t i = 0; i < m->n; i++) {
        struct series *s = &m->series[i];

        if (strcmp(s->model, model) == 0 && strcmp(s->provider, provider) == 0)
            return s;
    }
    if (m->n == METRICS_SERIES_MAX - 1 && strcmp(model, "other") != 0)
        return series_for(m, "other", "other");
    memcpy(m->series[m->n].provider, provider, strlen(provider) + 1);
    memcpy(m->series[m->n].model, model, strlen(model) + 1);
    return &m->series[m->n++];
}

static void
observe(struct histogram *h, int64_t from_ms, int64_t to_ms)
{
    double s = (double)(to_ms - from_ms) / 1000;
    int i = 0;

    if (to_ms == 0 || to_ms < from_ms)
        return;
    while (i < METRICS_BUCKETS && s > bucket_s[i])
        i++;
    h->buckets[i]++;
    h->sum_s += s;
}

void
metrics_count(void *ctx, const struct ledger_entry *en)
{
    struct metrics *m = ctx;
    struct series *s;

    pthread_mutex_lock(&m->lock);
    s = series_for(m, en->provider, en->model_asked);
    s->calls[en->state][en->certainty]++;
    s->cost[en->certainty] += en->cost_nano_usd;
    s->tokens.input += en->usage.input;
    s->tokens.output += en->usage.output;
    s->tokens.cache_read += en->usage.cache_read;
    s->tokens.cache_write_5m += en->usage.cache_write_5m;
    s->tokens.cache_write_1h += en->usage.cache_write_1h;
    s->tokens.reasoning += en->usage.reasoning;
    s->tokens.web_searches += en->usage.web_searches;
    observe(&s->first_byte, en->opened_ms, en->first_byte_ms);
    observe(&s->total, en->opened_ms, en->closed_ms);
    pthread_mutex_unlock(&m->lock);
}

/* --- text ------------------------------------------------------------------------------------ */

void
metrics_head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void
metrics_label(struct buf *out, struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] == '"' || value.p[i] == '\\')
            buf_add_char(out, '\\');
        buf_add_char(out, (unsigned char)value.p[i] < 0x20 ? '?' : value.p[i]);
    }
}

static void
add_labels(struct buf *out, const char *name, const struct series *s)
{
    buf_addf(out, "%s{provider=\"", name);
    metrics_label(out, str_from_cstr(s->provider));
    buf_add(out, STR("\",model=\""));
    metrics_label(out, str_from_cstr(s->model));
    buf_add_char(out, '"');
}

static void
add_calls(const struct series *s, struct buf *out)
{
    for (int state = 0; state < LEDGER_STATE_COUNT; state++) {
        for (int c = 0; c < LEDGER_CERTAINTY_COUNT; c++) {
            if (s->calls[state][c] == 0)
                continue;
            add_labels(out, "purser_calls_total", s);
            buf_addf(out, ",state=\"%.*s\",certainty=\"%.*s\"} %llu\n",
                STR_ARG(ledger_state_name((enum ledger_state)state)),
                STR_ARG(ledger_certainty_name((enum ledger_certainty)c)),
                (unsigned long long)s->calls[state][c]);
        }
    }
}

static void
add_tokens(const struct series *s, struct buf *out)
{
    const struct {
        const char *kind;
        int64_t n;
    } rows[] = {{"input", s->tokens.input}, {"output", s->tokens.output},
        {"cache_read", s->tokens.cache_read}, {"cache_write_5m", s->tokens.cache_write_5m},
        {"cache_write_1h", s->tokens.cache_write_1h}, {"reasoning", s->tokens.reasoning}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        add_labels(out, "purser_tokens_total", s);
        buf_addf(out, ",kind=\"%s\"} %lld\n", rows[i].kind, (long long)rows[i].n);
    }
}

static void
add_searches(const struct series *s, struct buf *out)
{
    add_labels(out, "purser_web_searches_total", s);
    buf_addf(out, "} %lld\n", (long long)s->tokens.web_searches);
}

static void
add_cost(const struct series *s, struct buf *out)
{
    for (int c = 0; c < LEDGER_CERTAINTY_COUNT; c++) {
        add_labels(out, "purser_cost_usd_total", s);
        buf_addf(out, ",certainty=\"%.*s\"} %lld.%09lld\n",
            STR_ARG(ledger_certainty_name((enum ledger_certainty)c)),
            (long long)(s->cost[c] / 1000000000), (long long)(s->cost[c] % 1000000000));
    }
}

static void
add_histogram(const struct series *s, const char *name, const struct histogram *h, struct buf *out)
{
    AUTO_BUF struct buf full;
    uint64_t sum = 0;

    buf_init(&full, 128);
    buf_addf(&full, "%s_bucket", name);
    for (int i = 0; i <= METRICS_BUCKETS; i++) {
        sum += h->buckets[i];
        add_labels(out, buf_cstr(&full), s);
        if (i < METRICS_BUCKETS)
            buf_addf(out, ",le=\"%g\"} %llu\n", bucket_s[i], (unsigned long long)sum);
        else
            buf_addf(out, ",le=\"+Inf\"} %llu\n", (unsigned long long)sum);
    }
    buf_clear(&full);
    buf_addf(&full, "%s_sum", name);
    add_labels(out, buf_cstr(&full), s);
    buf_addf(out, "} %.3f\n", h->sum_s);
    buf_clear(&full);
    buf_addf(&full, "%s_count", name);
    add_labels(out, buf_cstr(&full), s);
    buf_addf(out, "} %llu\n", (unsigned long long)sum);
}

void
metrics_render(struct metrics *m, struct buf *out)
{
    pthread_mutex_lock(&m->lock);
    metrics_head(out, "purser_calls_total", "counter", "Attempts booked since the start.");
    for (size_t i = 0; i < m->n; i++)
        add_calls(&m->series[i], out);
    metrics_head(out, "purser_tokens_total", "counter", "Tokens booked since the start.");
    for (size_t i = 0; i < m->n; i++)
        add_tokens(&m->series[i], out);
    metrics_head(out, "purser_web_searches_total", "counter",
        "Searches that vendors made by themselves, booked since the start.");
    for (size_t i = 0; i < m->n; i++)
        add_searches(&m->series[i], out);
    metrics_head(out, "purser_cost_usd_total", "counter", "Cost booked since the start.");
    for (size_t i = 0; i < m->n; i++)
        add_cost(&m->series[i], out);
    metrics_head(out, "purser_call_first_byte_seconds", "histogram",
        "From the opening of an attempt to the vendor's first byte.");
    for (size_t i = 0; i < m->n; i++)
        add_histogram(
            &m->series[i], "purser_call_first_byte_seconds", &m->series[i].first_byte, out);
    metrics_head(
        out, "purser_call_seconds", "histogram", "From the opening of an attempt to its end.");
    for (size_t i = 0; i < m->n; i++)
        add_histogram(&m->series[i], "purser_call_seconds", &m->series[i].total, out);
    pthread_mutex_unlock(&m->lock);
}

/* --- the listener ---------------------------------------------------------------------------- */

static enum MHD_Result
answer(struct MHD_Connection *connection, unsigned status, const char *type, struct str text)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(text.n, (void *)(uintptr_t)text.p, MHD_RESPMEM_MUST_COPY);
    enum MHD_Result sent;

    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type);
    sent = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return sent;
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
    const char *version, const char *upload_data, size_t *upload_data_size, void **con_cls)
{
    struct metrics *m = cls;
    AUTO_BUF struct buf text;

    buf_init(&text, TEXT_MAX);
    if (strcmp(method, "GET") != 0)
        return answer(connection, 405, "text/plain", STR("GET only\n"));
    if (strcmp(url, "/metrics") != 0)
        return answer(connection, 404, "text/plain", STR("the metrics are at /metrics\n"));
    metrics_render(m, &text);
    m->gauges(m->gauges_ctx, &text);
    if (!buf_ok(&text))
        return answer(connection, 500, "text/plain", STR("too much to tell\n"));
    return answer(connection, 200, "text/plain; version=0.0.4", buf_str(&text));
}

static enum err
bind_to(struct str address, int *ret, struct error *e)
{
    struct listen_address at;
    AUTO_CLOSE int fd = -1;
    int yes = 1;

    if (listen_parse(address, &at, e) != ERR_OK)
        return wrap(e, "metrics_listen");
    fd = socket(at.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (fd < 0 || bind(fd, (struct sockaddr *)&at.address, at.address_bytes) != 0 ||
        listen(fd, CONNECTIONS_MAX) != 0)
        return fail_errno(e, errno == EADDRINUSE ? ERR_PORT_IN_USE : ERR_IO,
            "metrics cannot listen on %.*s", STR_ARG(address));
    *ret = TAKE_FD(fd);
    return ERR_OK;
}

enum err
metrics_listen(
    struct metrics *m, struct str address, metrics_gauges_fn *gauges, void *ctx, struct error *e)
{
    AUTO_CLOSE int fd = -1;

    m->gauges = gauges;
    m->gauges_ctx = ctx;
    if (address.n == 0)
        return ERR_OK;
    if (bind_to(address, &fd, e) != ERR_OK)
        return e->code;
    m->daemon =
        MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, on_request,
            m, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    if (m->daemon == NULL)
        return fail(e, ERR_INTERNAL, "the metrics' listener did not start");
    (void)TAKE_FD(fd); /* libmicrohttpd closes it */
    return ERR_OK;
}

void
metrics_unlisten(struct metrics *m)
{
    if (m != NULL && m->daemon != NULL)
        MHD_stop_daemon(TAKE(m->daemon));
}
