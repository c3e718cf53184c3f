#include "api/decision.h"

#include "registry/explain.h"

static json_t *
inputs_json(const struct gathered *g)
{
    json_t *secrets = json_array();
    json_t *auth = json_array();
    const struct workspace_row *w = &g->workspace;

    for (size_t i = 0; i < g->secrets_n; i++) {
        const struct env_secret *s = &g->secrets[i];

        json_array_append_new(
            secrets, json_pack("{s:o, s:s, s:b, s:I}", "name", json_str(s->name), "scope",
                         s->scope == ENV_SCOPE_ORG ? "org" : "workspace", "blank",
                         (int)s->value_blank, "bytes", (json_int_t)s->value_bytes));
    }
    for (size_t i = 0; i < g->auth_names_n; i++)
        json_array_append_new(auth, json_str(g->auth_names[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b}", "runtime", json_str(w->runtime), "model",
        json_str(g->effective_model), "override",
        w->override_present ? json_str(w->override_raw) : json_null(), "secrets", secrets,
        "auth_names", auth, "store_failed", (int)g->facts.store_failed);
}

void
decision_record(struct arena *arena, const struct registry *r, const struct gathered *g,
    const struct plan *plan, enum decision_kind kind, enum err refusal, struct id id,
    struct decision_row *ret)
{
    const struct billing_decision *d = &g->decision;
    AUTO_JSON json_t *j = NULL;
    char *text;

    j = json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:o}", "version", 1, "kind",
        json_str(decision_kind_name(kind)), "workspace_id", json_id(g->workspace.id), "inputs",
        inputs_json(g), "decision", explain_json(&g->facts, d, &g->trace), "plan",
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
