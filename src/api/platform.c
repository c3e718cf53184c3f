/* The platform's own vendor keys: sealed in the store, handed to nothing but the gateway. */
#include "api/impl.h"
#include "store/platform_key.h"

enum { VALUE_MAX_BYTES = 16 * 1024, WEIGHT_MAX = 1000 };

struct key_op {
    struct call *c;
    struct platform_key key;
    struct platform_key *rows;
    size_t n;
    size_t retired;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;

    return platform_key_list(tx, &op->c->http->arena, &op->rows, &op->n, e);
}

enum err
platform_key_list_all(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    enum err code = store_read(c->api->o.store, list_tx, &op, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < op.n; i++) {
        json_array_append_new(list,
            json_pack("{s:o, s:o, s:I, s:b, s:I}", "id", json_id(op.rows[i].id), "provider",
                json_str(op.rows[i].provider), "weight", (json_int_t)op.rows[i].weight, "has_value",
                1, "created_at", (json_int_t)op.rows[i].created_ms));
    }
    return call_answer(c, 200, list);
}

/* Only what the gateway could use: a provider of the registry that the platform can route to. */
static enum err
provider_check(struct call *c, struct error *e)
{
    const struct registry *r = call_registry(c);
    const struct registry_provider *p = registry_provider_find(r, c->name);

    if (p == NULL)
        return fail(e, ERR_NOT_FOUND,
            "the registry has no provider \"%.*s\" (purser registry show lists them)",
            STR_ARG(c->name));
    if (p->is_platform || p->upstream_vendor.n == 0) {
        return fail(e, ERR_INVALID_REQUEST,
            "the platform does not route to %.*s: it has no upstream vendor", STR_ARG(c->name));
    }
    return ERR_OK;
}

static enum err
set_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;
    enum err code = platform_key_retire_provider(tx, op->key.provider, op->key.created_ms, e);

    return code != ERR_OK ? code : platform_key_insert(tx, &op->key, e);
}

enum err
platform_key_put(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    uint8_t fingerprint[VAULT_FINGERPRINT_BYTES];
    struct vault_place place = {.scope = VAULT_SCOPE_PLATFORM, .name = c->name, .version = 1};
    struct vault_sealed sealed;
    struct str value = STR_NONE;
    json_t *weight;
    enum err code = provider_check(c, e);

    if (code == ERR_OK)
        code = call_body(c, false, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "value", &value, e);
    if (code != ERR_OK)
        return code;
    value = str_trim(value);
    if (value.n == 0 || value.n > VALUE_MAX_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "\"value\" is the key, 1 to %d bytes", VALUE_MAX_BYTES);
    weight = json_object_get(c->body, "weight");
    op.key.weight = weight == NULL ? 1 : json_integer_value(weight);
    if (op.key.weight < 1 || op.key.weight > WEIGHT_MAX)
        return fail(e, ERR_INVALID_REQUEST, "\"weight\" is 1 to %d", WEIGHT_MAX);
    op.key.id = id_new();
    place.workspace = op.key.id;
    code = vault_seal(c->api->o.vault, &place, value, &c->http->arena, &sealed, e);
    if (code != ERR_OK)
        return code;
    vault_fingerprint(c->api->o.vault, value, fingerprint);
    op.key.provider = c->name;
    op.key.sealed = sealed.bytes;
    op.key.key_id = sealed.key_id;
    op.key.version = place.version;
    op.key.fingerprint = (struct str){(const char *)fingerprint, sizeof(fingerprint)};
    op.key.created_ms = clock_ms();
    code = store_tx_durable(c->api->o.store, set_tx, &op, e);
    if (code == ERR_OK)
        code = edge_platform_keys_changed(c->api->o.edge, e);
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:o}", "status", "saved", "provider", json_str(c->name), "id",
            json_id(op.key.id)));
}

static enum err
delete_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;
    enum err code = list_tx(tx, op, e);

    op->retired = 0;
    for (size_t i = 0; code == ERR_OK && i < op->n; i++)
        op->retired += str_equal(op->rows[i].provider, op->c->name);
    if (code == ERR_OK && op->retired == 0)
        return fail(e, ERR_NOT_FOUND, "there is no platform key for provider \"%.*s\"",
            STR_ARG(op->c->name));
    return code != ERR_OK ? code : platform_key_retire_provider(tx, op->c->name, clock_ms(), e);
}

enum err
platform_key_delete(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    enum err code = store_tx_durable(c->api->o.store, delete_tx, &op, e);

    if (code == ERR_OK)
        code = edge_platform_keys_changed(c->api->o.edge, e);
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:I}", "status", "deleted", "provider", json_str(c->name), "retired",
            (json_int_t)op.retired));
}
