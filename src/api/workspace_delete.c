/* DELETE /workspaces/:id: asks to be told the name, takes the children along only when told so. */
#include "api/agent.h"
#include "api/family.h"
#include "api/wish.h"
#include "api/workspace.h"

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
    struct family f;
    struct workspace_row w;
    bool elsewhere = false; /* the nodes of some of them have yet to act */
    enum err code = workspace_load(c, &w, e);

    if (code == ERR_OK)
        code = family_load(c->api, &c->http->arena, c->org, c->id, &f, e);
    if (code == ERR_OK)
        code = confirm(c, &w, &f, e);
    if (code != ERR_OK)
        return code;
    /* Children first: what fails half-way leaves no orphans, and a repetition goes on from there.
     */
    for (size_t i = f.n; i-- > 0;) {
        code = agent_remove(c->api, c->org, f.rows[i].id, e);
        if (code != ERR_OK && code != ERR_GONE)
            return code;
        elsewhere = elsewhere || wish_is_elsewhere(c->api, &f.rows[i]);
    }
    return call_answer(c, elsewhere ? 202 : 200,
        json_pack("{s:s, s:I}", "status", elsewhere ? "removing" : "removed", "cascade_deleted",
            (json_int_t)(f.n - 1)));
}
