#include "api/token.h"

#include "store/token_row.h"

enum {
    NAME_MAX_BYTES = 100,
    PREFIX_BYTES = 12,
    EXPIRES_MIN_S = 60,
    EXPIRES_MAX_S = 10 * 366 * 24 * 3600,
};

static const char revoked_already[] = "token not found or already revoked";

struct mint {
    struct call *c;
    struct token_row row;
};

/* The way out differs: an org's tokens are not a workspace's. */
static enum err
too_many(const struct token_row *t, struct error *e)
{
    char id[ID_TEXT_BYTES];

    id_text(t->workspace, id);
    if (id_is_zero(t->workspace)) {
        return fail(e, ERR_TOO_MANY_TOKENS,
            "an org has at most %d live tokens: revoke one first (purser token list; purser token "
            "revoke ID)",
            TOKENS_LIVE_MAX);
    }
    return fail(e, ERR_TOO_MANY_TOKENS,
        "a workspace has at most %d live tokens: revoke one first (purser token list --workspace "
        "%s; purser token revoke --workspace %s ID)",
        TOKENS_LIVE_MAX, id, id);
}

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
    return live >= TOKENS_LIVE_MAX ? too_many(&m->row, e) : token_row_insert(tx, &m->row, e);
}

static enum err
mint(struct mint *m, struct auth_token_text *ret_text, struct error *e)
{
    struct arena *a = &m->c->http->arena;

    auth_token_make(m->row.kind, ret_text);
    m->row.id = id_new();
    m->row.org = m->c->org;
    m->row.prefix = arena_dup(a, (struct str){ret_text->text, PREFIX_BYTES});
    memcpy(m->row.digest, ret_text->digest, sizeof(m->row.digest));
    return store_tx_durable(m->c->api->o.store, mint_tx, m, e);
}

enum err
token_mint_workspace(struct call *c, struct id workspace, struct auth_token_text *ret_text,
    struct id *ret_id, struct error *e)
{
    struct mint m = {.c = c, .row = {.workspace = workspace, .kind = TOKEN_WORKSPACE}};
    enum err code;

    m.row.created_ms = clock_ms();
    code = mint(&m, ret_text, e);
    if (code == ERR_OK)
        *ret_id = m.row.id;
    return code;
}

/* What the client may say of a new token: its name, and when it ends. */
static enum err
mint_read(struct mint *m, struct error *e)
{
    struct call *c = m->c;
    struct str name = STR_NONE;
    int64_t seconds = 0;
    enum err code = call_body(c, true, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "name", &name, e);
    if (code == ERR_OK)
        code = json_get_int(c->body, "expires_in_s", &seconds, e);
    if (code != ERR_OK)
        return code;
    if (name.n > NAME_MAX_BYTES || str_find_char(name, '\n') < name.n)
        return fail(
            e, ERR_INVALID_REQUEST, "\"name\" is one line of at most %d bytes", NAME_MAX_BYTES);
    if (json_object_get(c->body, "expires_in_s") != NULL &&
        (seconds < EXPIRES_MIN_S || seconds > EXPIRES_MAX_S)) {
        return fail(e, ERR_INVALID_REQUEST,
            "\"expires_in_s\" is between %d seconds and ten years; leave it out for a token that "
            "does not expire",
            EXPIRES_MIN_S);
    }
    m->row.name = arena_dup(&c->http->arena, name);
    m->row.created_ms = clock_ms();
    m->row.expires_ms = seconds == 0 ? 0 : m->row.created_ms + seconds * 1000;
    return ERR_OK;
}

static enum err
mint_answer(struct mint *m, const struct auth_token_text *token)
{
    const struct token_row *t = &m->row;
    json_t *j = json_pack("{s:o, s:o, s:s, s:o, s:s}", "id", json_id(t->id), "prefix",
        json_str(t->prefix), "auth_token", token->text, "expires_at", json_ms(t->expires_ms),
        "message", "save this token now; it will not be shown again");

    if (t->name.n > 0)
        json_object_set_new(j, "name", json_str(t->name));
    if (t->kind == TOKEN_WORKSPACE)
        json_object_set_new(j, "workspace_id", json_id(t->workspace));
    if (t->kind == TOKEN_ORG)
        json_object_set_new(j, "read_only", json_boolean(t->read_only));
    m->c->answer_is_secret = true;
    return call_answer(m->c, 201, j);
}

static enum err
mint_run(struct mint *m, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    enum err code = mint(m, &token, e);

    return code == ERR_OK ? mint_answer(m, &token) : code;
}

enum err
token_create(struct call *c, struct error *e)
{
    struct mint m = {.c = c, .row = {.workspace = c->id, .kind = TOKEN_WORKSPACE}};
    enum err code = mint_read(&m, e);

    return code == ERR_OK ? mint_run(&m, e) : code;
}

enum err
org_token_create(struct call *c, struct error *e)
{
    struct mint m = {.c = c, .row = {.kind = TOKEN_ORG}};
    enum err code = mint_read(&m, e);

    if (code == ERR_OK)
        code = json_get_bool(c->body, "read_only", &m.row.read_only, e);
    return code == ERR_OK ? mint_run(&m, e) : code;
}

