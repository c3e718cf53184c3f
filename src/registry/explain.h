/*
 * Decisions in words, for people (a readable tree) and for programs (JSON). The one place where a
 * trace, a plan and a refusal become text: the API, the CLI, logs and records all come here.
 *
 * Everything shown is names, modes and literals; values of secrets are not in what is passed in.
 */
#ifndef REGISTRY_EXPLAIN_H
#define REGISTRY_EXPLAIN_H

#include "base/buf.h"
#include "core/envplan.h"

#include <jansson.h>

/*
 * A new reference: {resolved_mode, source, provider_selection, error, model, runtime,
 * workspace_override, registry_fingerprint, warnings: [{code, text}]} and, when trace is not NULL,
 * trace: [{step, considered: [provider], kept: [provider], dropped: [provider], text}].
 * provider_selection, error and workspace_override are null when there is none.
 */
json_t *explain_json(const struct billing_facts *f, const struct billing_decision *d,
    const struct derive_trace *trace);

/*
 * A new reference: {refusal: null | {code, text, subject, suggestion}, warnings: [{code, text}],
 * needs_usage_token, env: [{name, action, source, scope, value, reason}], files: [{path, mode,
 * refreshed, content}]}. scope is null for what is no secret; value is there for literals only; in
 * a file's content "${NAME}" stands for that variable's value.
 */
json_t *explain_plan_json(const struct env_plan_facts *f, const struct env_plan *plan);

/* The same as readable trees. trace may be NULL. */
void explain_text(struct buf *out, const struct billing_facts *f, const struct billing_decision *d,
    const struct derive_trace *trace);
void explain_plan_text(
    struct buf *out, const struct env_plan_facts *f, const struct env_plan *plan);

/* What a refusal means and the way out of it: one sentence for last_error and for API answers. */
void explain_refusal_text(
    struct buf *out, const struct env_plan_facts *f, const struct env_plan *plan);

/* "set", "keep", "strip"; "org", "workspace"; "usage_token" ... */
struct str env_action_name(enum env_action a);
struct str env_scope_name(enum env_scope s);
struct str env_source_name(enum env_source s);

#endif
