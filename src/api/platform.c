/* The platform's own vendor keys: sealed in the store, handed to nothing but the gateway. */
#include "api/comingling.h"
#include "core/num.h"
#include "store/platform_key.h"

enum { VALUE_MAX_BYTES = 16 * 1024, WEIGHT_MAX = 1000 };

struct key_op {
    struct call *c;
    struct platform_key key;
    struct platform_key *rows;
    size_t n;
    struct str value; /* borrowed from the body */
    size_t retired;
    size_t tenants; /* rows of orgs that hold this very key */
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
provider_check(struct call *c, struct str provider, struct error *e)
{
    const struct registry *r = call_registry(c);
    const struct registry_provider *p = registry_provider_find(r, provider);

    if (p == NULL)
        return fail(e, ERR_NOT_FOUND,
            "the registry has no provider \"%.*s\" (purser registry show lists them)",
            STR_ARG(provider));
    if (p->is_platform || p->upstream_vendor.n == 0) {
        return fail(e, ERR_INVALID_REQUEST,
            "the platform does not route to %.*s: it has no upstream vendor", STR_ARG(provider));
    }
    return ERR_OK;
}

static enum err
weight_read(struct call *c, int64_t *ret, struct error *e)
{
    json_t *weight = json_object_get(c->body, "weight");
    int64_t value = weight == NULL ? 1 : json_integer_value(weight);

    if (value < 1 || value > WEIGHT_MAX)
        return fail(e, ERR_INVALID_REQUEST, "\"weight\" is 1 to %d", WEIGHT_MAX);
    *ret = value;
    return ERR_OK;
}

/* It becomes a part of one line of a header. */
static bool
is_key(struct str value)
{
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] <= ' ' || value.p[i] > '~')
            return false;
    }
    return value.n > 0 && value.n <= VALUE_MAX_BYTES;
}

/* The key as the request has it; what only sealing tells comes in insert_tx(). */
static enum err
key_read(struct call *c, struct str provider, struct key_op *op, struct error *e)
{
    enum err code = provider_check(c, provider, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "value", &op->value, e);
    if (code == ERR_OK)
        code = weight_read(c, &op->key.weight, e);
    if (code != ERR_OK)
        return code;
    op->value = str_trim(op->value);
    if (!is_key(op->value))
        return fail(e, ERR_INVALID_REQUEST,
            "\"value\" is the key: 1 to %d visible ASCII characters, no space among them",
            VALUE_MAX_BYTES);
    op->key.id = id_new();
    op->key.provider = provider;
    op->key.created_ms = clock_ms();
    return ERR_OK;
}

/* The id is in the binding and never comes again: no version is needed besides. */
static enum err
insert_tx(struct store_tx *tx, struct key_op *op, struct error *e)
{
    struct vault *vault = op->c->api->o.vault;
    uint8_t fingerprint[VAULT_FINGERPRINT_BYTES];
    struct vault_place place = {.scope = VAULT_SCOPE_PLATFORM,
        .workspace = op->key.id,
        .name = op->key.provider,
        .version = 1};
    struct vault_sealed sealed;
    enum err code = vault_seal(vault, &place, op->value, &op->c->http->arena, &sealed, e);

    if (code != ERR_OK)
        return code;
    if (!vault_row_fingerprint(vault, sealed.key_id, op->value, fingerprint))
        return fail(e, ERR_CONFLICT, "the key was retired meanwhile: repeat the request");
    op->key.sealed = sealed.bytes;
    op->key.key_id = sealed.key_id;
    op->key.version = place.version;
    op->key.fingerprint = (struct str){(const char *)fingerprint, sizeof(fingerprint)};
    code = platform_key_insert(tx, &op->key, e);
    op->key.fingerprint = STR_NONE;
    return code;
}

/* True when an org has stored it already: the admin is told by the answer. */
static enum err
tenants_tx(struct store_tx *tx, struct key_op *op, struct error *e)
{
    struct vault *vault = op->c->api->o.vault;
    int64_t keys[VAULT_KEYS_MAX];
    size_t n = vault_keys(vault, keys);

    op->tenants = 0;
    for (size_t i = 0; i < n; i++) {
        uint8_t print[VAULT_FINGERPRINT_BYTES];
        struct secret_row *rows;
        size_t rows_n = 0;

        if (!vault_row_fingerprint(vault, keys[i], op->value, print))
            continue;
        if (secret_row_list_equal(tx, (struct str){(const char *)print, sizeof(print)},
                (struct id){0}, 100, &op->c->http->arena, &rows, &rows_n, e) != ERR_OK)
            return e->code;
        op->tenants += rows_n;
    }
    return ERR_OK;
}

