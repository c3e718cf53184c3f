/* GET and PUT .../llm-billing-mode: the decision as it stands, and the operator's escape hatch. */
#include "api/billing.h"

#include "api/gather.h"
#include "registry/explain.h"
#include "store/event_row.h"

/* The provider's name; after a failed derivation the model; null when nothing was derived from. */
static json_t *
selection_json(const struct registry *r, const struct gathered *g)
{
    const struct billing_decision *d = &g->decision;

    switch (d->source) {
    case BILLING_DERIVED_PROVIDER:
        return d->derived.provider == NULL ? json_null()
                                           : json_str(registry_str(r, d->derived.provider->name));
    case BILLING_DERIVED_DEFAULT:
        return json_str_or_null(g->effective_model);
    default:
        return json_null();
    }
}

static json_t *
billing_json(struct call *c, const struct gathered *g)
{
    struct str asked;
    bool trace = http_query_get(c->http, STR("trace"), &asked) && !str_equal(asked, STR("0"));
    json_t *j = explain_json(&g->facts, &g->decision, trace ? &g->trace : NULL);

    json_object_set_new(j, "workspace_id", json_id(c->id));
    json_object_set_new(j, "provider_selection", selection_json(call_registry(c), g));
    /* "error" is the sentence of a failed request everywhere in this API. */
    json_object_del(j, "error");
    if (g->decision.source == BILLING_DERIVED_DEFAULT) {
        json_object_set_new(
            j, "derive_error", json_str(derive_error_name(g->decision.derived.error)));
    }
    return j;
}

void
billing_answer_closed(struct call *c)
{
    struct registry_ref *ref = api_registry_acquire(c->api);
    struct registry_ref *mine = c->registry;
    struct gathered g = {.failure = {.code = ERR_STORE_UNAVAILABLE}};

    g.facts = (struct billing_facts){.store_failed = true,
        .derive = {.registry = ref->set.registry,
            .match = ref->set.match,
            .match_ctx = ref->set.match_ctx}};
    g.decision = billing_decide(&g.facts, &g.trace);
    c->registry = ref;
    json_decref(c->error_fields);
    c->error_fields = billing_json(c, &g);
    c->registry = mine;
    api_registry_release(c->api, ref);
}

/* When the inputs could not be read the answer is an error that carries the closed decision. */
static enum err
billing_read(struct call *c, bool restart_required, struct error *e)
{
    struct gather_request q = {.caller = GATHER_READ, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);
    json_t *j;

    if (code != ERR_OK)
        return code;
    j = billing_json(c, &g);
    if (restart_required)
        json_object_set_new(j, "restart_required", json_true());
    if (g.failure.code == ERR_OK)
        return call_answer(c, 200, j);
    json_decref(c->error_fields);
    c->error_fields = j;
    *e = g.failure;
    return e->code;
}

enum err
billing_get(struct call *c, struct error *e)
{
    return billing_read(c, false, e);
}

struct billing_write {
    struct call *c;
    struct str mode;
    bool clear;
    bool running;
};

static enum err
billing_write_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct billing_write *b = ctx;
    struct call *c = b->c;
    struct workspace_row w;
    struct event_row event = {.org = c->org,
        .workspace = c->id,
        .type = STR("billing_mode.set"),
        .created_ms = clock_ms()};
    enum err code = workspace_row_get(tx, c->org, c->id, &c->http->arena, &w, e);

    if (code == ERR_OK && w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    if (code == ERR_OK)
        code = workspace_row_set_override(tx, c->org, c->id, b->clear ? NULL : &b->mode, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    b->running = w.status == WORKSPACE_ONLINE || w.status == WORKSPACE_DEGRADED;
    event.json = b->clear ? STR("{\"mode\":null}")
                          : arena_printf(&c->http->arena, "{\"mode\":\"%.*s\"}", STR_ARG(b->mode));
    return event_row_append(tx, &event, NULL, e);
}

/* Tells an absent mode from null, and refuses an unknown one before any access to the store. */
static enum err
billing_mode_parse(struct call *c, struct billing_write *b, struct error *e)
{
    enum billing_mode mode;
    json_t *v;
    enum err code = call_body(c, false, e);

    if (code != ERR_OK)
        return code;
    v = json_object_get(c->body, "mode");
    if (v == NULL) {
        return fail(
            e, ERR_INVALID_REQUEST, "missing required field 'mode' (use null to clear override)");
    }
    b->clear = json_is_null(v);
    if (b->clear)
        return ERR_OK;
    if (!json_is_string(v))
        return fail(e, ERR_INVALID_REQUEST, "mode must be a string or null");
    b->mode = str_trim((struct str){json_string_value(v), json_string_length(v)});
    if (!billing_mode_from_name(b->mode, &mode)) {
        return fail(e, ERR_INVALID_REQUEST,
            "unknown billing mode \"%.*s\" (allowed: platform_managed, byok, disabled)",
            (int)(b->mode.n > 64 ? 64 : b->mode.n), b->mode.p);
    }
    if (mode == BILLING_PLATFORM_MANAGED && c->principal.who != WHO_ADMIN) {
        return fail(e, ERR_WRONG_CREDENTIAL_KIND,
            "only the admin may set the override platform_managed; choose a platform model "
            "instead");
    }
    return ERR_OK;
}

enum err
billing_put(struct call *c, struct error *e)
{
    struct billing_write b = {.c = c};
    enum err code = billing_mode_parse(c, &b, e);

    if (code != ERR_OK)
        return code;
    code = store_tx(c->api->o.store, billing_write_tx, &b, e);
    if (code != ERR_OK)
        return code;
    return billing_read(c, b.running, e);
}
