/* GET /workspaces/:id/env: what a start would be given, with reasons and without a secret's value. */
#include "api/isolation.h"
#include "api/plan.h"
#include "api/verify.h"
#include "registry/explain.h"

/* The credential that the agent is meant to call with, and what its vendor said of it. */
static json_t *
credential_json(const struct plan *p, const struct verify_outcome *v)
{
    if (p->env.credential.n == 0)
        return json_null();
    return json_pack(
        "{s:o, s:s}", "name", json_str(p->env.credential), "check", verify_result_name(v->result));
}

/* It would be refused: as the plan's own refusals are told. */
static json_t *
refusal_json(const struct error *refusal, struct str subject)
{
    return json_pack("{s:s, s:s, s:o, s:n}", "code", err_name(refusal->code), "text", refusal->text,
        "subject", json_str(subject), "suggestion");
}

static void
add_check(struct call *c, const struct plan *p, const struct gathered *g, json_t *j)
{
    struct verify_outcome verified = {.result = VERIFY_NOT_ASKED};
    struct error refusal;
    json_t *warning;

    if (p->env.refusal == ENV_REFUSAL_NONE)
        verified = verify_plan(c->api, call_registry(c), g, p);
    json_object_set_new(j, "credential", credential_json(p, &verified));
    if (verify_refusal(c->api, &verified, &refusal) != ERR_OK)
        json_object_set_new(j, "refusal", refusal_json(&refusal, verified.name));
    warning = verify_warning(c->api, &verified);
    if (warning != NULL)
        json_array_append_new(json_object_get(j, "warnings"), warning);
}

enum err
workspace_env(struct call *c, struct error *e)
{
    /* With values, as a start has them: the vendor is asked about the credential. */
    struct gather_request q = {.caller = GATHER_PULL, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    struct plan plan;
    json_t *j, *decision;
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);

    if (code == ERR_OK && g.failure.code != ERR_OK) {
        *e = g.failure;
        code = e->code;
    }
    if (code != ERR_OK)
        return code;
    plan_make(c->api, &c->registry->set, &c->http->arena, &g, &plan);
    decision = explain_json(&g.facts, &g.decision, NULL);
    json_object_del(decision, "error");
    j = explain_plan_json(&plan.facts, &plan.env);
    json_array_extend(json_object_get(j, "warnings"), json_object_get(decision, "warnings"));
    add_check(c, &plan, &g, j);
    isolation_warn_of(c->api, &g.workspace, json_object_get(j, "warnings"));
    json_object_update_missing(j, decision);
    json_decref(decision);
    json_object_set_new(j, "workspace_id", json_id(c->id));
    return call_answer(c, 200, j);
}
