/* Do the chains hold, and do they hold against the checkpoints that were signed? */
#include "api/audit.h"
#include "api/impl.h"

#include <sodium.h>

static json_t *
summary_json(const struct checkpoint_summary *c)
{
    json_t *keys = json_array();

    for (size_t i = 0; i < c->keys_n; i++)
        json_array_append_new(keys, json_hex(c->keys[i], sizeof(c->keys[i])));
    return json_pack("{s:I, s:b, s:o, s:o}", "count", (json_int_t)c->n, "valid", (int)c->valid,
        "why", json_str_or_null(c->why), "keys", keys);
}

static json_t *
pruned_json(const struct audit_chain *c)
{
    if (c->pruned == 0)
        return json_null();
    return json_pack("{s:I, s:I, s:I, s:I}", "entries", (json_int_t)c->pruned, "until_ms",
        (json_int_t)c->pruned_until_ms, "pruned_ms", (json_int_t)c->pruned_ms, "checkpoint",
        (json_int_t)c->pruned_checkpoint);
}

json_t *
audit_chains_json(
    const struct audit_chain *chains, size_t n, const struct checkpoint_summary *checkpoints)
{
    json_t *list = json_array();
    bool valid = checkpoints->valid;

    for (size_t i = 0; i < n; i++) {
        const struct audit_chain *c = &chains[i];

        valid = valid && c->valid;
        json_array_append_new(list,
            json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o, s:b, s:o}", "chain",
                json_str(audit_type_name(c->type)), "org_id", json_id(c->org), "org_slug",
                json_str_or_null(c->slug), "node_id", json_id(c->node), "entries",
                (json_int_t)c->entries, "head", json_hex(c->head, sizeof(c->head)), "pruned",
                pruned_json(c), "valid", (int)c->valid, "why", json_str_or_null(c->why)));
    }
    return json_pack("{s:b, s:o, s:o, s:s}", "valid", (int)valid, "chains", list, "checkpoints",
        summary_json(checkpoints), "cannot_show",
        "A chain shows every change to what stands between its anchor, or first entry, and its "
        "head; a signed "
        "checkpoint, that entries it saw were cut off or computed anew. It cannot show that the "
        "newest entries were removed together with the checkpoints that saw them, nor a store that "
        "somebody signed anew with the node's key: for that, keep checkpoints elsewhere (purser "
        "audit export) and verify against them.");
}

static json_t *
checkpoint_json(const struct checkpoint_row *c)
{
    return json_pack("{s:o, s:I, s:o, s:o, s:I, s:o, s:I, s:o, s:o}", "node_id", json_id(c->node),
        "number", (json_int_t)c->number, "org_id", json_id(c->org), "chain",
        json_str(audit_type_name(c->chain)), "seq", (json_int_t)c->seq, "hash",
        json_hex(c->hash, sizeof(c->hash)), "created_ms", (json_int_t)c->created_ms, "public_key",
        json_hex(c->public_key, sizeof(c->public_key)), "signature",
        json_hex(c->signature, sizeof(c->signature)));
}

json_t *
audit_checkpoints_json(const struct checkpoint_row *rows, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, checkpoint_json(&rows[i]));
    return json_pack("{s:o}", "checkpoints", list);
}

static bool
read_id(const json_t *j, const char *name, struct id *ret)
{
    const char *text = json_string_value(json_object_get(j, name));

    return text != NULL && id_parse(str_from_cstr(text), ret);
}

static bool
read_hex(const json_t *j, const char *name, uint8_t *ret, size_t n)
{
    const char *text = json_string_value(json_object_get(j, name));
    size_t got = 0;

    return text != NULL && strlen(text) == n * 2 &&
        sodium_hex2bin(ret, n, text, n * 2, NULL, &got, NULL) == 0 && got == n;
}

enum err
audit_checkpoint_read(json_t *j, struct checkpoint_row *ret, struct error *e)
{
    struct checkpoint_row c = {.number = json_integer_value(json_object_get(j, "number")),
        .seq = json_integer_value(json_object_get(j, "seq")),
        .created_ms = json_integer_value(json_object_get(j, "created_ms"))};
    const char *chain = json_string_value(json_object_get(j, "chain"));

    c.chain = chain != NULL && strcmp(chain, "ledger") == 0 ? AUDIT_LEDGER : AUDIT_DECISION;
    if (!read_id(j, "node_id", &c.node) || !read_id(j, "org_id", &c.org) || chain == NULL ||
        !read_hex(j, "hash", c.hash, sizeof(c.hash)) ||
        !read_hex(j, "public_key", c.public_key, sizeof(c.public_key)) ||
        !read_hex(j, "signature", c.signature, sizeof(c.signature)))
        return fail(e, ERR_INVALID_REQUEST, "a checkpoint is not whole");
    *ret = c;
    return ERR_OK;
}

/* --- GET /admin/audit/verify, GET /admin/audit/checkpoints ----------------------------------- */

struct chains {
    struct call *c;
    struct audit_chain *rows;
    struct checkpoint_summary summary;
    struct checkpoint_row *checkpoints;
    size_t n;
};

static enum err
verify_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *x = ctx;
    struct arena *a = &x->c->http->arena;
    enum err code = audit_chain_list(tx, x->c->org, a, &x->rows, &x->n, e);

    return code == ERR_OK ? checkpoint_row_verify_all(tx, x->c->org, a, &x->summary, e) : code;
}

enum err
audit_verify(struct call *c, struct error *e)
{
    struct chains x = {.c = c};
    enum err code = store_read(c->api->o.store, verify_tx, &x, e);

    return code == ERR_OK ? call_answer(c, 200, audit_chains_json(x.rows, x.n, &x.summary)) : code;
}

static enum err
newest_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *x = ctx;

    return checkpoint_row_newest(tx, x->c->org, &x->c->http->arena, &x->checkpoints, &x->n, e);
}

enum err
audit_checkpoints(struct call *c, struct error *e)
{
    struct chains x = {.c = c};
    enum err code = store_read(c->api->o.store, newest_tx, &x, e);

    return code == ERR_OK ? call_answer(c, 200, audit_checkpoints_json(x.checkpoints, x.n)) : code;
}
