/* Orgs, for the admin: made, shown, renamed. Their export, suspension and end: org_*.c. */
#include "api/org.h"

#include "api/budget.h"

enum { SLUG_MAX_BYTES = 63, NAME_MAX_BYTES = 255 };

json_t *
org_json(const struct org_row *o)
{
    return json_pack("{s:o, s:o, s:o, s:b, s:o, s:I}", "id", json_id(o->id), "slug",
        json_str(o->slug), "name", json_str(o->name), "suspended", (int)o->suspended, "vendor_keys",
        json_str(org_vendor_keys_name(o->vendor_keys)), "created_at", (json_int_t)o->created_ms);
}

/* As a label of a host name; and it must not read as an id: X-Molecule-Org-Id takes either. */
static enum err
slug_check(struct str s, struct error *e)
{
    bool good = s.n > 0 && s.n <= SLUG_MAX_BYTES && s.p[0] != '-' && s.p[s.n - 1] != '-';
    struct id id;

    for (size_t i = 0; good && i < s.n; i++)
        good =
            (s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '-';
    if (good && !id_parse(s, &id))
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST,
        "a slug is made of a-z, 0-9 and - (not first, not last), at most %d, and is no UUID",
        SLUG_MAX_BYTES);
}

/* What the body says; the rest stays as *o has it. */
static enum err
org_read(struct call *c, struct org_row *o, struct error *e)
{
    struct str policy = org_vendor_keys_name(o->vendor_keys);
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "slug", &o->slug, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "name", &o->name, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "vendor_keys", &policy, e);
    if (code == ERR_OK)
        code = slug_check(o->slug, e);
    if (code != ERR_OK)
        return code;
    if (o->name.n > NAME_MAX_BYTES || str_find_char(o->name, '\n') < o->name.n)
        return fail(
            e, ERR_INVALID_REQUEST, "\"name\" is one line of at most %d bytes", NAME_MAX_BYTES);
    if (!org_vendor_keys_from_name(policy, &o->vendor_keys))
        return fail(e, ERR_INVALID_REQUEST, "vendor_keys is \"reject\" or \"allow\"");
    return ERR_OK;
}

static enum err
slug_taken(enum err code, const struct org_row *o, struct error *e)
{
    if (code != ERR_CONFLICT)
        return code;
    return fail(e, ERR_CONFLICT, "the slug \"%.*s\" is taken", STR_ARG(o->slug));
}

static enum err
insert_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    return org_row_insert(tx, ctx, e);
}

enum err
org_create(struct call *c, struct error *e)
{
    struct org_row org = {.id = id_new(), .created_ms = clock_ms()};
    enum err code = org_read(c, &org, e);

    if (code == ERR_OK && org.name.n == 0)
        org.name = org.slug;
    if (code == ERR_OK)
        code = slug_taken(store_tx_durable(c->api->o.store, insert_tx, &org, e), &org, e);
    /* Its default budget is in force before its first call. */
    if (code == ERR_OK)
        code = budgets_changed(c->api, e);
    return code == ERR_OK ? call_answer(c, 201, org_json(&org)) : code;
}

enum err
org_find_tx(struct store_tx *tx, struct call *c, struct org_row *ret, struct error *e)
{
    struct arena *a = &c->http->arena;
    struct id id;
    enum err code = id_parse(c->name, &id) ? org_row_get(tx, id, a, ret, e)
                                           : org_row_get_by_slug(tx, c->name, a, ret, e);

    if (code != ERR_NOT_FOUND)
        return code;
    return fail(e, code, "there is no org \"%.*s\" (purser org list)", STR_ARG(c->name));
}

struct one {
    struct call *c;
    struct org_row org;
};

static enum err
get_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct one *o = ctx;

    return org_find_tx(tx, o->c, &o->org, e);
}

enum err
org_get(struct call *c, struct error *e)
{
    struct one o = {.c = c};
    enum err code = store_read(c->api->o.store, get_tx, &o, e);

    return code == ERR_OK ? call_answer(c, 200, org_json(&o.org)) : code;
}

static enum err
patch_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct one *o = ctx;
    enum err code = org_find_tx(tx, o->c, &o->org, e);

    if (code == ERR_OK)
        code = org_read(o->c, &o->org, e);
    return code == ERR_OK ? slug_taken(org_row_update(tx, &o->org, e), &o->org, e) : code;
}

enum err
org_patch(struct call *c, struct error *e)
{
    struct one o = {.c = c};
    enum err code = call_body(c, false, e);

    if (code == ERR_OK && json_object_get(c->body, "slug") == NULL &&
        json_object_get(c->body, "name") == NULL && json_object_get(c->body, "vendor_keys") == NULL)
        return fail(
            e, ERR_INVALID_REQUEST, "say what to change: \"slug\", \"name\" or \"vendor_keys\"");
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, patch_tx, &o, e);
    return code == ERR_OK ? call_answer(c, 200, org_json(&o.org)) : code;
}

struct list {
    struct arena *arena;
    struct org_row *rows;
    size_t n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct list *l = ctx;

    return org_row_list(tx, l->arena, &l->rows, &l->n, e);
}

enum err
org_list(struct call *c, struct error *e)
{
    struct list l = {.arena = &c->http->arena};
    enum err code = store_read(c->api->o.store, list_tx, &l, e);
    json_t *list;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < l.n; i++)
        json_array_append_new(list, org_json(&l.rows[i]));
    return call_answer(c, 200, list);
}
