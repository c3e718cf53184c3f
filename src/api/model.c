/* The model of a workspace (its secret MODEL), the runtime's menu, and the retired /provider. */
#include "api/agent.h"
#include "api/restart.h"
#include "api/secret.h"
#include "store/event_row.h"

enum { MODEL_MAX_BYTES = 100 };

enum err
model_get(struct call *c, struct error *e)
{
    struct gather_request q = {.caller = GATHER_READ, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    const char *source = "default";
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);

    if (code == ERR_OK && g.failure.code != ERR_OK) {
        *e = g.failure;
        code = e->code;
    }
    if (code != ERR_OK)
        return code;
    /* In the order of the effective model: MOLECULE_MODEL goes before MODEL. */
    for (int round = 0; round < 2 && g.effective_model.n > 0 && strcmp(source, "default") == 0;
         round++) {
        struct str name = round == 0 ? STR("MOLECULE_MODEL") : STR("MODEL");

        for (size_t i = 0; i < g.secrets_n; i++) {
            if (str_equal(g.secrets[i].name, name) && !g.secrets[i].value_blank) {
                source =
                    g.secrets[i].scope == ENV_SCOPE_ORG ? "global_secrets" : "workspace_secrets";
            }
        }
    }
    return call_answer(
        c, 200, json_pack("{s:o, s:s}", "model", json_str(g.effective_model), "source", source));
}

struct model_write {
    struct call *c;
    struct secret_write secret;
};

static enum err
model_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct model_write *m = ctx;
    struct call *c = m->c;
    struct event_row event = {.org = c->org,
        .workspace = c->id,
        .type = STR("model.set"),
        .json = STR("{}"),
        .created_ms = clock_ms()};
    struct workspace_row w;
    enum err code = workspace_row_get(tx, c->org, c->id, &c->http->arena, &w, e);

    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    if (w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (m->secret.value.n > 0) {
        code = secret_put_tx(tx, c->api, &c->http->arena, c->org, c->id, &m->secret, e);
    } else {
        code = secret_row_delete(tx, c->org, c->id, m->secret.name, e);
        code = code == ERR_NOT_FOUND ? ERR_OK : code;
    }
    return code != ERR_OK ? code : event_row_append(tx, &event, NULL, e);
}

enum err
model_put(struct call *c, struct error *e)
{
    struct model_write m = {.c = c, .secret = {.name = STR("MODEL")}};
    json_t *v;
    enum err code = call_body(c, false, e);

    if (code != ERR_OK)
        return code;
    v = json_object_get(c->body, "model");
    if (v == NULL || (!json_is_string(v) && !json_is_null(v)))
        return fail(e, ERR_INVALID_REQUEST, "\"model\" must be a string (empty: no model)");
    m.secret.value = str_trim((struct str){json_string_value(v), json_string_length(v)});
    if (m.secret.value.n > MODEL_MAX_BYTES ||
        str_find_char(m.secret.value, '\n') < m.secret.value.n)
        return fail(
            e, ERR_INVALID_REQUEST, "\"model\" is one line of at most %d bytes", MODEL_MAX_BYTES);
    code = store_tx_durable(c->api->o.store, model_tx, &m, e);
    if (code != ERR_OK)
        return code;
    restart_soon(c->api, c->org, c->id);
    if (m.secret.value.n == 0)
        return call_answer(c, 200, json_pack("{s:s}", "status", "cleared"));
    return call_answer(
        c, 200, json_pack("{s:s, s:o}", "status", "saved", "model", json_str(m.secret.value)));
}

enum err
provider_retired(struct call *c, struct error *e)
{
    return fail(e, ERR_PROVIDER_ENDPOINT_RETIRED,
        "a provider is no longer stored: it follows from the model (PUT /workspaces/:id/model)");
}

struct menu {
    struct call *c;
    struct str runtime;
    struct secret_row *secrets; /* the org's own, when one was chosen */
    size_t secrets_n;
};

static enum err
menu_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct menu *m = ctx;

    if (id_is_zero(m->c->org))
        return ERR_OK;
    return secret_row_list(
        tx, m->c->org, (struct id){0}, &m->c->http->arena, &m->secrets, &m->secrets_n, e);
}

/* Could a workspace of this org use it now, with nothing of its own added? */
static bool
is_satisfied(const struct menu *m, const struct registry_provider *p, struct str model)
{
    const struct registry *r = call_registry(m->c);
    const struct registry_platform_model *platform = registry_platform_model_find(r, model);

    if (p->is_platform) {
        return platform != NULL &&
            edge_has_platform_key(m->c->api->o.edge,
                registry_str(r, registry_provider_at(r, platform->provider)->name));
    }
    for (size_t i = 0; i < m->secrets_n; i++) {
        if (registry_list_has_name(r, p->auth_env, m->secrets[i].name))
            return true;
    }
    return false;
}

/* One id of the menu, derived as everywhere else; NULL when it does not derive. */
static json_t *
offered_json(const struct menu *m, struct str model)
{
    const struct registry *r = call_registry(m->c);
    struct derive_input in = {.registry = r,
        .match = m->c->registry->set.match,
        .match_ctx = m->c->registry->set.match_ctx,
        .runtime = m->runtime,
        .model = model};
    const struct registry_provider *p = derive(&in, NULL).provider;
    json_t *auth;

    if (p == NULL)
        return NULL;
    auth = json_array();
    for (uint32_t i = 0; i < p->auth_env.n; i++) {
        json_array_append_new(auth, json_str(registry_str(r, registry_strs(r, p->auth_env)[i])));
    }
    return json_pack("{s:o, s:o, s:o, s:b, s:o, s:b}", "id", json_str(model), "model",
        json_str(model), "provider", json_str(registry_str(r, p->name)), "platform_billed",
        (int)p->is_platform, "auth_env", auth, "satisfied", (int)is_satisfied(m, p, model));
}

static bool
is_listed(json_t *list, struct str id)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_object_get(json_array_get(list, i), "id"));

        if (str_equal(id, str_from_cstr(text)))
            return true;
    }
    return false;
}

enum err
offered_models(struct call *c, struct error *e)
{
    const struct registry *r = call_registry(c);
    const struct registry_runtime *rt;
    struct menu m = {.c = c};
    json_t *list;
    enum err code;

    if (!http_query_get(c->http, STR("runtime"), &m.runtime) || str_trim(m.runtime).n == 0)
        return fail(e, ERR_INVALID_REQUEST, "?runtime= is required");
    m.runtime = str_trim(m.runtime);
    code = store_read(c->api->o.store, menu_tx, &m, e);
    if (code != ERR_OK)
        return code;
    rt = registry_runtime_find(r, m.runtime);
    list = json_array();
    for (uint32_t i = 0; rt != NULL && i < rt->arms.n; i++) {
        struct rlist models = registry_arms(r, rt)[i].models;

        for (uint32_t k = 0; k < models.n; k++) {
            struct str id = registry_str(r, registry_strs(r, models)[k]);
            json_t *item = is_listed(list, id) ? NULL : offered_json(&m, id);

            if (item != NULL)
                json_array_append_new(list, item);
        }
    }
    return call_answer(c, 200, list);
}
