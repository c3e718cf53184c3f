#include "api/idempotency.h"

#include "api/routes.h"
#include "store/idempotency_row.h"

#include <sodium.h>

enum { KEY_MAX_BYTES = 200, KEPT_MS = 24 * 3600 * 1000 };

/* A key whose first request still runs: its repetition must not run beside it. */
struct inflight {
    struct inflight *next;
    struct id org;
    struct str key;
};

struct keyed {
    struct call *c;
    struct idempotency_row row;
    bool found;
};

static bool
inflight_enter(struct api *a, struct inflight *mine)
{
    bool free_to_go = true;

    pthread_mutex_lock(&a->inflight_lock);
    for (struct inflight *i = a->inflight; i != NULL; i = i->next) {
        if (id_equal(i->org, mine->org) && str_equal(i->key, mine->key))
            free_to_go = false;
    }
    if (free_to_go) {
        mine->next = a->inflight;
        a->inflight = mine;
    }
    pthread_mutex_unlock(&a->inflight_lock);
    return free_to_go;
}

static void
inflight_leave(struct api *a, struct inflight *mine)
{
    struct inflight **at = &a->inflight;

    pthread_mutex_lock(&a->inflight_lock);
    while (*at != mine)
        at = &(*at)->next;
    *at = mine->next;
    pthread_mutex_unlock(&a->inflight_lock);
}

/* Keyed, since the body may hold a short secret that a bare digest would give away to a guesser. */
static void
request_digest(const struct call *c, uint8_t ret[static 32])
{
    const struct http_request *r = c->http;
    crypto_hash_sha256_state state;
    uint8_t digest[crypto_hash_sha256_BYTES];
    uint8_t method = (uint8_t)r->method;

    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, &method, 1);
    crypto_hash_sha256_update(&state, (const uint8_t *)r->path.p, r->path.n);
    crypto_hash_sha256_update(&state, (const uint8_t *)"?", 1);
    crypto_hash_sha256_update(&state, (const uint8_t *)r->query.p, r->query.n);
    crypto_hash_sha256_update(&state, (const uint8_t *)"", 1);
    crypto_hash_sha256_update(&state, (const uint8_t *)r->body.p, r->body.n);
    crypto_hash_sha256_final(&state, digest);
    vault_fingerprint(c->api->o.vault, (struct str){(const char *)digest, sizeof(digest)}, ret);
    sodium_memzero(&state, sizeof(state));
    sodium_memzero(digest, sizeof(digest));
}

static enum err
find_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct keyed *k = ctx;
    struct idempotency_row row;
    enum err code = idempotency_row_get(tx, k->c->org, k->row.key, &k->c->http->arena, &row, e);

    k->found = code == ERR_OK;
    if (code == ERR_NOT_FOUND)
        return ERR_OK;
    if (code == ERR_OK && memcmp(row.request, k->row.request, sizeof(row.request)) != 0) {
        return fail(
            e, ERR_CONFLICT, "this Idempotency-Key was used for another request; use a new one");
    }
    if (code == ERR_OK)
        k->row = row;
    return code;
}

static enum err
insert_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct keyed *k = ctx;
    enum err code = idempotency_row_prune(tx, k->row.created_ms - KEPT_MS, e);

    return code != ERR_OK ? code : idempotency_row_insert(tx, &k->row, e);
}

static enum err
replay(struct call *c, const struct idempotency_row *row, struct error *e)
{
    json_t *answer = NULL;

    if (row->body.n > 0) {
        answer = json_loadb(row->body.p, row->body.n, JSON_DECODE_ANY, NULL);
        if (answer == NULL)
            return fail(e, ERR_INTERNAL, "a remembered answer is not JSON");
    }
    http_header_set(c->http, "Idempotent-Replay", STR("true"));
    return call_answer(c, (int)row->status, answer);
}

/* Failures on our side are not remembered: the repetition is what the key is for. */
static void
remember(struct call *c, struct keyed *k)
{
    char *dumped;
    struct error e;

    if (c->http->status >= 500)
        return;
    k->row.status = c->http->status;
    if (c->answer_is_secret) {
        k->row.status = 409;
        k->row.body = STR("{\"error\":\"this was done already; the credential it made was shown "
                          "once and cannot be shown again\",\"code\":\"CONFLICT\"}");
    } else if (c->http->answer != NULL) {
        dumped = json_dumps(c->http->answer, JSON_COMPACT);
        k->row.body = arena_dup(&c->http->arena, str_from_cstr(dumped));
        json_wiping_free(dumped);
    }
    k->row.created_ms = clock_ms();
    if (store_tx(c->api->o.store, insert_tx, k, &e) != ERR_OK)
        log_warn("api", "the answer to an Idempotency-Key was not kept: %s", e.text);
}

static enum err
run_keyed(struct call *c, struct keyed *k, struct error *e)
{
    enum err code = store_read(c->api->o.store, find_tx, k, e);

    if (code != ERR_OK)
        return code;
    if (k->found)
        return replay(c, &k->row, e);
    code = c->route->handler(c, e);
    if (code != ERR_OK)
        call_fail(c, e);
    remember(c, k);
    return ERR_OK;
}

enum err
idempotency_run(struct call *c, struct error *e)
{
    struct keyed k = {.c = c};
    struct inflight mine = {.org = c->org};
    enum err code;

    k.row.key = str_trim(http_header_get(c->http, "Idempotency-Key"));
    if (c->http->method == HTTP_GET || k.row.key.n == 0)
        return c->route->handler(c, e);
    if (k.row.key.n > KEY_MAX_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "Idempotency-Key has at most %d bytes", KEY_MAX_BYTES);
    k.row.org = c->org;
    mine.key = k.row.key;
    request_digest(c, k.row.request);
    if (!inflight_enter(c->api, &mine))
        return fail(e, ERR_CONFLICT, "the first request with this Idempotency-Key still runs");
    code = run_keyed(c, &k, e);
    inflight_leave(c->api, &mine);
    return code;
}