struct token_op {
    struct call *c;
    struct id workspace; /* zero: the org's own tokens */
    bool all;            /* of every kind and every workspace of the org */
    struct id token;
    struct token_row *rows;
    struct token_row revoked;
    size_t n;
};

static enum err
workspace_check(struct store_tx *tx, struct token_op *op, struct error *e)
{
    struct workspace_row w;
    enum err code;

    if (id_is_zero(op->workspace))
        return ERR_OK;
    code = workspace_row_get(tx, op->c->org, op->workspace, &op->c->http->arena, &w, e);
    return call_not_found(code, "workspace not found", e);
}

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct token_op *op = ctx;
    enum token_kind kind = id_is_zero(op->workspace) ? TOKEN_ORG : TOKEN_WORKSPACE;
    struct arena *a = &op->c->http->arena;
    enum err code = workspace_check(tx, op, e);

    if (code != ERR_OK)
        return code;
    if (op->all)
        return token_row_list_org(tx, op->c->org, clock_ms(), a, &op->rows, &op->n, e);
    return token_row_list(tx, op->c->org, op->workspace, kind, clock_ms(), a, &op->rows, &op->n, e);
}

static json_t *
token_json(const struct token_row *t)
{
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:I, s:o, s:o}", "id", json_id(t->id), "kind",
        json_str(token_kind_name(t->kind)), "prefix", json_str(t->prefix), "name",
        json_str_or_null(t->name), "created_at", (json_int_t)t->created_ms, "last_used_at",
        json_ms(t->last_used_ms), "expires_at", json_ms(t->expires_ms));

    if (t->kind == TOKEN_ORG)
        json_object_set_new(j, "read_only", json_boolean(t->read_only));
    else
        json_object_set_new(j, "workspace_id", json_id(t->workspace));
    return j;
}

static enum err
list_answer(struct token_op *op, struct error *e)
{
    enum err code = store_read(op->c->api->o.store, list_tx, op, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < op->n; i++)
        json_array_append_new(list, token_json(&op->rows[i]));
    return call_answer(
        op->c, 200, json_pack("{s:o, s:I}", "tokens", list, "count", (json_int_t)op->n));
}

enum err
token_list(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .workspace = c->id};

    return list_answer(&op, e);
}

enum err
org_token_list(struct call *c, struct error *e)
{
    struct token_op op = {.c = c};
    struct str all = STR("0");

    (void)!http_query_get(c->http, STR("all"), &all);
    if (!str_equal(all, STR("0")) && !str_equal(all, STR("1")))
        return fail(e, ERR_INVALID_REQUEST, "?all= is 1 (of the workspaces, too) or 0");
    op.all = str_equal(all, STR("1"));
    return list_answer(&op, e);
}

/* Only a token of the org or workspace that the route speaks of; of a workspace usage tokens, too. */
static enum err
revoke_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct token_op *op = ctx;
    struct arena *a = &op->c->http->arena;
    struct token_row t;
    enum err code = workspace_check(tx, op, e);

    if (code != ERR_OK)
        return code;
    code = token_row_get(tx, op->c->org, op->token, clock_ms(), a, &t, e);
    if (code == ERR_NOT_FOUND || (code == ERR_OK && !id_equal(t.workspace, op->workspace)))
        return fail(e, ERR_NOT_FOUND, "%s", revoked_already);
    if (code != ERR_OK)
        return code;
    return token_row_revoke(tx, op->c->org, op->token, clock_ms(), a, &op->revoked, e);
}

static enum err
revoke_answer(struct token_op *op, struct error *e)
{
    enum err code;

    if (!id_parse(op->c->name, &op->token))
        return fail(e, ERR_NOT_FOUND, "%s", revoked_already);
    code = store_tx_durable(op->c->api->o.store, revoke_tx, op, e);
    if (code != ERR_OK)
        return code;
    if (op->revoked.kind == TOKEN_USAGE)
        edge_token_revoke(op->c->api->o.edge, op->revoked.digest);
    return call_answer(
        op->c, 200, json_pack("{s:s, s:o}", "status", "revoked", "revoked", json_id(op->token)));
}

enum err
token_revoke(struct call *c, struct error *e)
{
    struct token_op op = {.c = c, .workspace = c->id};

    return revoke_answer(&op, e);
}

enum err
org_token_revoke(struct call *c, struct error *e)
{
    struct token_op op = {.c = c};

    return revoke_answer(&op, e);
}

enum err
admin_token_rotate(struct call *c, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    enum err code = auth_admin_rotate(c->api->o.store, c->api->o.state_dir, &token, e);

    if (code != ERR_OK)
        return code;
    log_info("api", "the admin token was rotated client=%.*s", STR_ARG(http_client(c->http)));
    c->answer_is_secret = true;
    return call_answer(c, 201,
        json_pack("{s:s, s:s}", "auth_token", token.text, "message",
            "save this token now; it will not be shown again, and the one before it has ended"));
}
