/* The keyring, for the admin: which keys there are, what is sealed under each, and their rotation. */
#include "api/reseal.h"
#include "core/num.h"
#include "store/sealed_row.h"

struct count_op {
    struct arena *arena;
    struct sealed_count *rows;
    size_t n;
};

static enum err
count_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct count_op *op = ctx;

    return sealed_row_count(tx, op->arena, &op->rows, &op->n, e);
}

static int64_t
rows_under(const struct count_op *op, int64_t key)
{
    for (size_t i = 0; i < op->n; i++) {
        if (op->rows[i].key_id == key)
            return op->rows[i].rows;
    }
    return 0;
}

static void
add_key(json_t *list, int64_t id, const char *state, int64_t rows)
{
    json_array_append_new(list,
        json_pack(
            "{s:I, s:s, s:I}", "id", (json_int_t)id, "state", state, "rows", (json_int_t)rows));
}

/* Keys of the keyring, and those that rows ask for and that are not in it. */
static json_t *
keys_json(const int64_t *keys, size_t n, int64_t current, const struct count_op *op)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        add_key(list, keys[i],
            keys[i] == current      ? "current"
                : keys[i] > current ? "next"
                                    : "old",
            rows_under(op, keys[i]));
    for (size_t i = 0; i < op->n; i++) {
        bool there = false;

        for (size_t k = 0; k < n; k++)
            there |= keys[k] == op->rows[i].key_id;
        if (!there)
            add_key(list, op->rows[i].key_id, "missing", op->rows[i].rows);
    }
    return list;
}

static enum err
status_answer(struct call *c, int status, struct error *e)
{
    struct count_op op = {.arena = &c->http->arena};
    int64_t keys[VAULT_KEYS_MAX], current, left = 0;
    struct reseal_status rotation;
    enum err code = store_read(c->api->o.store, count_tx, &op, e);
    size_t n;
    json_t *j;

    if (code != ERR_OK)
        return code;
    reseal_status(c->api->reseal, &rotation);
    n = vault_keys(c->api->o.vault, keys);
    current = vault_current_key(c->api->o.vault);
    for (size_t i = 0; i < op.n; i++)
        left += op.rows[i].key_id == current ? 0 : op.rows[i].rows;
    j = json_pack("{s:I, s:o, s:b, s:{s:b, s:I, s:I, s:I, s:s}}", "current", (json_int_t)current,
        "keys", keys_json(keys, n, current, &op), "memory_locked",
        (int)!secret_memory_is_unlocked(), "rotation", "running", (int)rotation.running,
        "rows_done", (json_int_t)rotation.done, "rows_left", (json_int_t)left, "rows_unreadable",
        (json_int_t)rotation.unreadable, "trouble", rotation.trouble);
    return call_answer(c, status, j);
}

enum err
key_status(struct call *c, struct error *e)
{
    return status_answer(c, 200, e);
}

enum err
key_add(struct call *c, struct error *e)
{
    int64_t id = 0;
    enum err code = vault_key_add(c->api->o.vault, &id, e);

    if (code != ERR_OK)
        return code;
    log_info("keys", "key %lld was added", (long long)id);
    return status_answer(c, 201, e);
}

/* The key is in use, durably, before anything is sealed under it. */
enum err
key_rotate(struct call *c, struct error *e)
{
    int64_t id = 0;
    enum err code = vault_key_next(c->api->o.vault, &id, e);

    if (code != ERR_OK)
        return code;
    log_info("keys", "key %lld is in use, what is stored is sealed anew", (long long)id);
    reseal_begin(c->api->reseal);
    return status_answer(c, 202, e);
}

static enum err
retire_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    return sealed_key_retire(tx, *(const int64_t *)ctx, clock_ms(), e);
}

/*
 * First the store refuses the key for good, then it leaves the keyring: a stop between the two is
 * finished when purserd starts (api/reseal.c).
 */
enum err
key_retire(struct call *c, struct error *e)
{
    int64_t id = 0, keys[VAULT_KEYS_MAX];
    size_t n = vault_keys(c->api->o.vault, keys);
    bool there = false;
    enum err code;

    if (!num_parse_i64(c->name, &id))
        return fail(e, ERR_INVALID_REQUEST, "a key's id is a number (purser keys status)");
    for (size_t i = 0; i < n; i++)
        there |= keys[i] == id;
    if (there && id < vault_current_key(c->api->o.vault)) {
        code = store_tx_durable(c->api->o.store, retire_tx, &id, e);
        if (code != ERR_OK)
            return code;
    }
    code = vault_key_remove(c->api->o.vault, id, e); /* says why, if it was not for the store */
    if (code != ERR_OK)
        return code;
    log_info("keys", "key %lld is retired", (long long)id);
    return status_answer(c, 200, e);
}
