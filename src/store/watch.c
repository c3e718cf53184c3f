#include "store/watch.h"

#include <poll.h>
#include <sodium.h>
#include <sys/eventfd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "store/impl.h"
#include "store/query.h"

enum { SEEN_EVERY_MS = 10000, NOTICE_BYTES = 256 };

struct store_watch {
    struct store *store;
    struct store_watch_options o;
    pthread_t thread;
    int wake_fd;
    bool listening;
    bool missed;     /* the connection was away */
    int64_t changes; /* the sum that was seen last */
    int64_t notices; /* since then, our own included */
    int64_t seen_ms; /* when we last said that we live */
};

/* A notice: "<sender> <change> <key>". */
static const struct str change_names[STORE_CHANGE_COUNT] = {
    [STORE_CHANGE_ANY] = STR_INIT("any"),
    [STORE_CHANGE_TOKEN] = STR_INIT("token"),
    [STORE_CHANGE_PLATFORM_KEYS] = STR_INIT("platform-keys"),
    [STORE_CHANGE_BUDGETS] = STR_INIT("budgets"),
    [STORE_CHANGE_WISH] = STR_INIT("wish"),
    [STORE_CHANGE_EVENT] = STR_INIT("event"),
};

/* number keeps two notices of one transaction apart: the engine sends equal ones once. */
static enum err
send_notice(
    struct store_tx *tx, enum store_change change, struct str key, int64_t number, struct error *e)
{
    char sender[ID_TEXT_BYTES], text[NOTICE_BYTES];
    struct query q;
    int bytes;

    if (tx->store->driver->notify_sql == NULL)
        return ERR_OK;
    id_text(tx->store->instance, sender);
    bytes = snprintf(text, sizeof(text), "%s %.*s %.*s %lld", sender, STR_ARG(change_names[change]),
        STR_ARG(key), (long long)number);
    ENSURE(bytes > 0 && (size_t)bytes < sizeof(text));
    q = query_start(tx, tx->store->driver->notify_sql);
    query_text(&q, str_from_cstr(text));
    return query_run(&q, e);
}

enum err
store_hint(struct store_tx *tx, enum store_change change, struct str key, struct error *e)
{
    return send_notice(tx, change, key, 0, e);
}

enum err
store_notify(struct store_tx *tx, enum store_change change, struct str key, struct error *e)
{
    struct query q =
        query_start(tx, "UPDATE nodes SET changes = changes + 1 WHERE id = $1 RETURNING changes");
    int64_t n;

    query_id(&q, store_tx_node(tx));
    n = query_row(&q) ? query_get_int(&q) : 0;
    if (query_end(&q, e) != ERR_OK)
        return e->code;
    return send_notice(tx, change, key, n, e);
}

enum err
store_notify_token(
    struct store_tx *tx, const uint8_t digest[static TOKEN_DIGEST_BYTES], struct error *e)
{
    char hex[2 * TOKEN_DIGEST_BYTES + 1];

    sodium_bin2hex(hex, sizeof(hex), digest, TOKEN_DIGEST_BYTES);
    return store_notify(tx, STORE_CHANGE_TOKEN, str_from_cstr(hex), e);
}

static struct str
next_word(struct str *rest)
{
    size_t space = str_find_char(*rest, ' ');
    struct str word = str_slice(*rest, 0, space);

    *rest = str_slice(*rest, space < rest->n ? space + 1 : space, rest->n);
    return word;
}

static void
take_notice(struct store_watch *w, struct str text)
{
    struct str sender = next_word(&text), name = next_word(&text), key = next_word(&text);
    enum store_change change = STORE_CHANGE_ANY;
    struct id id;

    /* A word that a later purser made up is ANY to us. */
    for (int i = 0; i < STORE_CHANGE_COUNT; i++) {
        if (str_equal(name, change_names[i]))
            change = (enum store_change)i;
    }
    if (change != STORE_CHANGE_EVENT)
        w->notices++;
    if (id_parse(sender, &id) && id_equal(id, w->store->instance))
        return;
    if (!w->o.fn(w->o.ctx, change, key))
        w->missed = true;
}

