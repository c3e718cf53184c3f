#include "api/plan.h"

#include "registry/explain.h"

enum { IDENTITY_MAX = 8 };

bool
plan_runtime_is_external(struct str runtime)
{
    return str_equal(runtime, STR("external")) || str_equal(runtime, STR("kimi")) ||
        str_equal(runtime, STR("kimi-cli"));
}

struct str
plan_home(const struct api *a, struct arena *arena, struct id workspace)
{
    char text[ID_TEXT_BYTES];

    id_text(workspace, text);
    return arena_printf(arena, "%.*s/%s", STR_ARG(a->o.homes_dir), text);
}

struct str *
plan_list(struct arena *arena, struct str json, size_t *ret_n)
{
    AUTO_JSON json_t *j = json_loadb(json.p, json.n, 0, NULL);
    size_t n = json_array_size(j);
    struct str *list = arena_array(arena, n + 1, sizeof(*list));

    for (size_t i = 0; i < n; i++) {
        json_t *item = json_array_get(j, i);

        list[i] = arena_dup(arena, (struct str){json_string_value(item), json_string_length(item)});
    }
    *ret_n = n;
    return list;
}

struct identity {
    struct env_row rows[IDENTITY_MAX];
    size_t n;
};

static void
identity_add(struct identity *id, struct str name, struct str value, const char *reason)
{
    if (value.n == 0)
        return;
    ENSURE(id->n < IDENTITY_MAX);
    id->rows[id->n++] = (struct env_row){.name = name,
        .action = ENV_SET,
        .source = ENV_FROM_IDENTITY,
        .literal = value,
        .reason = reason};
}

static struct str
id_str(struct arena *arena, struct id id)
{
    char text[ID_TEXT_BYTES];

    if (id_is_zero(id))
        return STR_NONE;
    id_text(id, text);
    return arena_dup(arena, str_from_cstr(text));
}

static void
identity_fill(struct api *a, struct arena *arena, const struct gathered *g, struct identity *id)
{
    const struct workspace_row *w = &g->workspace;
    struct str url = edge_public_url(a->o.edge);

    identity_add(id, STR("WORKSPACE_ID"), id_str(arena, w->id), "which workspace this is");
    identity_add(id, STR("PLATFORM_URL"), url, "where the platform answers");
    identity_add(id, STR("MOLECULE_URL"), url, "where the platform answers");
    identity_add(id, STR("MOLECULE_AGENT_ROLE"), w->role, "the workspace's role");
    identity_add(id, STR("PARENT_ID"), id_str(arena, w->parent), "the parent workspace");
    if (!plan_runtime_is_external(w->runtime) && !id_is_zero(w->id) && !g->elsewhere) {
        identity_add(id, STR("HOME"), plan_home(a, arena, w->id), "a home of its own");
    }
}

static void
list_platform_keys(struct api *a, const struct registry *r, struct arena *arena, struct plan *ret)
{
    ret->platform_keys = arena_array(arena, r->providers.n + 1, sizeof(*ret->platform_keys));
    ret->platform_keys_n = 0;
    for (uint32_t i = 0; i < r->providers.n; i++) {
        struct str name = registry_str(r, registry_provider_at(r, i)->name);

        if (edge_has_platform_key(a->o.edge, name))
            ret->platform_keys[ret->platform_keys_n++] = arena_dup(arena, name);
    }
}

bool
plan_platform_key_present(
    const struct registry *r, struct str model, const struct str *keys, size_t keys_n)
{
    const struct registry_platform_model *m = registry_platform_model_find(r, model);

    for (size_t i = 0; m != NULL && i < keys_n; i++) {
        if (str_equal(registry_str(r, registry_provider_at(r, m->provider)->name), keys[i]))
            return true;
    }
    return false;
}

void
plan_make(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct gathered *g, struct plan *ret)
{
    struct str url = edge_public_url(a->o.edge);
    struct identity *identity = arena_alloc(arena, sizeof(*identity));

    identity_fill(a, arena, g, identity);
    list_platform_keys(a, registry->registry, arena, ret);
    ret->verified = NULL;
    ret->facts = (struct env_plan_facts){
        .registry = registry->registry,
        .decision = &g->decision,
        .runtime = g->workspace.runtime,
        .effective_model = g->effective_model,
        .secrets = g->secrets,
        .secrets_n = g->secrets_n,
        .gateway_present = edge_gateway_present(a->o.edge),
        .platform_key_present = plan_platform_key_present(
            registry->registry, g->effective_model, ret->platform_keys, ret->platform_keys_n),
        .refuse_shadowed = a->o.refuse_shadowed,
        .has_workspace_token = !plan_runtime_is_external(g->workspace.runtime) && !g->elsewhere,
        .now_ms = clock_ms(),
        .openai_base_url = arena_printf(arena, "%.*s/api/v1/internal/llm/openai/v1", STR_ARG(url)),
        .anthropic_base_url =
            arena_printf(arena, "%.*s/api/v1/internal/llm/anthropic", STR_ARG(url)),
        .usage_url = arena_printf(arena, "%.*s/api/v1/internal/llm/usage", STR_ARG(url)),
        .identity = identity->rows,
        .identity_n = identity->n,
    };
    ret->facts.required_env =
        plan_list(arena, g->workspace.required_env, &ret->facts.required_env_n);
    ret->env = (struct env_plan){
        .rows = arena_array(arena, ENV_PLAN_ROWS_MAX, sizeof(struct env_row)),
        .rows_max = ENV_PLAN_ROWS_MAX,
    };
    env_plan_make(&ret->facts, &ret->env);
}

void
plan_warnings(const struct gathered *g, const struct plan *p, json_t *list)
{
    AUTO_JSON json_t *plan = explain_plan_json(&p->facts, &p->env);
    AUTO_JSON json_t *decision = explain_json(&g->facts, &g->decision, NULL);

    json_array_extend(list, json_object_get(decision, "warnings"));
    json_array_extend(list, json_object_get(plan, "warnings"));
}

enum err
plan_refusal(const struct plan *p, struct error *e)
{
    AUTO_BUF struct buf text = {0};
    enum err code = err_from_name(env_refusal_name(p->env.refusal));

    if (p->env.refusal == ENV_REFUSAL_NONE)
        return ERR_OK;
    ENSURE(code != ERR_OK);
    buf_init(&text, sizeof(e->text) - 1);
    explain_refusal_text(&text, &p->facts, &p->env);
    return fail(e, code, "%s", buf_cstr(&text));
}
