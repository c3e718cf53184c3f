#include "daemon/checkpoints.h"

#include "base/cleanup.h"
#include "base/log.h"
#include "daemon/key_file.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

struct checkpoints {
    struct store *store;
    int64_t every_ms;
    uint8_t public_key[crypto_sign_PUBLICKEYBYTES];
    uint8_t *secret_key; /* locked memory */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t stop;
    bool stopping, failing;
};

struct round {
    struct checkpoints *c;
    struct arena arena;
    size_t n;
};

static void
sign(const struct checkpoints *c, struct checkpoint_row *row)
{
    uint8_t message[CHECKPOINT_MESSAGE_MAX];
    size_t n;

    row->created_ms = clock_ms();
    memcpy(row->public_key, c->public_key, sizeof(row->public_key));
    n = checkpoint_message(row, message);
    crypto_sign_detached(row->signature, NULL, message, n, c->secret_key);
}

void
checkpoints_sign_anchor(const struct checkpoints *c, struct anchor_row *anchor)
{
    uint8_t message[ANCHOR_MESSAGE_MAX];
    size_t n;

    checkpoints_public_key(c, anchor->public_key);
    n = anchor_message(anchor, message);
    crypto_sign_detached(anchor->signature, NULL, message, n, c->secret_key);
}

void
checkpoints_public_key(const struct checkpoints *c, uint8_t ret[static CHECKPOINT_KEY_BYTES])
{
    memcpy(ret, c->public_key, CHECKPOINT_KEY_BYTES);
}

static enum err
sign_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct round *r = ctx;
    struct checkpoint_row *due = NULL;
    size_t n = 0;
    int64_t next = 0;
    enum err err = checkpoint_row_due(tx, &r->arena, &due, &n, e);

    if (err == ERR_OK && n > 0)
        err = checkpoint_row_next(tx, &next, e);
    for (size_t i = 0; err == ERR_OK && i < n; i++) {
        due[i].number = next + (int64_t)i;
        sign(r->c, &due[i]);
        err = checkpoint_row_append(tx, &due[i], e);
    }
    r->n = n;
    return err;
}

enum err
checkpoints_sign(struct checkpoints *c, size_t *ret_n, struct error *e)
{
    struct round r = {.c = c};
    enum err err = store_tx_durable(c->store, sign_tx, &r, e);

    arena_done(&r.arena);
    if (err == ERR_OK)
        *ret_n = r.n;
    return err;
}

static void
sign_and_tell(struct checkpoints *c)
{
    struct error e;
    size_t n;
    enum err err = checkpoints_sign(c, &n, &e);

    if (err != ERR_OK && !c->failing)
        log_warn("audit", "no checkpoint can be signed now: %s", e.text);
    c->failing = err != ERR_OK;
}

static bool
rest(struct checkpoints *c)
{
    const struct timespec until = clock_deadline(c->every_ms);
    bool stopping;

    pthread_mutex_lock(&c->lock);
    while (!c->stopping && clock_wait(&c->stop, &c->lock, &until) == 0)
        continue;
    stopping = c->stopping;
    pthread_mutex_unlock(&c->lock);
    return !stopping;
}

static void *
checkpoints_main(void *arg)
{
    struct checkpoints *c = arg;

    while (rest(c))
        sign_and_tell(c);
    return NULL;
}

enum err
checkpoints_open(struct store *s, const char *key_path, int64_t every_ms, struct checkpoints **ret,
    struct error *e)
{
    uint8_t seed[KEY_FILE_BYTES];
    struct checkpoints *c;

    _Static_assert(crypto_sign_SEEDBYTES == KEY_FILE_BYTES, "one size of keys");
    if (key_file_open(key_path, seed, e) != ERR_OK)
        return e->code;
    c = calloc(1, sizeof(*c));
    ENSURE(c != NULL);
    c->secret_key = sodium_malloc(crypto_sign_SECRETKEYBYTES);
    ENSURE(c->secret_key != NULL);
    crypto_sign_seed_keypair(c->public_key, c->secret_key, seed);
    sodium_memzero(seed, sizeof(seed));
    c->store = s;
    c->every_ms = every_ms;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->stop, NULL);
    ENSURE(pthread_create(&c->thread, NULL, checkpoints_main, c) == 0);
    *ret = c;
    return ERR_OK;
}

void
checkpoints_close(struct checkpoints *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->stopping = true;
    pthread_cond_broadcast(&c->stop);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    sign_and_tell(c);
    sodium_free(c->secret_key);
    free(c);
}
