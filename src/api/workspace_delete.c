/* DELETE /workspaces/:id: asks to be told the name, takes the children along only when told so. */
#include "api/agent.h"
#include "api/workspace.h"

struct family {
    struct call *c;
    struct workspace_row *rows;
    size_t n;
};

static enum err
family_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct family *f = ctx;

    return workspace_row_list(tx, f->c->org, &f->c->http->arena, &f->rows, &f->n, e);
}

/* Marks the workspace and all below it; parents come before children in ret. */
static size_t
family_below(struct family *f, struct id top, struct id *ret)
{
    size_t n = 0;

    ret[n++] = top;
    for (size_t at = 0; at < n; at++) {
        for (size_t i = 0; i < f->n; i++) {
            bool known = false;

            for (size_t k = 0; k < n; k++)
                known = known || id_equal(ret[k], f->rows[i].id);
            if (!known && id_equal(f->rows[i].parent, ret[at]))
                ret[n++] = f->rows[i].id;
        }
    }
    return n;
}

static json_t *
children_json(const struct family *f, struct id parent)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->n; i++) {
        if (id_equal(f->rows[i].parent, parent)) {
            json_array_append_new(list,
                json_pack(
                    "{s:o, s:o}", "id", json_id(f->rows[i].id), "name", json_str(f->rows[i].name)));
        }
    }
    return list;
}

static enum err
confirm(struct call *c, const struct workspace_row *w, const struct family *f, struct error *e)
{
    struct str said = http_header_get(c->http, "X-Confirm-Name");
    struct str sure = STR_NONE;
    json_t *children;

    if (!str_equal(said, w->name)) {
        children = children_json(f, w->id);
        call_error_field(
            c, "hint", json_string("send the workspace's name in the header X-Confirm-Name"));
        call_error_field(c, "workspace_name", json_str(w->name));
        call_error_field(c, "active_tasks", json_integer(0));
        call_error_field(c, "child_count", json_integer((json_int_t)json_array_size(children)));
        call_error_field(c, "schedule_count", json_integer(0));
        json_decref(children);
        return fail(e, ERR_CONFIRMATION_REQUIRED, "destructive_action_requires_confirmation");
    }
    children = children_json(f, w->id);
    if (json_array_size(children) == 0 ||
        (http_query_get(c->http, STR("confirm"), &sure) && str_equal(sure, STR("true")))) {
        json_decref(children);
        return ERR_OK;
    }
    call_error_field(c, "status", json_string("confirmation_required"));
    call_error_field(c, "children_count", json_integer((json_int_t)json_array_size(children)));
    call_error_field(c, "children", children);
    return fail(e, ERR_CONFLICT,
        "the workspace has children, which would be removed with it; add ?confirm=true");
}

enum err
workspace_delete(struct call *c, struct error *e)
{
    struct family f = {.c = c};
    struct workspace_row w;
    struct id *all;
    size_t n;
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = store_read(c->api->o.store, family_tx, &f, e);
    if (code == ERR_OK)
        code = confirm(c, &w, &f, e);
    if (code != ERR_OK)
        return code;
    all = arena_array(&c->http->arena, f.n + 1, sizeof(*all));
    n = family_below(&f, c->id, all);
    /* Children first: what fails half-way leaves no orphans, and a repetition goes on from there.
     */
    for (size_t i = n; i-- > 0;) {
        code = agent_remove(c->api, c->org, all[i], e);
        if (code != ERR_OK && code != ERR_GONE)
            return code;
    }
    return call_answer(c, 200,
        json_pack("{s:s, s:I}", "status", "removed", "cascade_deleted", (json_int_t)(n - 1)));
}
