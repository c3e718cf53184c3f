/* How runs are listed, renewed and ended. They begin in run.c. */
#include "api/run.h"

#include "api/handout.h"
#include "store/event_row.h"
#include "store/org_row.h"

enum err
run_event(
    struct store_tx *tx, const struct call *c, struct str type, struct str json, struct error *e)
{
    struct event_row event = {
        .org = c->org, .workspace = c->id, .type = type, .json = json, .created_ms = clock_ms()};

    return event_row_append(tx, &event, NULL, e);
}

struct str
run_json(struct arena *arena, struct id run)
{
    char text[ID_TEXT_BYTES];

    id_text(run, text);
    return arena_printf(arena, "{\"run_id\":\"%s\"}", text);
}

enum err
run_check_workspace(struct store_tx *tx, struct call *c, struct error *e)
{
    struct workspace_row w;
    enum err code = workspace_row_get(tx, c->org, c->id, &c->http->arena, &w, e);

    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    return w.status == WORKSPACE_REMOVED ? fail(e, ERR_GONE, "workspace removed") : ERR_OK;
}

struct run_op {
    struct call *c;
    struct id run;
    int64_t now_ms;
    struct run_row row;
    struct run_row *rows;
    size_t n;
    struct token_row token;
    bool has_token;
};

static json_t *
row_json(const struct run_row *r)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I}", "run_id", json_id(r->id),
        "workspace_id", json_id(r->workspace), "resolved_mode", json_str(r->mode), "model",
        json_str_or_null(r->model), "created_at", (json_int_t)r->created_ms, "ttl_seconds",
        (json_int_t)(r->ttl_ms / 1000), "expires_at", (json_int_t)r->expires_ms);
}

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct run_op *op = ctx;
    struct call *c = op->c;
    enum err code = run_check_workspace(tx, c, e);

    if (code != ERR_OK)
        return code;
    return run_row_list(tx, c->org, c->id, op->now_ms, &c->http->arena, &op->rows, &op->n, e);
}

enum err
run_list(struct call *c, struct error *e)
{
    struct run_op op = {.c = c, .now_ms = clock_ms()};
    json_t *list;
    enum err code = store_read(c->api->o.store, list_tx, &op, e);

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < op.n; i++)
        json_array_append_new(list, row_json(&op.rows[i]));
    return call_answer(c, 200, json_pack("{s:o, s:I}", "runs", list, "count", (json_int_t)op.n));
}

static enum err
find_tx(struct store_tx *tx, struct run_op *op, struct error *e)
{
    struct call *c = op->c;
    enum err code = run_check_workspace(tx, c, e);

    if (code != ERR_OK)
        return code;
    code = run_row_get(tx, c->org, c->id, op->run, op->now_ms, &c->http->arena, &op->row, e);
    return call_not_found(code, "run not found, ended or expired", e);
}

/* The token's row as it is after the extension: what the gateway is told anew. */
static enum err
token_tx(struct store_tx *tx, struct run_op *op, struct error *e)
{
    struct call *c = op->c;
    struct token_row *tokens;
    size_t n;
    enum err code =
        token_row_list(tx, c->org, c->id, TOKEN_USAGE, op->now_ms, &c->http->arena, &tokens, &n, e);

    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        if (id_equal(tokens[i].id, op->row.token)) {
            op->token = tokens[i];
            op->has_token = true;
        }
    }
    return code;
}

static enum err
renew_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct run_op *op = ctx;
    struct call *c = op->c;
    enum err code = org_row_check_active(tx, c->org, e);

    if (code == ERR_OK)
        code = find_tx(tx, op, e);
    if (code != ERR_OK)
        return code;
    op->row.expires_ms = op->now_ms + op->row.ttl_ms;
    code = run_row_extend(tx, c->org, op->run, op->row.expires_ms, e);
    if (code != ERR_OK || id_is_zero(op->row.token))
        return code;
    code = token_row_extend(tx, c->org, op->row.token, op->now_ms, op->row.expires_ms, e);
    if (code == ERR_OK)
        code = token_tx(tx, op, e);
    /* Here: whoever revokes it after us must not be overtaken. */
    if (code == ERR_OK && op->has_token)
        code = handout_publish_row(c->api, &c->http->arena, &op->token, e);
    return call_not_found(code, "run not found, ended or expired", e);
}

static enum err
take_run(struct run_op *op, struct error *e)
{
    op->now_ms = clock_ms();
    if (!id_parse(op->c->name, &op->run))
        return fail(e, ERR_NOT_FOUND, "run not found, ended or expired");
    return ERR_OK;
}

enum err
run_renew(struct call *c, struct error *e)
{
    struct run_op op = {.c = c};
    enum err code = take_run(&op, e);

    if (code == ERR_OK)
        code = store_tx(c->api->o.store, renew_tx, &op, e);
    return code == ERR_OK ? call_answer(c, 200, row_json(&op.row)) : code;
}

static enum err
end_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct run_op *op = ctx;
    struct call *c = op->c;
    enum err code = find_tx(tx, op, e);

    if (code == ERR_OK)
        code = run_row_delete(tx, c->org, op->run, e);
    if (code == ERR_OK && !id_is_zero(op->row.token)) {
        code =
            token_row_revoke(tx, c->org, op->row.token, op->now_ms, &c->http->arena, &op->token, e);
        /* Before the store says so, as in agent.h. */
        if (code == ERR_OK)
            edge_token_revoke(c->api->o.edge, op->token.digest);
        /* Revoked by somebody else already: it is ended all the same. */
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
    }
    if (code == ERR_OK)
        code = run_event(tx, c, STR("RUN_ENDED"), run_json(&c->http->arena, op->run), e);
    return code;
}

enum err
run_end(struct call *c, struct error *e)
{
    struct run_op op = {.c = c};
    enum err code = take_run(&op, e);

    if (code == ERR_OK)
        code = store_tx(c->api->o.store, end_tx, &op, e);
    if (code != ERR_OK)
        return code;
    return call_answer(
        c, 200, json_pack("{s:s, s:o}", "status", "ended", "run_id", json_id(op.run)));
}
