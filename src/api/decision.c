#include "api/decision.h"

#include "registry/explain.h"

static json_t *
names_json(const struct str *names, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_str(names[i]));
    return list;
}

static json_t *
secrets_json(const struct gathered *g)
{
    json_t *list = json_array();

    for (size_t i = 0; i < g->secrets_n; i++) {
        const struct env_secret *s = &g->secrets[i];

        json_array_append_new(list,
            json_pack("{s:o, s:o, s:b, s:I}", "name", json_str(s->name), "scope",
                json_str(env_scope_name(s->scope)), "blank", (int)s->value_blank, "bytes",
                (json_int_t)s->value_bytes));
    }
    return list;
}

/* What the plan was made from besides the decision: with it, the plan can be made again. */
static json_t *
platform_json(const struct plan *p)
{
    const struct env_plan_facts *f = &p->facts;
    json_t *identity = json_array();

    for (size_t i = 0; i < f->identity_n; i++) {
        json_array_append_new(identity,
            json_pack("{s:o, s:o}", "name", json_str(f->identity[i].name), "value",
                json_str(f->identity[i].literal)));
    }
    return json_pack("{s:I, s:b, s:o, s:b, s:b, s:o, s:o, s:o, s:o, s:o}", "at_ms",
        (json_int_t)f->now_ms, "gateway", (int)f->gateway_present, "keys",
        names_json(p->platform_keys, p->platform_keys_n), "refuse_shadowed",
        (int)f->refuse_shadowed, "workspace_token", (int)f->has_workspace_token, "openai_base_url",
        json_str(f->openai_base_url), "anthropic_base_url", json_str(f->anthropic_base_url),
        "usage_url", json_str(f->usage_url), "identity", identity, "required_env",
        names_json(f->required_env, f->required_env_n));
}

static json_t *
inputs_json(const struct gathered *g, const struct plan *plan)
{
    const struct workspace_row *w = &g->workspace;
    json_t *verified =
        plan == NULL || plan->verified == NULL ? json_null() : json_string(plan->verified);

    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", "runtime", json_str(w->runtime),
        "model", json_str(g->effective_model), "override",
        w->override_present ? json_str(w->override_raw) : json_null(), "secrets", secrets_json(g),
        "auth_names", names_json(g->auth_names, g->auth_names_n), "store_failed",
        (int)g->facts.store_failed, "platform", plan == NULL ? json_null() : platform_json(plan),
        "credential_check", verified);
}

void
decision_record(struct arena *arena, const struct registry *r, const struct gathered *g,
    const struct plan *plan, enum decision_kind kind, enum err refusal, struct id id,
    struct decision_row *ret)
{
    const struct billing_decision *d = &g->decision;
    AUTO_JSON json_t *j = NULL;
    char *text;

    j = json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "version", DECISION_RECORD_VERSION, "kind",
        json_str(decision_kind_name(kind)), "workspace_id", json_id(g->workspace.id), "inputs",
        inputs_json(g, plan), "decision", explain_json(&g->facts, d, &g->trace), "plan",
        plan == NULL ? json_null() : explain_plan_json(&plan->facts, &plan->env), "refusal",
        refusal == ERR_OK ? json_null() : json_string(err_name(refusal)));
    text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
    ENSURE(text != NULL);
    *ret = (struct decision_row){
        .id = id,
        .org = g->workspace.org,
        .workspace = g->workspace.id,
        .kind = kind,
        .code = refusal == ERR_OK ? STR("") : str_from_cstr(err_name(refusal)),
        .mode = billing_mode_name(d->mode),
        .source = billing_source_name(d->source),
        .provider = d->provider == NULL ? STR("") : registry_str(r, d->provider->name),
        .model = g->effective_model,
        .runtime = g->workspace.runtime,
        .json = arena_dup(arena, str_from_cstr(text)),
        .created_ms = clock_ms(),
    };
    memcpy(ret->registry_fingerprint, r->fingerprint, sizeof(ret->registry_fingerprint));
    json_wiping_free(text);
}