static enum err
add_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    enum err code = insert_tx(tx, ctx, e);

    return code == ERR_OK ? tenants_tx(tx, ctx, e) : code;
}

static enum err
set_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;
    enum err code = platform_key_retire_provider(tx, op->key.provider, op->key.created_ms, e);

    return code == ERR_OK ? add_tx(tx, op, e) : code;
}

static json_t *
warnings_json(const struct key_op *op)
{
    const struct registry *r = call_registry(op->c);
    const struct registry_provider *p = registry_provider_find(r, op->key.provider);
    struct secret_write as_secret = {registry_str(r, registry_strs(r, p->auth_env)[0]), op->value};
    json_t *list = json_array();

    comingling_warn(r, op->key.id, &as_secret, list);
    if (op->tenants > 0)
        json_array_append_new(list,
            json_pack("{s:s, s:s}", "code", "PLATFORM_KEY_IN_TENANT_STORE", "text",
                "an org has stored this very key: purser audit secrets tells which"));
    return list;
}

/* Runs one of the transactions above, and the gateway takes the keys as they are now. */
static enum err
change_keys(struct call *c, store_tx_fn *fn, struct key_op *op, struct error *e)
{
    enum err code = store_tx_durable(c->api->o.store, fn, op, e);

    return code == ERR_OK ? edge_platform_keys_changed(c->api->o.edge, e) : code;
}

static enum err
saved_answer(struct key_op *op, int status)
{
    return call_answer(op->c, status,
        json_pack("{s:s, s:o, s:o, s:I, s:o}", "status", "saved", "provider",
            json_str(op->key.provider), "id", json_id(op->key.id), "weight",
            (json_int_t)op->key.weight, "warnings", warnings_json(op)));
}

enum err
platform_key_put(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    enum err code = provider_check(c, c->name, e);

    if (code == ERR_OK)
        code = call_body(c, false, e);
    if (code == ERR_OK)
        code = key_read(c, c->name, &op, e);
    if (code == ERR_OK)
        code = change_keys(c, set_tx, &op, e);
    return code == ERR_OK ? saved_answer(&op, 200) : code;
}

enum err
platform_key_add(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    struct str provider = STR_NONE;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "provider", &provider, e);
    if (code == ERR_OK)
        code = key_read(c, provider, &op, e);
    if (code == ERR_OK)
        code = change_keys(c, add_tx, &op, e);
    return code == ERR_OK ? saved_answer(&op, 201) : code;
}

static enum err
weight_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;

    return platform_key_set_weight(tx, op->key.id, op->key.weight, e);
}

enum err
platform_key_patch(struct call *c, struct error *e)
{
    struct key_op op = {.c = c};
    enum err code = call_body(c, false, e);

    if (code == ERR_OK && !id_parse(c->name, &op.key.id))
        return fail(e, ERR_INVALID_REQUEST,
            "a weight belongs to one key: name it by its id (purser platform keys list)");
    if (code == ERR_OK && json_object_get(c->body, "weight") == NULL)
        return fail(e, ERR_INVALID_REQUEST, "\"weight\" is required, 1 to %d", WEIGHT_MAX);
    if (code == ERR_OK)
        code = weight_read(c, &op.key.weight, e);
    if (code == ERR_OK)
        code = change_keys(c, weight_tx, &op, e);
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:I}", "status", "saved", "id", json_id(op.key.id), "weight",
            (json_int_t)op.key.weight));
}

/* One key by its id, or all of a provider's. */
static enum err
delete_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct key_op *op = ctx;
    enum err code;

    op->retired = 1;
    if (!id_is_zero(op->key.id))
        return platform_key_retire(tx, op->key.id, clock_ms(), e);
    code = list_tx(tx, op, e);
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
    bool by_id = id_parse(c->name, &op.key.id);
    enum err code = change_keys(c, delete_tx, &op, e);

    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:s, s:o, s:I}", "status", "deleted", by_id ? "id" : "provider",
            json_str(c->name), "retired", (json_int_t)op.retired));
}
