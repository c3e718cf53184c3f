#include "api/stream.h"

#include "store/event_row.h"

enum {
    STREAMS_MAX = 200,
    STREAMS_OF_ORG_MAX = 64,
    /* When half of all are taken, nobody gets more than that: a few orgs leave room for the others. */
    STREAMS_OF_ORG_FEW = 4,
    BATCH = 100,
    OUT_MAX_BYTES = 16 << 20,
    LOOK_MS = 2000,       /* at the store, for what other nodes wrote */
    LIFE_MS = 600 * 1000, /* then its client comes back: a worker that nginx replaced can end */
    COMMENT_MS = 15000, /* so that a dead connection is noticed; the credential is looked at, too */
};

struct stream {
    struct stream *next;
    struct streams *all;
    struct call *call;
    struct id org;
    struct id workspace; /* zero: all of the org's */
    int64_t after;
    pthread_cond_t woken;
    bool news;
    struct buf out; /* what is to be sent; sent of it is out */
    size_t sent;
    int64_t comment_ms; /* monotonic: when the next one is due */
    int64_t end_ms;
};

struct streams {
    pthread_mutex_t lock;
    struct stream *first;
    bool closing;
};

struct streams *
streams_new(void)
{
    struct streams *s = calloc(1, sizeof(*s));

    ENSURE(s != NULL);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static void
wake_all(struct streams *s, struct id org, bool closing)
{
    pthread_mutex_lock(&s->lock);
    s->closing |= closing;
    for (struct stream *x = s->first; x != NULL; x = x->next) {
        if (id_is_zero(org) || id_equal(x->org, org)) {
            x->news = true;
            pthread_cond_signal(&x->woken);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

void
streams_close(struct streams *s)
{
    if (s != NULL)
        wake_all(s, (struct id){0}, true);
}

void
streams_wake(void *streams, struct id org)
{
    wake_all(streams, org, false);
}

void
streams_free(struct streams *s)
{
    if (s == NULL)
        return;
    ENSURE(s->first == NULL);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* false: too many already, or we are ending. */
static bool
enter(struct stream *x)
{
    struct streams *s = x->all;
    size_t n = 0, of_org = 0;
    bool good;

    pthread_mutex_lock(&s->lock);
    for (struct stream *i = s->first; i != NULL; i = i->next) {
        n++;
        of_org += id_equal(i->org, x->org);
    }
    good = !s->closing && n < STREAMS_MAX &&
        of_org < (n < STREAMS_MAX / 2 ? STREAMS_OF_ORG_MAX : STREAMS_OF_ORG_FEW);
    if (good) {
        x->next = s->first;
        s->first = x;
    }
    pthread_mutex_unlock(&s->lock);
    return good;
}

/* The request is over, however it ended. */
static void
leave(void *ctx)
{
    struct stream *x = ctx;
    struct stream **at = &x->all->first;

    pthread_mutex_lock(&x->all->lock);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    pthread_mutex_unlock(&x->all->lock);
    pthread_cond_destroy(&x->woken);
    buf_done(&x->out);
}

json_t *
event_json(const struct event_row *ev)
{
    json_t *details = json_loadb(ev->json.p, ev->json.n, 0, NULL);

    return json_pack("{s:I, s:o, s:o, s:I, s:o}", "id", (json_int_t)ev->seq, "type",
        json_str(ev->type), "workspace_id", json_id(ev->workspace), "at",
        (json_int_t)ev->created_ms, "details", details == NULL ? json_object() : details);
}

struct batch {
    struct stream *stream;
    struct arena arena;
    struct event_row *rows;
    size_t n;
};

static enum err
batch_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct batch *b = ctx;
    struct stream *x = b->stream;

    return event_row_list(tx, x->org, x->workspace, x->after, BATCH, &b->arena, &b->rows, &b->n, e);
}

static void
batch_done(struct batch *b)
{
    arena_done(&b->arena);
}

/* Appends what is new to out. False when the stream has to end: the store fails. */
static bool
fill(struct stream *x)
{
    AUTO(batch_done) struct batch b = {.stream = x};
    struct error e;

    if (store_read(x->call->api->o.store, batch_tx, &b, &e) != ERR_OK) {
        log_warn("api", "an event stream ends: %s", e.text);
        return false;
    }
    for (size_t i = 0; i < b.n; i++) {
        AUTO_JSON json_t *j = event_json(&b.rows[i]);
        char *text = json_dumps(j, JSON_COMPACT);

        buf_addf(&x->out, "id: %lld\nevent: %.*s\ndata: %s\n\n", (long long)b.rows[i].seq,
            STR_ARG(b.rows[i].type), text);
        json_wiping_free(text);
        x->after = b.rows[i].seq;
    }
    return buf_ok(&x->out);
}

static bool
still_may(struct stream *x)
{
    struct principal now;
    struct error e;
    enum err code = auth_principal(
        x->call->api->o.store, http_header_get(x->call->http, "Authorization"), &now, &e);

    return code == ERR_OK && now.who == x->call->principal.who;
}

/* Until there may be something new; false when all streams end. */
static bool
wait_for_news(struct stream *x)
{
    int64_t until_ms = clock_monotonic_ms() + LOOK_MS;
    struct timespec until = {until_ms / 1000, until_ms % 1000 * 1000000};
    bool closing;

    pthread_mutex_lock(&x->all->lock);
    while (!x->news && !x->all->closing &&
        pthread_cond_timedwait(&x->woken, &x->all->lock, &until) == 0)
        ;
    x->news = false;
    closing = x->all->closing;
    pthread_mutex_unlock(&x->all->lock);
    return !closing;
}

/* http_stream_fn: waits until there is something to send. */
static ssize_t
next(void *ctx, char *room, size_t n)
{
    struct stream *x = ctx;
    size_t left;

    while (x->sent == x->out.n) {
        buf_clear(&x->out);
        x->sent = 0;
        if (!fill(x))
            return HTTP_STREAM_END;
        if (x->out.n == 0 && clock_monotonic_ms() >= x->comment_ms)
            buf_add(&x->out, STR(":\n\n"));
        /* It must not outlive the credential that opened it. */
        if (x->out.n > 0 && !still_may(x))
            return HTTP_STREAM_END;
        if (x->out.n == 0 && (clock_monotonic_ms() > x->end_ms || !wait_for_news(x)))
            return HTTP_STREAM_END;
    }
    x->comment_ms = clock_monotonic_ms() + COMMENT_MS;
    left = x->out.n - x->sent;
    n = n < left ? n : left;
    memcpy(room, x->out.p + x->sent, n);
    x->sent += n;
    return (ssize_t)n;
}

/*
 * A follower comes back after so long that events it has not seen were removed for their age: it is
 * told, as an event that nobody else sees, in the number before the oldest one there is.
 */
static void
tell_gap(struct stream *x, int64_t first)
{
    if (x->after == 0 || first <= x->after + 1)
        return;
    buf_addf(&x->out,
        "id: %lld\nevent: EVENTS_REMOVED\ndata: {\"id\":%lld,\"type\":\"EVENTS_REMOVED\","
        "\"workspace_id\":null,\"at\":%lld,\"details\":{\"removed\":%lld}}\n\n",
        (long long)first - 1, (long long)first - 1, (long long)clock_ms(),
        (long long)(first - 1 - x->after));
    x->after = first - 1;
}

enum err
stream_open(struct call *c, struct id workspace, int64_t after, int64_t first, struct error *e)
{
    struct stream *x = arena_alloc(&c->http->arena, sizeof(*x));
    pthread_condattr_t attributes;

    *x = (struct stream){.all = c->api->streams,
        .call = c,
        .org = c->org,
        .workspace = workspace,
        .after = after,
        .end_ms = clock_monotonic_ms() + LIFE_MS};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&x->woken, &attributes);
    pthread_condattr_destroy(&attributes);
    if (!enter(x)) {
        pthread_cond_destroy(&x->woken);
        return fail(
            e, ERR_TOO_MANY_STREAMS, "too many event streams are open: close some, or try again");
    }
    buf_init(&x->out, OUT_MAX_BYTES);
    buf_add(&x->out, STR("retry: 1000\n:\n\n"));
    tell_gap(x, first);
    http_stream(c->http, "text/event-stream", next, leave, x);
    return ERR_OK;
}
