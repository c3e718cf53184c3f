/* The environment plan and its refusals in words: the second half of explain.h. */
#include "registry/explain.h"

#include "base/cleanup.h"

#define SENTENCE_BYTES_MAX 4096

static json_t *
json_of(struct str s)
{
    json_t *text = json_stringn(s.n == 0 ? "" : s.p, s.n);

    return text == NULL ? json_string("(not UTF-8)") : text;
}

static void
add_accepted_names(struct buf *out, const struct env_plan_facts *f)
{
    const struct registry_provider *p = f->decision->provider;

    for (uint32_t i = 0; i < p->auth_env.n; i++) {
        struct str name = registry_str(f->registry, registry_strs(f->registry, p->auth_env)[i]);

        buf_addf(out, "%s%.*s", i == 0 ? "" : " or ", STR_ARG(name));
    }
}

static void
add_missing_byok(struct buf *out, const struct env_plan_facts *f, const struct env_plan *plan)
{
    buf_add(out, STR("billing mode is byok but there is no credential "));
    if (f->decision->provider == NULL) {
        buf_add(out, STR("of any vendor; store the vendor's key"));
    } else {
        buf_addf(out, "that provider %.*s accepts; store ", STR_ARG(plan->subject));
        add_accepted_names(out, f);
    }
    buf_add(out, STR(" as a secret of the workspace or the org, or choose a platform model"));
}

static void
add_missing_proxy(struct buf *out, const struct env_plan *plan)
{
    if (str_equal(plan->subject, STR("gateway")))
        buf_add(out,
            STR("the platform's gateway is not there; an operator must start it, or the "
                "workspace can use a vendor's model with its own key"));
    else
        buf_addf(out,
            "the platform cannot serve this: there is no platform key or endpoint for \"%.*s\"; an "
            "operator can add the key with `purser platform key set`, or choose another model",
            STR_ARG(plan->subject));
}

static void
add_not_on_platform(struct buf *out, const struct env_plan *plan)
{
    buf_addf(out,
        "the workspace is platform_managed but \"%.*s\" is no model the platform can route and "
        "price; ",
        STR_ARG(plan->subject));
    if (plan->suggestion.n > 0)
        buf_addf(out, "use \"%.*s\", or clear the override", STR_ARG(plan->suggestion));
    else
        buf_add(out, STR("choose one from the runtime's offered models"));
}

void
explain_refusal_text(struct buf *out, const struct env_plan_facts *f, const struct env_plan *plan)
{
    switch (plan->refusal) {
    case ENV_REFUSAL_MISSING_BYOK_CREDENTIAL:
        add_missing_byok(out, f, plan);
        break;
    case ENV_REFUSAL_MISSING_PLATFORM_PROXY:
        add_missing_proxy(out, plan);
        break;
    case ENV_REFUSAL_MODEL_REQUIRED:
        buf_add(out,
            STR("the workspace is platform_managed and has no model; choose one from the "
                "runtime's offered models"));
        break;
    case ENV_REFUSAL_MODEL_NOT_ON_PLATFORM:
        add_not_on_platform(out, plan);
        break;
    case ENV_REFUSAL_OPERATOR_KEY_IN_ORG_SECRETS:
        buf_addf(out,
            "%.*s is an operator's credential and must not reach an agent; delete it from the "
            "org's secrets",
            STR_ARG(plan->subject));
        break;
    case ENV_REFUSAL_MISSING_REQUIRED_ENV:
        buf_addf(out, "the required variable %.*s is not there; store it as a secret",
            STR_ARG(plan->subject));
        break;
    case ENV_REFUSAL_SHADOWED_CREDENTIAL:
        buf_addf(out,
            "the agent would use %.*s instead of the resolved provider's credential; delete that "
            "secret or choose a model of its vendor",
            STR_ARG(plan->subject));
        break;
    case ENV_REFUSAL_ENVIRONMENT_TOO_LARGE:
        buf_addf(out,
            "the environment is too large at %.*s (128 KiB an entry, 1 MiB in all); shorten or "
            "delete secrets",
            STR_ARG(plan->subject));
        break;
    case ENV_REFUSAL_NONE:
    case ENV_REFUSAL_COUNT:
        break;
    }
}

static void
add_shadow_text(struct buf *out, const struct env_plan *plan)
{
    buf_addf(out,
        "this runtime prefers %.*s to the credential of the resolved provider, so the agent would "
        "call another vendor than the decision names",
        STR_ARG(plan->shadowed_by));
}

