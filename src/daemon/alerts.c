#include "daemon/alerts.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/key_file.h"

#include <curl/curl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUEUE_MAX = 256, TRIES = 4, FIRST_PAUSE_MS = 500, TIMEOUT_S = 5 };

struct alerts {
    struct arena texts;
    const char *url;
    uint8_t key[KEY_FILE_BYTES];
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool stopping;
    struct budgets_alert queue[QUEUE_MAX];
    size_t first, n;
    uint64_t dropped; /* for want of room, not told yet */
};

void
alerts_push(void *ctx, const struct budgets_alert *alert)
{
    struct alerts *a = ctx;

    if (a->url == NULL)
        return;
    pthread_mutex_lock(&a->lock);
    if (a->n < QUEUE_MAX)
        a->queue[(a->first + a->n++) % QUEUE_MAX] = *alert;
    else
        a->dropped++;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

static size_t
ignore_body(char *data, size_t size, size_t n, void *ctx)
{
    return size * n;
}

static struct str
render(struct arena *arena, const struct budgets_alert *x)
{
    const struct budget_row *b = &x->budget;
    char org[ID_TEXT_BYTES], workspace[ID_TEXT_BYTES] = "";

    id_text(b->org, org);
    if (!id_is_zero(b->workspace))
        id_text(b->workspace, workspace);
    return arena_printf(arena,
        "{\"type\":\"budget.alert\",\"org_id\":\"%s\",\"workspace_id\":%s%s%s,\"period\":\"%.*s\","
        "\"mode\":\"%s\",\"percent\":%d,\"limit_nano_usd\":%lld,\"spent_nano_usd\":%lld,"
        "\"resets_ms\":%lld,\"at_ms\":%lld}",
        org, workspace[0] == '\0' ? "null" : "\"", workspace, workspace[0] == '\0' ? "" : "\"",
        STR_ARG(budget_period_name(b->period)), b->hard ? "hard" : "warn", x->percent,
        (long long)b->limit_nano_usd, (long long)x->settled_nano, (long long)x->resets_ms,
        (long long)x->at_ms);
}

/* "X-Purser-Signature: sha256=..." over "TIMESTAMP.BODY". */
static struct curl_slist *
headers_of(const struct alerts *a, struct arena *arena, struct str body)
{
    long long now = (long long)(clock_ms() / 1000);
    struct str text = arena_printf(arena, "%lld.%.*s", now, STR_ARG(body));
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    char hex[sizeof(mac) * 2 + 1];
    struct curl_slist *list;

    crypto_auth_hmacsha256(mac, (const uint8_t *)text.p, text.n, a->key);
    sodium_bin2hex(hex, sizeof(hex), mac, sizeof(mac));
    list = curl_slist_append(NULL, "Content-Type: application/json");
    list = curl_slist_append(list, arena_printf(arena, "X-Purser-Timestamp: %lld", now).p);
    return curl_slist_append(list, arena_printf(arena, "X-Purser-Signature: sha256=%s", hex).p);
}

_Static_assert(crypto_auth_hmacsha256_KEYBYTES == KEY_FILE_BYTES, "one size of keys");

static bool
post_once(const struct alerts *a, struct arena *arena, struct str body)
{
    struct curl_slist *headers = headers_of(a, arena, body);
    CURL *curl = curl_easy_init();
    long status = 0;

    ENSURE(curl != NULL);
    curl_easy_setopt(curl, CURLOPT_URL, a->url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.p);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)body.n);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, ignore_body);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)TIMEOUT_S);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    if (curl_easy_perform(curl) == CURLE_OK)
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_cleanup(curl);
    curl_slist_free_all(headers);
    return status >= 200 && status < 300;
}

/* False: we are to stop. */
static bool
pause_for(struct alerts *a, int64_t ms)
{
    const struct timespec until = clock_deadline(ms);
    bool stopping;

    pthread_mutex_lock(&a->lock);
    while (!a->stopping && clock_wait(&a->changed, &a->lock, &until) == 0)
        continue;
    stopping = a->stopping;
    pthread_mutex_unlock(&a->lock);
    return !stopping;
}

static void
deliver(struct alerts *a, const struct budgets_alert *x)
{
    AUTO_ARENA struct arena arena = {0};
    struct str body = render(&arena, x);
    bool sent = false, go_on = true;

    for (int i = 0; i < TRIES && !sent && go_on; i++) {
        if (i > 0)
            go_on = pause_for(a, (int64_t)FIRST_PAUSE_MS << (2 * (i - 1)));
        if (go_on)
            sent = post_once(a, &arena, body);
    }
    if (!sent)
        log_warn("alert", "the webhook did not take it (it stays among the events): %.*s",
            STR_ARG(body));
}

static void *
alerts_main(void *arg)
{
    struct alerts *a = arg;

    pthread_mutex_lock(&a->lock);
    while (!a->stopping) {
        struct budgets_alert x;
        uint64_t dropped;

        if (a->n == 0) {
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        x = a->queue[a->first];
        a->first = (a->first + 1) % QUEUE_MAX;
        a->n--;
        dropped = a->dropped;
        a->dropped = 0;
        pthread_mutex_unlock(&a->lock);
        if (dropped > 0)
            log_warn("alert",
                "the webhook is too slow: %llu alerts were not sent (they stay among the events)",
                (unsigned long long)dropped);
        deliver(a, &x);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

enum err
alerts_open(struct str url, const char *key_path, struct alerts **ret, struct error *e)
{
    struct alerts *a = calloc(1, sizeof(*a));

    ENSURE(a != NULL);
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (url.n > 0) {
        if (key_file_open(key_path, a->key, e) != ERR_OK) {
            free(a);
            return e->code;
        }
        a->url = arena_cstr(&a->texts, url);
        ENSURE(pthread_create(&a->thread, NULL, alerts_main, a) == 0);
    }
    *ret = a;
    return ERR_OK;
}

void
alerts_close(struct alerts *a)
{
    if (a == NULL)
        return;
    if (a->url != NULL) {
        pthread_mutex_lock(&a->lock);
        a->stopping = true;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    sodium_memzero(a->key, sizeof(a->key));
    arena_done(&a->texts);
    free(a);
}
