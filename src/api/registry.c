/* The registry in force: GET /templates shows what it offers, POST /admin/registry/reload renews it.
 */
#include "api/impl.h"

#include "core/derive.h"

enum err
registry_reload(struct call *c, struct error *e)
{
    struct api *a = c->api;
    struct registry_ref *now;
    bool changed = false;
    json_t *j;
    enum err code;

    if (a->o.reload_registry == NULL)
        return fail(e, ERR_INTERNAL, "this server cannot reload its registry");
    code = a->o.reload_registry(a->o.reload_ctx, &changed, e);
    if (code != ERR_OK)
        return code;
    now = api_registry_acquire(a);
    j = json_pack("{s:s, s:o}", "status", changed ? "reloaded" : "unchanged",
        "registry_fingerprint",
        json_hex(now->set.registry->fingerprint, sizeof(now->set.registry->fingerprint)));
    api_registry_release(a, now);
    return call_answer(c, 200, j);
}

/* Who pays for what this provider serves; nobody's keys are asked. */
static const char *
payer(const struct registry_provider *p)
{
    return p->is_platform ? "platform_managed" : "byok";
}

static json_t *
names_json(const struct registry *r, struct rlist names)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < names.n; i++)
        json_array_append_new(list, json_str(registry_str(r, registry_strs(r, names)[i])));
    return list;
}

static json_t *
providers_json(const struct registry *r, const struct registry_runtime *rt)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        const struct registry_provider *p =
            registry_provider_at(r, registry_arms(r, rt)[i].provider);

        json_array_append_new(list,
            json_pack("{s:o, s:o, s:o, s:s, s:b}", "name", json_str(registry_str(r, p->name)),
                "display_name", json_str(registry_str(r, p->display_name)), "auth_env",
                names_json(r, p->auth_env), "billing_mode", payer(p), "deprecated", 0));
    }
    return list;
}

/* Every listed id once, with the provider it has before any credential is there. */
static json_t *
models_json(const struct api_registry *set, const struct registry_runtime *rt)
{
    const struct registry *r = set->registry;
    json_t *list = json_array();
    AUTO_JSON json_t *seen = json_object();

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        struct rlist models = registry_arms(r, rt)[i].models;

        for (uint32_t k = 0; k < models.n; k++) {
            struct str id = registry_str(r, registry_strs(r, models)[k]);
            struct derive_input in = {.registry = r,
                .match = set->match,
                .match_ctx = set->match_ctx,
                .runtime = registry_str(r, rt->name),
                .model = id};
            const struct registry_provider *p = derive(&in, NULL).provider;

            if (p == NULL || json_object_getn(seen, id.p, id.n) != NULL)
                continue;
            json_object_setn_new(seen, id.p, id.n, json_true());
            json_array_append_new(list,
                json_pack("{s:o, s:o, s:s}", "id", json_str(id), "provider",
                    json_str(registry_str(r, p->name)), "billing_mode", payer(p)));
        }
    }
    return list;
}

/* One template for each runtime of the registry. */
enum err
template_list(struct call *c, struct error *e)
{
    const struct registry *r = call_registry(c);
    json_t *list = json_array();

    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        const struct registry_runtime *rt = registry_runtime_at(r, i);
        struct str name = registry_str(r, rt->name);

        json_array_append_new(list,
            json_pack("{s:o, s:o, s:o, s:b, s:o, s:o}", "id",
                json_str(arena_printf(&c->http->arena, "%.*s-default", STR_ARG(name))), "name",
                json_str(name), "runtime", json_str(name), "registry_backed", 1,
                "registry_providers", providers_json(r, rt), "registry_models",
                models_json(&c->registry->set, rt)));
    }
    return call_answer(c, 200, list);
}
