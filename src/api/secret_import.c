/* Many secrets in one request: all of them are stored, or none. */
#include "api/comingling.h"
#include "api/restart.h"

enum { IMPORT_MAX = 256 };

struct import {
    struct call *c;
    struct id workspace; /* zero: org scope */
    bool dry_run;
    struct secret_write *writes;
    size_t n;
    json_t *refused; /* [{key, code, error}] */
    struct error first;
};

static void
refuse(struct import *i, struct str key, const struct error *e)
{
    if (json_array_size(i->refused) == 0)
        i->first = *e;
    json_array_append_new(i->refused,
        json_pack(
            "{s:o, s:s, s:s}", "key", json_str(key), "code", err_name(e->code), "error", e->text));
    json_decref(TAKE(i->c->error_fields)); /* a gate's: they were about this key alone */
}

static bool
is_there_twice(const struct import *i, struct str name)
{
    for (size_t k = 0; k < i->n; k++) {
        if (str_equal(i->writes[k].name, name))
            return true;
    }
    return false;
}

/* What a name and its value alone tell. */
static enum err
read_body(struct import *i, struct error *e)
{
    struct call *c = i->c;
    struct arena *a = &c->http->arena;
    const char *key;
    json_t *map, *v;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_bool(c->body, "dry_run", &i->dry_run, e);
    if (code != ERR_OK)
        return code;
    map = json_object_get(c->body, "secrets");
    if (!json_is_object(map) || json_object_size(map) == 0)
        return fail(e, ERR_INVALID_REQUEST, "\"secrets\" must be an object of names and values");
    if (json_object_size(map) > IMPORT_MAX)
        return fail(e, ERR_INVALID_REQUEST, "at most %d secrets at once", IMPORT_MAX);
    i->writes = arena_array(a, json_object_size(map), sizeof(*i->writes));
    json_object_foreach(map, key, v)
    {
        struct str value = {json_string_value(v), json_string_length(v)};
        struct error why;

        if (!json_is_string(v))
            code = fail(&why, ERR_INVALID_REQUEST, "its value is not a string");
        else
            code = secret_check(a, str_from_cstr(key), value, &i->writes[i->n], &why);
        if (code == ERR_OK && is_there_twice(i, i->writes[i->n].name))
            code =
                fail(&why, ERR_INVALID_REQUEST, "%.*s stands twice", STR_ARG(i->writes[i->n].name));
        if (code == ERR_OK)
            i->n++;
        else
            refuse(i, str_from_cstr(key), &why);
    }
    return ERR_OK;
}

/* The gate of the scope, for each name by itself: what else is imported opens nothing. */
static enum err
pass_gates(struct import *i, struct error *e)
{
    struct call *c = i->c;
    struct gather_request q = {
        .caller = GATHER_WRITE_GATE, .org = c->org, .workspace = i->workspace};
    AUTO_GATHERED struct gathered g = {0};
    size_t kept = 0;
    enum err code = ERR_OK;

    if (!id_is_zero(i->workspace))
        code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);
    if (code != ERR_OK)
        return code;
    for (size_t k = 0; k < i->n; k++) {
        struct str name = i->writes[k].name;
        struct error why;

        code = id_is_zero(i->workspace) ? secret_org_gate(c, name, &why)
                                        : secret_gate(c, &g, name, i->workspace, &why);
        if (code == ERR_STORE_UNAVAILABLE || code == ERR_NOT_FOUND) {
            *e = why;
            return code;
        }
        if (code == ERR_OK)
            i->writes[kept++] = i->writes[k];
        else
            refuse(i, name, &why);
    }
    i->n = kept;
    return ERR_OK;
}

/* What only the store knows. A dry run asks it, too, and writes nothing. */
static enum err
compare_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct import *i = ctx;
    size_t kept = 0;

    for (size_t k = 0; k < i->n; k++) {
        struct error why;
        enum err code = comingling_platform_tx(tx, i->c->api, &i->writes[k], &why);

        if (code == ERR_PLATFORM_KEY_IN_TENANT_STORE) {
            refuse(i, i->writes[k].name, &why);
            continue;
        }
        if (code != ERR_OK) {
            *e = why;
            return code;
        }
        i->writes[kept++] = i->writes[k];
    }
    i->n = kept;
    return ERR_OK;
}

static enum err
store_all_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct import *i = ctx;

    return secret_store_tx(tx, i->c, i->workspace, i->writes, i->n, e);
}

static json_t *
names_json(const struct import *i)
{
    json_t *list = json_array();

    for (size_t k = 0; k < i->n; k++)
        json_array_append_new(list, json_str(i->writes[k].name));
    return list;
}

static enum err
refused_answer(struct import *i, struct error *e)
{
    size_t refused = json_array_size(i->refused);

    call_error_field(i->c, "refused", TAKE(i->refused));
    return fail(e, i->first.code, "nothing was stored, since %zu of %zu names are refused: %.300s",
        refused, refused + i->n, i->first.text);
}

/* Restarts and warnings, name by name. */
static json_t *
after_all(struct import *i)
{
    json_t *warnings = json_array();

    for (size_t k = 0; k < i->n; k++) {
        size_t inheritors = 0;

        if (id_is_zero(i->workspace) && !i->dry_run)
            inheritors = secret_restart_inheritors(i->c, i->writes[k].name);
        secret_warn(i->c, i->workspace, &i->writes[k], inheritors, warnings);
    }
    if (!id_is_zero(i->workspace) && !i->dry_run)
        restart_soon(i->c->api, i->c->org, i->workspace);
    return warnings;
}

static enum err
import_all(struct import *i, struct error *e)
{
    struct store *store = i->c->api->o.store;
    enum err code = read_body(i, e);

    if (code == ERR_OK)
        code = pass_gates(i, e);
    if (code == ERR_OK)
        code = store_read(store, compare_tx, i, e);
    if (code != ERR_OK)
        return code;
    if (i->dry_run)
        return call_answer(i->c, 200,
            json_pack("{s:s, s:o, s:o, s:o}", "status", "checked", "would_write", names_json(i),
                "refused", TAKE(i->refused), "warnings", after_all(i)));
    if (json_array_size(i->refused) > 0)
        return refused_answer(i, e);
    code = store_tx_durable(store, store_all_tx, i, e);
    if (code != ERR_OK)
        return code;
    return call_answer(i->c, 200,
        json_pack("{s:s, s:o, s:o}", "status", "saved", "written", names_json(i), "warnings",
            after_all(i)));
}

static enum err
import_into(struct call *c, struct id workspace, struct error *e)
{
    struct import i = {.c = c, .workspace = workspace, .refused = json_array()};
    enum err code = import_all(&i, e);

    json_decref(i.refused);
    return code;
}

enum err
secret_import(struct call *c, struct error *e)
{
    return import_into(c, c->id, e);
}

enum err
org_secret_import(struct call *c, struct error *e)
{
    return import_into(c, (struct id){0}, e);
}
