/* Orgs, for the admin. */
#include "api/budget.h"
#include "store/org_row.h"

enum { SLUG_MAX_BYTES = 63, NAME_MAX_BYTES = 255 };

static json_t *
org_json(const struct org_row *o)
{
    return json_pack("{s:o, s:o, s:o, s:b, s:o, s:I}", "id", json_id(o->id), "slug",
        json_str(o->slug), "name", json_str(o->name), "suspended", (int)o->suspended, "vendor_keys",
        json_str(org_vendor_keys_name(o->vendor_keys)), "created_at", (json_int_t)o->created_ms);
}

/* A slug must not read as an id: X-Molecule-Org-Id takes either. */
static bool
slug_is_valid(struct str s)
{
    struct id id;

    for (size_t i = 0; i < s.n; i++) {
        bool letter = s.p[i] >= 'a' && s.p[i] <= 'z';
        bool digit = s.p[i] >= '0' && s.p[i] <= '9';

        if (!letter && !digit && (s.p[i] != '-' || i == 0))
            return false;
    }
    return s.n > 0 && s.n <= SLUG_MAX_BYTES && !id_parse(s, &id);
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
    struct str policy = STR("reject");
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "slug", &org.slug, e);
    org.name = org.slug;
    if (code == ERR_OK)
        code = json_get_str(c->body, "name", &org.name, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "vendor_keys", &policy, e);
    if (code != ERR_OK)
        return code;
    if (!slug_is_valid(org.slug)) {
        return fail(e, ERR_INVALID_REQUEST,
            "a slug is made of a-z, 0-9 and -, at most %d, and is no UUID", SLUG_MAX_BYTES);
    }
    if (org.name.n > NAME_MAX_BYTES || memchr(org.name.p, '\n', org.name.n) != NULL)
        return fail(
            e, ERR_INVALID_REQUEST, "\"name\" is one line of at most %d bytes", NAME_MAX_BYTES);
    if (!org_vendor_keys_from_name(policy, &org.vendor_keys))
        return fail(e, ERR_INVALID_REQUEST, "vendor_keys is \"reject\" or \"allow\"");
    code = store_tx_durable(c->api->o.store, insert_tx, &org, e);
    if (code == ERR_CONFLICT)
        return fail(e, ERR_CONFLICT, "the slug \"%.*s\" is taken", STR_ARG(org.slug));
    /* Its default budget is in force before its first call. */
    if (code == ERR_OK)
        code = budgets_changed(c->api, e);
    return code == ERR_OK ? call_answer(c, 201, org_json(&org)) : code;
}

struct policy {
    struct call *c;
    struct org_row org;
    enum org_vendor_keys vendor_keys;
};

/* The org in the path goes by its id or its slug, as in X-Molecule-Org-Id. */
static enum err
policy_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct policy *p = ctx;
    struct arena *a = &p->c->http->arena;
    struct id id;
    enum err code = id_parse(p->c->name, &id) ? org_row_get(tx, id, a, &p->org, e)
                                              : org_row_get_by_slug(tx, p->c->name, a, &p->org, e);

    if (code == ERR_NOT_FOUND)
        return fail(e, code, "there is no org \"%.*s\"", STR_ARG(p->c->name));
    if (code == ERR_OK)
        code = org_row_set_vendor_keys(tx, p->org.id, p->vendor_keys, e);
    p->org.vendor_keys = p->vendor_keys;
    return code;
}

enum err
org_patch(struct call *c, struct error *e)
{
    struct policy p = {.c = c};
    struct str policy = STR_NONE;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "vendor_keys", &policy, e);
    if (code == ERR_OK && !org_vendor_keys_from_name(policy, &p.vendor_keys))
        return fail(e, ERR_INVALID_REQUEST, "vendor_keys is \"reject\" or \"allow\"");
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, policy_tx, &p, e);
    return code == ERR_OK ? call_answer(c, 200, org_json(&p.org)) : code;
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
