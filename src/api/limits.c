/* Rate limits of a workspace, and of each of its usage tokens. */
#include "api/budget.h"
#include "api/workspace.h"
#include "store/limit_row.h"

enum { LIMIT_NUMBER_MAX = 1000000000 };

struct limits {
    struct call *c;
    struct limit_row rows[LIMIT_PER_COUNT];
    bool given[LIMIT_PER_COUNT];
};

static enum err
read_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct limits *l = ctx;
    struct limit_row *rows;
    size_t n;
    enum err code = limit_row_list(tx, l->c->org, l->c->id, &l->c->http->arena, &rows, &n, e);

    for (size_t i = 0; code == ERR_OK && i < n; i++)
        l->rows[rows[i].per] = rows[i];
    return code;
}

static json_t *
limit_json(const struct limit_row *l)
{
    return json_pack("{s:I, s:I, s:I}", "requests_per_minute", (json_int_t)l->requests_per_minute,
        "tokens_per_minute", (json_int_t)l->tokens_per_minute, "concurrent",
        (json_int_t)l->concurrent);
}

enum err
limits_get(struct call *c, struct error *e)
{
    struct limits l = {.c = c};
    struct workspace_row w;
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = store_read(c->api->o.store, read_tx, &l, e);
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:o, s:o}", "workspace", limit_json(&l.rows[LIMIT_PER_WORKSPACE]), "token",
            limit_json(&l.rows[LIMIT_PER_TOKEN])));
}

static enum err
number_read(json_t *o, const char *name, int64_t *ret, struct error *e)
{
    json_t *v = json_object_get(o, name);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        json_integer_value(v) > LIMIT_NUMBER_MAX)
        return fail(e, ERR_INVALID_REQUEST, "\"%s\" is a number from 0 (no limit) to %d", name,
            LIMIT_NUMBER_MAX);
    *ret = json_integer_value(v);
    return ERR_OK;
}

static enum err
limit_read(struct limits *l, enum limit_per per, struct error *e)
{
    json_t *o = json_object_get(l->c->body, limit_per_name(per).p);
    struct limit_row *row = &l->rows[per];
    enum err code;

    if (o == NULL)
        return ERR_OK;
    if (!json_is_object(o) && !json_is_null(o))
        return fail(e, ERR_INVALID_REQUEST,
            "\"%s\" is {requests_per_minute, tokens_per_minute, concurrent} or null",
            limit_per_name(per).p);
    *row = (struct limit_row){.org = l->c->org, .workspace = l->c->id, .per = per};
    l->given[per] = true;
    code = number_read(o, "requests_per_minute", &row->requests_per_minute, e);
    if (code == ERR_OK)
        code = number_read(o, "tokens_per_minute", &row->tokens_per_minute, e);
    return code == ERR_OK ? number_read(o, "concurrent", &row->concurrent, e) : code;
}

static enum err
write_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct limits *l = ctx;
    enum err code = ERR_OK;

    for (int per = 0; code == ERR_OK && per < LIMIT_PER_COUNT; per++) {
        if (l->given[per])
            code = limit_row_put(tx, &l->rows[per], e);
    }
    return code;
}

enum err
limits_put(struct call *c, struct error *e)
{
    struct limits l = {.c = c};
    struct workspace_row w;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = workspace_load(c, &w, e);
    for (int per = 0; code == ERR_OK && per < LIMIT_PER_COUNT; per++)
        code = limit_read(&l, (enum limit_per)per, e);
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, write_tx, &l, e);
    if (code == ERR_OK)
        code = budgets_changed(c->api, e);
    return code == ERR_OK ? limits_get(c, e) : code;
}
