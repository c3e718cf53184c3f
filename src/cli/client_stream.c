#include "api/json.h"
#include "base/buf.h"
#include "cli/client_impl.h"

enum { SILENCE_MS = 60 * 1000 };

struct stream {
    struct client *client;
    client_take_fn *take;
    void *ctx;
    struct buf refusal; /* the body of an answer that is no stream */
    bool enough;
    int64_t heard_ms;
};

static size_t
take_stream(char *p, size_t size, size_t n, void *ctx)
{
    struct stream *s = ctx;
    struct str piece = {p, size * n};
    long status = 0;

    s->heard_ms = clock_monotonic_ms();
    curl_easy_getinfo(s->client->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        buf_add(&s->refusal, piece);
        return buf_ok(&s->refusal) ? piece.n : 0;
    }
    s->enough = !s->take(s->ctx, piece);
    return s->enough ? 0 : piece.n;
}

/* The server says something every few seconds: silence is a dead connection. */
static int
watch_silence(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up)
{
    const struct stream *s = ctx;

    return clock_monotonic_ms() - s->heard_ms > SILENCE_MS;
}

static enum err
stream_once(struct client *c, const char *path, struct stream *s, struct error *e)
{
    struct curl_slist *headers = client_headers(c);
    char detail[CURL_ERROR_SIZE] = "";
    AUTO_JSON json_t *refusal = NULL;
    CURLcode code;
    long status = 0;

    headers = curl_slist_append(headers, "Accept: text/event-stream");
    client_set_up(c, path, headers, detail);
    s->heard_ms = clock_monotonic_ms();
    curl_easy_setopt(c->curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFOFUNCTION, watch_silence);
    curl_easy_setopt(c->curl, CURLOPT_XFERINFODATA, s);
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take_stream);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, s);
    code = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
    client_headers_free(headers);
    if (s->enough)
        return ERR_OK;
    if (code != CURLE_OK)
        return client_no_answer(c, code, detail, e);
    if (status == 200)
        return ERR_OK;
    refusal = json_loadb(s->refusal.p, s->refusal.n, 0, NULL);
    return client_refusal(status, refusal, e);
}

enum err
client_stream(struct client *c, const char *path, client_take_fn *take, void *ctx, struct error *e)
{
    struct stream s = {.client = c, .take = take, .ctx = ctx};
    enum err err;

    buf_init(&s.refusal, CLIENT_ANSWER_MAX);
    err = stream_once(c, path, &s, e);
    if (err == ERR_ORG_REQUIRED && c->org == NULL) {
        buf_clear(&s.refusal);
        err = client_choose_only_org(c, e);
        if (err == ERR_OK)
            err = stream_once(c, path, &s, e);
    }
    buf_done(&s.refusal);
    return err;
}
