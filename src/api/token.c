#include "api/token.h"

#include "store/token_row.h"

enum { NAME_MAX_BYTES = 100, PREFIX_BYTES = 12 };

struct mint {
    struct call *c;
    struct token_row row;
};

static enum err
mint_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct mint *m = ctx;
    struct workspace_row w;
    int64_t live = 0;
    enum err code = ERR_OK;

    if (!id_is_zero(m->row.workspace)) {
        code = workspace_row_get(tx, m->row.org, m->row.workspace, &m->c->http->arena, &w, e);
        if (code == ERR_OK && w.status == WORKSPACE_REMOVED)
            return fail(e, ERR_GONE, "workspace removed");
    }
    if (code == ERR_OK) {
        code = token_row_count_live(
            tx, m->row.org, m->row.workspace, m->row.kind, m->row.created_ms, &live, e);
    }
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (live >= TOKENS_LIVE_MAX) {
        return fail(e, ERR_TOO_MANY_TOKENS, "maximum %d active tokens per %s", TOKENS_LIVE_MAX,
            id_is_zero(m->row.workspace) ? "org" : "workspace");
    }
    return token_row_insert(tx, &m->row, e);
}

static enum err
mint(struct mint *m, struct auth_token_text *ret_text, struct error *e)
{
    struct arena *a = &m->c->http->arena;

    auth_token_make(m->row.kind, ret_text);
    m->row.id = id_new();
    m->row.org = m->c->org;
    m->row.created_ms = clock_ms();
    m->row.prefix = arena_dup(a, (struct str){ret_text->text, PREFIX_BYTES});
    memcpy(m->row.digest, ret_text->digest, sizeof(m->row.digest));
    return store_tx_durable(m->c->api->o.store, mint_tx, m, e);
}

enum err
token_mint_workspace(struct call *c, struct id workspace, struct auth_token_text *ret_text,
    struct id *ret_id, struct error *e)
{
    struct mint m = {.c = c, .row = {.workspace = workspace, .kind = TOKEN_WORKSPACE}};
    enum err code = mint(&m, ret_text, e);

    if (code == ERR_OK)
        *ret_id = m.row.id;
    return code;
}

enum err
token_create(struct call *c, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    struct id id;
    enum err code = token_mint_workspace(c, c->id, &token, &id, e);

    if (code != ERR_OK)
        return code;
    c->answer_is_secret = true;
    return call_answer(c, 201,
        json_pack("{s:o, s:s, s:o, s:s}", "id", json_id(id), "auth_token", token.text,
            "workspace_id", json_id(c->id), "message",
            "Save this token now — it cannot be retrieved again."));
}

enum err
org_token_create(struct call *c, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    struct mint m = {.c = c, .row = {.kind = TOKEN_ORG}};
    struct str name = STR_NONE;
    json_t *j;
    enum err code = call_body(c, true, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "name", &name, e);
    if (code == ERR_OK)
        code = json_get_bool(c->body, "read_only", &m.row.read_only, e);
    if (code == ERR_OK && name.n > NAME_MAX_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "name too long (max %d chars)", NAME_MAX_BYTES);
    if (code != ERR_OK)
        return code;
    m.row.name = arena_dup(&c->http->arena, name);
    code = mint(&m, &token, e);
    if (code != ERR_OK)
        return code;
    j = json_pack("{s:o, s:o, s:b, s:s, s:s}", "id", json_id(m.row.id), "prefix",
        json_str(m.row.prefix), "read_only", (int)m.row.read_only, "auth_token", token.text,
        "warning", "copy this token now; it will not be shown again");
    if (m.row.name.n > 0)
        json_object_set_new(j, "name", json_str(m.row.name));
    c->answer_is_secret = true;
    return call_answer(c, 201, j);
}

struct token_op {
    struct call *c;
    struct id workspace;
    enum token_kind kind;
    struct id token;
    struct token_row *rows;
    struct token_row revoked;
    size_t n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct token_op *op = ctx;
    struct workspace_row w;
    enum err code = ERR_OK;

    if (!id_is_zero(op->workspace))
        code = workspace_row_get(tx, op->c->org, op->workspace, &op->c->http->arena, &w, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    return token_row_list(tx, op->c->org, op->workspace, op->kind, clock_ms(), &op->c->http->arena,
        &op->rows, &op->n, e);
}

static enum err
list_answer(struct token_op *op, struct error *e)
{
    enum err code = store_read(op->c->api->o.store, list_tx, op, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < op->n; i++) {
        const struct token_row *t = &op->rows[i];
        json_t *item = json_pack("{s:o, s:o, s:I, s:o, s:o}", "id", json_id(t->id), "prefix",
            json_str(t->prefix), "created_at", (json_int_t)t->created_ms, "last_used_at",
            json_ms(t->last_used_ms), "expires_at", json_ms(t->expires_ms));

        if (t->kind == TOKEN_ORG) {
            json_object_set_new(item, "name", json_str_or_null(t->name));
            json_object_set_new(item, "read_only", json_boolean(t->read_only));
        }
        json_array_append_new(list, item);
    }
    return call_answer(
        op->c, 200, json_pack("{s:o, s:I}", "tokens", list, "count", (json_int_t)op->n));
}

enum err
token_list(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .workspace = c->id, .kind = TOKEN_WORKSPACE};

    return list_answer(&op, e);
}

enum err
org_token_list(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .kind = TOKEN_ORG};

    return list_answer(&op, e);
}

/* Only a token of the kind and the workspace that the route speaks of. */
static enum err
revoke_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct token_op *op = ctx;
    bool mine = false;
    enum err code = list_tx(tx, op, e);

    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < op->n; i++)
        mine = mine || id_equal(op->rows[i].id, op->token);
    if (!mine)
        return fail(e, ERR_NOT_FOUND, "token not found or already revoked");
    return token_row_revoke(
        tx, op->c->org, op->token, clock_ms(), &op->c->http->arena, &op->revoked, e);
}

static enum err
revoke_answer(struct token_op *op, struct error *e)
{
    enum err code;

    if (!id_parse(op->c->name, &op->token))
        return fail(e, ERR_NOT_FOUND, "token not found or already revoked");
    code = store_tx_durable(op->c->api->o.store, revoke_tx, op, e);
    if (code != ERR_OK)
        return call_not_found(code, "token not found or already revoked", e);
    return call_answer(
        op->c, 200, json_pack("{s:s, s:o}", "status", "revoked", "revoked", json_id(op->token)));
}

enum err
token_revoke(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .workspace = c->id, .kind = TOKEN_WORKSPACE};

    return revoke_answer(&op, e);
}

enum err
org_token_revoke(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .kind = TOKEN_ORG};

    return revoke_answer(&op, e);
}