static void
forget_keeper(struct store_watch *w)
{
    db_close(TAKE(w->store->keeper));
    w->listening = false;
    w->missed = true;
}

static void
take_notices(struct store_watch *w)
{
    enum db_result result = DB_DONE;
    char text[NOTICE_BYTES];

    while (w->listening &&
        (result = w->store->driver->notice(w->store->keeper, text, sizeof(text))) == DB_ROW)
        take_notice(w, str_from_cstr(text));
    if (result == DB_FAILED)
        forget_keeper(w);
}

/* The store may be away: then the next look tries again. */
static void
listen_again(struct store_watch *w)
{
    const char *sql = w->store->driver->listen_sql;
    struct error e;

    if (w->store->keeper == NULL) {
        if (store_keeper_open(w->store, &w->store->keeper, &e) != ERR_OK)
            return;
        if (node_hold(w->store, &e) != ERR_OK)
            log_error("store", "%s", e.text);
    }
    if (w->listening || sql == NULL || w->o.deaf)
        return;
    if (db_exec(w->store->keeper, sql) == DB_OK)
        w->listening = true;
    else
        forget_keeper(w);
}

static enum err
sum_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query q = query_start(tx, "SELECT CAST(COALESCE(SUM(changes), 0) AS BIGINT) FROM nodes");
    int64_t sum = query_row(&q) ? query_get_int(&q) : 0;

    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *(int64_t *)ctx = sum;
    return ERR_OK;
}

static enum err
seen_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    return node_seen(tx, store_tx_node(tx), e);
}

/* More changes than notices: some were not told, or not to us. */
static void
look(struct store_watch *w)
{
    int64_t now = clock_monotonic_ms(), sum = 0;
    struct error e;

    listen_again(w);
    if (store_read(w->store, sum_tx, &sum, &e) != ERR_OK)
        return;
    take_notices(w);
    if (w->missed || sum - w->changes > w->notices)
        w->missed = !w->o.fn(w->o.ctx, STORE_CHANGE_ANY, STR(""));
    w->changes = sum;
    w->notices = 0;
    if (w->seen_ms == 0 || now - w->seen_ms >= SEEN_EVERY_MS) {
        if (store_tx(w->store, seen_tx, NULL, &e) == ERR_OK)
            w->seen_ms = now;
    }
}

static void *
watch_main(void *arg)
{
    struct store_watch *w = arg;
    int64_t next_ms = clock_monotonic_ms();

    for (;;) {
        int64_t now = clock_monotonic_ms();
        struct pollfd fds[2] = {{.fd = w->wake_fd, .events = POLLIN}, {.fd = -1, .events = POLLIN}};

        if (w->listening)
            fds[1].fd = w->store->driver->notice_fd(w->store->keeper);
        (void)!poll(fds, 2, next_ms > now ? (int)(next_ms - now) : 0);
        if (fds[0].revents != 0)
            return NULL;
        take_notices(w);
        if (clock_monotonic_ms() >= next_ms) {
            look(w);
            next_ms = clock_monotonic_ms() + w->o.poll_ms;
        }
    }
}

void
store_watch_start(struct store *s, const struct store_watch_options *o, struct store_watch **ret)
{
    struct store_watch *w = calloc(1, sizeof(*w));

    ENSURE(w != NULL);
    w->store = s;
    w->o = *o;
    w->missed = true;
    w->wake_fd = eventfd(0, EFD_CLOEXEC);
    ENSURE(w->wake_fd >= 0);
    ENSURE(pthread_create(&w->thread, NULL, watch_main, w) == 0);
    *ret = w;
}

void
store_watch_stop(struct store_watch *w)
{
    if (w == NULL)
        return;
    ENSURE(eventfd_write(w->wake_fd, 1) == 0);
    pthread_join(w->thread, NULL);
    close(w->wake_fd);
    free(w);
}