static json_t *
refusal_json(const struct env_plan_facts *f, const struct env_plan *plan)
{
    AUTO_BUF struct buf text;

    buf_init(&text, SENTENCE_BYTES_MAX);
    if (plan->refusal == ENV_REFUSAL_NONE)
        return json_null();
    explain_refusal_text(&text, f, plan);
    return json_pack("{so so so so}", "code", json_of(env_refusal_name(plan->refusal)), "text",
        json_of(buf_str(&text)), "subject",
        plan->subject.n == 0 ? json_null() : json_of(plan->subject), "suggestion",
        plan->suggestion.n == 0 ? json_null() : json_of(plan->suggestion));
}

static json_t *
row_json(const struct env_row *row)
{
    bool is_secret = row->action != ENV_SET;

    return json_pack("{so so so so so ss}", "name", json_of(row->name), "action",
        json_of(env_action_name(row->action)), "source", json_of(env_source_name(row->source)),
        "scope", is_secret ? json_of(env_scope_name(row->scope)) : json_null(), "value",
        row->literal.n == 0 ? json_null() : json_of(row->literal), "reason", row->reason);
}

/* What stands in a file, with "${NAME}" where a variable's value will be. */
static void
add_file_content(struct buf *out, const struct env_file *file)
{
    for (size_t i = 0; i < file->parts_n; i++) {
        const struct env_part *part = &file->parts[i];

        if (part->of == ENV_PART_WORKSPACE_TOKEN)
            buf_add(out, STR("(the workspace token of this start)"));
        else
            buf_addf(out, part->of == ENV_PART_VARIABLE ? "${%.*s}" : "%.*s", STR_ARG(part->text));
    }
}

static json_t *
file_json(const struct env_file *file)
{
    AUTO_BUF struct buf content;

    buf_init(&content, SENTENCE_BYTES_MAX * 4);
    add_file_content(&content, file);
    return json_pack("{so ss sb so}", "path", json_of(file->path), "mode", "0600", "refreshed",
        (int)file->refreshed, "content", json_of(buf_str(&content)));
}

json_t *
explain_plan_json(const struct env_plan_facts *f, const struct env_plan *plan)
{
    json_t *env = json_array();
    json_t *warnings = json_array();
    json_t *files = json_array();
    AUTO_BUF struct buf text;

    buf_init(&text, SENTENCE_BYTES_MAX);
    for (size_t i = 0; i < plan->n; i++)
        json_array_append_new(env, row_json(&plan->rows[i]));
    for (size_t i = 0; i < plan->files_n; i++)
        json_array_append_new(files, file_json(&plan->files[i]));
    if ((plan->warnings & ENV_WARN_SHADOWED_CREDENTIAL) != 0) {
        add_shadow_text(&text, plan);
        json_array_append_new(warnings,
            json_pack("{ss so}", "code", "SHADOWED_CREDENTIAL", "text", json_of(buf_str(&text))));
    }
    return json_pack("{so so sb so so}", "refusal", refusal_json(f, plan), "warnings", warnings,
        "needs_usage_token", plan->needs_usage_token, "env", env, "files", files);
}

static void
add_row(struct buf *out, const struct env_row *row)
{
    buf_addf(out, "|  +- %-5.*s %.*s", STR_ARG(env_action_name(row->action)), STR_ARG(row->name));
    if (row->action != ENV_SET)
        buf_addf(out, " (%.*s)", STR_ARG(env_scope_name(row->scope)));
    else if (row->source == ENV_FROM_USAGE_TOKEN)
        buf_add(out, STR(" = the usage token"));
    else
        buf_addf(out, " = %.*s", STR_ARG(row->literal));
    buf_addf(out, "\n|  |    %s\n", row->reason);
}

void
explain_plan_text(struct buf *out, const struct env_plan_facts *f, const struct env_plan *plan)
{
    buf_add(out, STR("+- environment\n"));
    for (size_t i = 0; i < plan->n; i++)
        add_row(out, &plan->rows[i]);
    for (size_t i = 0; i < plan->files_n; i++) {
        buf_addf(out, "|  +- file  ~/%.*s%s\n", STR_ARG(plan->files[i].path),
            plan->files[i].refreshed ? " (the agent renews it)" : "");
    }
    if ((plan->warnings & ENV_WARN_SHADOWED_CREDENTIAL) != 0) {
        buf_add(out, STR("+- warning SHADOWED_CREDENTIAL: "));
        add_shadow_text(out, plan);
        buf_add_char(out, '\n');
    }
    if (plan->refusal == ENV_REFUSAL_NONE) {
        buf_add(out, STR("+- start: allowed\n"));
        return;
    }
    buf_addf(out, "+- start: refused, %.*s: ", STR_ARG(env_refusal_name(plan->refusal)));
    explain_refusal_text(out, f, plan);
    buf_add_char(out, '\n');
}
