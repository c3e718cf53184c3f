/* Who we are among the machines on one store. */
#include "store/impl.h"
#include "store/query.h"

#include <errno.h>
#include <fcntl.h>
#include <time.h>

#include "base/cleanup.h"

/* The oldest node row, zero when there is none. */
static enum err
oldest_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct query q = query_start(tx, "SELECT id FROM nodes ORDER BY created_ms, id LIMIT 1");
    struct id node = query_row(&q) ? query_get_id(&q) : (struct id){{0}};

    if (query_end(&q, e) != ERR_OK)
        return e->code;
    *(struct id *)ctx = node;
    return ERR_OK;
}

enum err
node_seen(struct store_tx *tx, struct id node, struct error *e)
{
    struct query q = query_start(tx,
        "INSERT INTO nodes (id, created_ms, last_seen_ms) VALUES ($1, $2, $2)"
        " ON CONFLICT (id) DO UPDATE SET last_seen_ms = excluded.last_seen_ms");

    query_id(&q, node);
    query_int(&q, clock_ms());
    return query_run(&q, e);
}

struct claim {
    bool adopt; /* the oldest row is ours, if there is one */
    struct id node;
};

static enum err
claim_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct claim *c = ctx;
    struct id there = {{0}};

    if (c->adopt && oldest_tx(tx, &there, e) != ERR_OK)
        return e->code;
    if (!id_is_zero(there))
        c->node = there;
    return node_seen(tx, c->node, e);
}

/* *ret stays zero when there is no such file yet. */
static enum err
read_file(const char *path, struct id *ret, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[ID_TEXT_BYTES + 1] = "";
    ssize_t n;

    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "reading this node's id from %s", path);
    text[strcspn(text, "\n")] = '\0';
    if (!id_parse(str_from_cstr(text), ret))
        return fail(e, ERR_STATE_UNUSABLE,
            "%s does not hold a node's id: put it back from a backup, or remove it to be a new "
            "node",
            path);
    return ERR_OK;
}

/* Whole or not at all, and on the disk. */
static enum err
write_file(const char *path, struct id node, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    AUTO_CLOSE int fd = -1;
    char text[ID_TEXT_BYTES + 1];
    const char *fresh;

    id_text(node, text);
    text[ID_TEXT_BYTES - 1] = '\n';
    fresh = arena_printf(&arena, "%s.new", path).p;
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, text, ID_TEXT_BYTES) != ID_TEXT_BYTES || fsync(fd) != 0 ||
        rename(fresh, path) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "keeping this node's id in %s", path);
    return ERR_OK;
}

/* For a command, which leaves no trace in a store that has a node. */
static enum err
claim_without_file(struct store *s, struct error *e)
{
    struct claim c = {.adopt = true, .node = id_new()};
    struct id there = {{0}};
    enum err err = store_read(s, oldest_tx, &there, e);

    if (err == ERR_OK && id_is_zero(there)) {
        err = store_tx_durable(s, claim_tx, &c, e);
        there = c.node;
    }
    if (err == ERR_OK)
        s->node = there;
    return err;
}

/*
 * A new id is on the disk before its row says so. One that is adopted may be lost on the way: then
 * it is adopted again.
 */
enum err
node_claim(struct store *s, struct str node_file, struct error *e)
{
    AUTO_ARENA struct arena arena = {0};
    const char *path = arena_cstr(&arena, node_file);
    struct claim c = {.adopt = false};
    bool known;
    enum err err;

    if (node_file.n == 0)
        return claim_without_file(s, e);
    err = read_file(path, &c.node, e);
    if (err != ERR_OK)
        return err;
    known = !id_is_zero(c.node);
    c.adopt = !known && s->driver->listen_sql == NULL;
    if (!known)
        c.node = id_new();
    if (!known && !c.adopt)
        err = write_file(path, c.node, e);
    if (err == ERR_OK)
        err = store_tx_durable(s, claim_tx, &c, e);
    if (err == ERR_OK && c.adopt)
        err = write_file(path, c.node, e);
    if (err == ERR_OK)
        s->node = c.node;
    return err;
}

static enum err
hold_once(struct store *s, bool *ret, struct error *e)
{
    struct db_value number = {.type = DB_INT}, out = {0};
    struct db_stmt *stmt;
    enum db_result result = db_prepare(s->keeper, s->driver->claim_sql, &stmt);

    memcpy(&number.i, s->node.b + sizeof(s->node.b) - sizeof(number.i), sizeof(number.i));
    if (result == DB_OK)
        result = db_bind(s->keeper, stmt, 1, &number);
    if (result == DB_OK)
        result = db_step(s->keeper, stmt);
    if (result == DB_ROW)
        result = db_column(s->keeper, stmt, 0, &out);
    if (result != DB_OK)
        return db_fail(s->keeper, result, e);
    *ret = out.i == 1;
    db_reset(s->keeper, stmt);
    return ERR_OK;
}

enum err
node_hold(struct store *s, struct error *e)
{
    enum { TRIES_MAX = 30 };
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    char text[ID_TEXT_BYTES];
    bool held = s->driver->claim_sql == NULL || s->keeper == NULL;

    /* The connection of one that has just died may not have ended yet. */
    for (int i = 0; i < TRIES_MAX && !held; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        if (hold_once(s, &held, e) != ERR_OK)
            return e->code;
    }
    id_text(s->node, text);
    return held
        ? ERR_OK
        : fail(e, ERR_STATE_LOCKED,
              "another purser serves this store as the same node, %s: its state directory is "
              "a copy of this one, or this one of it. Stop the other one, or remove the file "
              "node-id here to be a node of your own",
              text);
}
