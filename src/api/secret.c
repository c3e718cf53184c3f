#include "api/secret.h"

#include "api/comingling.h"
#include "api/plan.h"
#include "api/restart.h"
#include "api/verify.h"
#include "store/event_row.h"
#include "store/org_row.h"

enum { VALUE_MAX_BYTES = 64 * 1024 };

enum err
secret_check(
    struct arena *a, struct str name, struct str value, struct secret_write *ret, struct error *e)
{
    struct str stored = arena_name(a, name);

    if (!env_name_is_valid(stored)) {
        return fail(e, ERR_INVALID_REQUEST,
            "a secret's key is a name of a variable: A-Z, 0-9 and _, at most 128, no digit first");
    }
    if (env_name_is_reserved(stored))
        return fail(e, ERR_RESERVED_NAME,
            "%.*s is a reserved name: purser sets it, or it changes how programs are loaded; "
            "choose "
            "another name",
            STR_ARG(stored));
    if (value.n == 0)
        return fail(e, ERR_INVALID_REQUEST, "the value of %.*s is empty", STR_ARG(stored));
    if (value.n > VALUE_MAX_BYTES) {
        return fail(e, ERR_INVALID_REQUEST, "the value of %.*s has more than %d bytes",
            STR_ARG(stored), VALUE_MAX_BYTES);
    }
    *ret = (struct secret_write){stored, value};
    return ERR_OK;
}

enum err
secret_put_tx(struct store_tx *tx, struct api *a, struct arena *arena, struct id org,
    struct id workspace, const struct secret_write *s, struct error *e)
{
    uint8_t fingerprint[VAULT_FINGERPRINT_BYTES];
    struct vault_place place = {id_is_zero(workspace) ? VAULT_SCOPE_ORG : VAULT_SCOPE_WORKSPACE,
        org, workspace, s->name, vault_version()};
    struct vault_sealed sealed;
    struct secret_row row = {.org = org,
        .workspace = workspace,
        .name = s->name,
        .version = place.version,
        .fingerprint = {(const char *)fingerprint, sizeof(fingerprint)},
        .created_ms = clock_ms()};
    enum err code = comingling_platform_tx(tx, a, s, e);

    if (code == ERR_OK)
        code = vault_seal(a->o.vault, &place, s->value, arena, &sealed, e);
    if (code != ERR_OK)
        return code;
    if (!vault_row_fingerprint(a->o.vault, sealed.key_id, s->value, fingerprint))
        return fail(e, ERR_CONFLICT, "the key was retired meanwhile: repeat the request");
    row.sealed = sealed.bytes;
    row.key_id = sealed.key_id;
    row.updated_ms = row.created_ms;
    code = secret_row_put(tx, &row, e);
    return code == ERR_OK ? comingling_note_tx(tx, a, arena, org, workspace, s, e) : code;
}

enum err
secret_gate(
    struct call *c, const struct gathered *g, struct str name, struct id workspace, struct error *e)
{
    if (!registry_is_vendor_key(call_registry(c), name) ||
        g->decision.mode != BILLING_PLATFORM_MANAGED)
        return ERR_OK;
    call_error_field(c, "key", json_str(name));
    call_error_field(c, "workspace_id", json_id(workspace));
    return fail(e, ERR_VENDOR_KEY_ON_PLATFORM_MANAGED,
        "direct vendor keys are refused for platform-managed workspaces: first choose a vendor's "
        "model (purser workspace set NAME --model MODEL; PUT /workspaces/:id/model), or set this "
        "workspace's billing mode to 'byok' (--billing-mode byok; PUT "
        "/admin/workspaces/:id/llm-billing-mode); then store the key");
}

static json_t *
secret_rows_json(const struct secret_row *rows, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list,
            json_pack("{s:o, s:b, s:s, s:I, s:I}", "key", json_str(rows[i].name), "has_value", 1,
                "scope", id_is_zero(rows[i].workspace) ? "global" : "workspace", "created_at",
                (json_int_t)rows[i].created_ms, "updated_at", (json_int_t)rows[i].updated_ms));
    }
    return list;
}

struct secret_op {
    struct call *c;
    struct id workspace; /* zero: org scope */
    struct secret_write write;
    struct secret_row *rows;
    size_t n;
};

static enum err
list_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct secret_op *op = ctx;
    struct workspace_row w;
    enum err code = ERR_OK;

    if (!id_is_zero(op->workspace))
        code = workspace_row_get(tx, op->c->org, op->workspace, &op->c->http->arena, &w, e);
    if (code != ERR_OK)
        return call_not_found(code, "workspace not found", e);
    return secret_row_list(
        tx, op->c->org, op->workspace, &op->c->http->arena, &op->rows, &op->n, e);
}

static enum err
list_answer(struct call *c, struct id workspace, struct error *e)
{
    struct secret_op op = {.c = c, .workspace = workspace};
    json_t *own, *inherited;
    enum err code = store_read(c->api->o.store, list_tx, &op, e);
    size_t own_n = 0;

    if (code != ERR_OK)
        return code;
    /* Own rows by key, then those inherited, by key. */
    for (size_t i = 0; i < op.n; i++) {
        if (id_equal(op.rows[i].workspace, workspace)) {
            struct secret_row moved = op.rows[i];

            memmove(&op.rows[own_n + 1], &op.rows[own_n], (i - own_n) * sizeof(moved));
            op.rows[own_n++] = moved;
        }
    }
    own = secret_rows_json(op.rows, own_n);
    inherited = secret_rows_json(op.rows + own_n, op.n - own_n);
    json_array_extend(own, inherited);
    json_decref(inherited);
    return call_answer(c, 200, own);
}

enum err
secret_event_tx(struct store_tx *tx, struct call *c, struct id workspace, struct str name,
    struct str type, struct error *e)
{
    struct event_row event = {
        .org = c->org, .workspace = workspace, .type = type, .created_ms = clock_ms()};

    event.json = arena_printf(&c->http->arena, "{\"key\":\"%.*s\",\"scope\":\"%s\"}", STR_ARG(name),
        id_is_zero(workspace) ? "global" : "workspace");
    return event_row_append(tx, &event, NULL, e);
}

enum err
secret_store_tx(struct store_tx *tx, struct call *c, struct id workspace,
    const struct secret_write *writes, size_t n, struct error *e)
{
    struct workspace_row w = {0};
    enum err code = ERR_OK;

    if (!id_is_zero(workspace))
        code = workspace_row_get(tx, c->org, workspace, &c->http->arena, &w, e);
    if (code == ERR_OK && !id_is_zero(workspace) && w.status == WORKSPACE_REMOVED)
        return fail(e, ERR_GONE, "workspace removed");
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        code = secret_put_tx(tx, c->api, &c->http->arena, c->org, workspace, &writes[i], e);
        if (code == ERR_OK)
            code = secret_event_tx(tx, c, workspace, writes[i].name, STR("secret.set"), e);
    }
    return call_not_found(code, "workspace not found", e);
}

static enum err
put_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct secret_op *op = ctx;

    return secret_store_tx(tx, op->c, op->workspace, &op->write, 1, e);
}

static enum err
delete_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct secret_op *op = ctx;
    enum err code = secret_row_delete(tx, op->c->org, op->workspace, op->write.name, e);

    if (code == ERR_NOT_FOUND)
        return fail(e, code, "there is no secret %.*s", STR_ARG(op->write.name));
    if (code != ERR_OK)
        return code;
    return secret_event_tx(tx, op->c, op->workspace, op->write.name, STR("secret.delete"), e);
}

static enum err
write_read(struct call *c, struct secret_write *ret, struct error *e)
{
    struct str key = STR_NONE, value = STR_NONE;
    enum err code = call_body(c, false, e);

    if (code == ERR_OK)
        code = json_get_str(c->body, "key", &key, e);
    if (code == ERR_OK)
        code = json_get_str(c->body, "value", &value, e);
    if (code == ERR_OK && key.n == 0)
        return fail(e, ERR_INVALID_REQUEST, "\"key\" and \"value\" are required");
    if (code != ERR_OK)
        return code;
    return secret_check(&c->http->arena, key, value, ret, e);
}

enum err
secret_list(struct call *c, struct error *e)
{
    return list_answer(c, c->id, e);
}

enum err
org_secret_list(struct call *c, struct error *e)
{
    return list_answer(c, (struct id){0}, e);
}

void
secret_warn(struct call *c, struct id workspace, const struct secret_write *s, size_t inheritors,
    json_t *list)
{
    char text[200];

    comingling_warn(call_registry(c), workspace, s, list);
    if (inheritors < 2 || !comingling_is_subscription(call_registry(c), s->name))
        return;
    snprintf(text, sizeof(text),
        "a subscription is one person's: %zu workspaces now share this one. Store it in the "
        "workspaces it is meant for",
        inheritors);
    json_array_append_new(
        list, json_pack("{s:s, s:s}", "code", "SHARED_SUBSCRIPTION", "text", text));
}

static json_t *
written_json(const char *status, const struct secret_op *op)
{
    json_t *j = json_pack("{s:s, s:o}", "status", status, "key", json_str(op->write.name));

    if (id_is_zero(op->workspace))
        json_object_set_new(j, "scope", json_string("global"));
    return j;
}

/* Takes over warning, which may be NULL. */
static enum err
saved_answer(struct secret_op *op, size_t inheritors, json_t *warning)
{
    json_t *j = written_json("saved", op);
    json_t *warnings = json_array();

    if (warning != NULL)
        json_array_append_new(warnings, warning);
    secret_warn(op->c, op->workspace, &op->write, inheritors, warnings);
    if (json_array_size(warnings) > 0)
        json_object_set(j, "warnings", warnings);
    json_decref(warnings);
    return call_answer(op->c, 200, j);
}

enum err
secret_put(struct call *c, struct error *e)
{
    struct secret_op op = {.c = c, .workspace = c->id};
    struct gather_request q = {.caller = GATHER_WRITE_GATE, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    struct verify_outcome verified = {0};
    enum err code = write_read(c, &op.write, e);

    if (code == ERR_OK)
        code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);
    if (code == ERR_OK)
        code = secret_gate(c, &g, op.write.name, c->id, e);
    if (code == ERR_OK) {
        verified = verify_value(c->api, call_registry(c), &g, op.write.name, op.write.value);
        code = verify_refusal(c->api, &verified, e);
    }
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, put_tx, &op, e);
    if (code != ERR_OK)
        return code;
    restart_soon(c->api, c->org, c->id);
    return saved_answer(&op, 0, verify_warning(c->api, &verified));
}

enum err
secret_delete(struct call *c, struct error *e)
{
    struct secret_op op = {.c = c, .workspace = c->id};
    enum err code;

    op.write.name = arena_name(&c->http->arena, c->name);
    code = store_tx_durable(c->api->o.store, delete_tx, &op, e);
    if (code != ERR_OK)
        return code;
    restart_soon(c->api, c->org, c->id);
    return call_answer(c, 200, written_json("deleted", &op));
}

struct org_policy {
    struct call *c;
    struct org_row org;
};

static enum err
policy_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct org_policy *p = ctx;

    return org_row_get(tx, p->c->org, &p->c->http->arena, &p->org, e);
}

/* The org gate: a vendor key that all workspaces would inherit needs the org's own say-so. */
enum err
secret_org_gate(struct call *c, struct str name, struct error *e)
{
    struct org_policy p = {.c = c};
    enum err code;

    if (!registry_is_vendor_key(call_registry(c), name))
        return ERR_OK;
    code = store_read(c->api->o.store, policy_tx, &p, e);
    if (code != ERR_OK || p.org.vendor_keys == ORG_VENDOR_KEYS_ALLOW)
        return call_not_found(code, "org not found", e);
    call_error_field(c, "key", json_str(name));
    return fail(e, ERR_VENDOR_KEY_AT_ORG_SCOPE,
        "vendor keys are refused at org scope: store the key in the workspaces that use it, or let "
        "the admin allow them (purser org set %.*s --vendor-keys allow; PATCH /admin/orgs/%.*s "
        "with "
        "{\"vendor_keys\":\"allow\"})",
        STR_ARG(p.org.slug), STR_ARG(p.org.slug));
}

struct inheritors {
    struct call *c;
    struct str name;
    struct id *ids;
    size_t n;
};

static enum err
inheritors_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct inheritors *h = ctx;

    return secret_row_list_inheritors(
        tx, h->c->org, h->name, &h->c->http->arena, &h->ids, &h->n, e);
}

/* The write stands whether or not those who inherit it can be found right now. */
size_t
secret_restart_inheritors(struct call *c, struct str name)
{
    struct inheritors h = {.c = c, .name = name};
    struct error e;

    if (store_read(c->api->o.store, inheritors_tx, &h, &e) != ERR_OK) {
        log_warn("api", "workspaces that inherit a changed secret were not restarted: %s", e.text);
        return 0;
    }
    for (size_t i = 0; i < h.n; i++)
        restart_soon(c->api, c->org, h.ids[i]);
    return h.n;
}

enum err
org_secret_put(struct call *c, struct error *e)
{
    struct secret_op op = {.c = c};
    enum err code = write_read(c, &op.write, e);

    if (code == ERR_OK)
        code = secret_org_gate(c, op.write.name, e);
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, put_tx, &op, e);
    if (code != ERR_OK)
        return code;
    return saved_answer(&op, secret_restart_inheritors(c, op.write.name), NULL);
}

enum err
org_secret_delete(struct call *c, struct error *e)
{
    struct secret_op op = {.c = c};
    enum err code;

    op.write.name = arena_name(&c->http->arena, c->name);
    code = store_tx_durable(c->api->o.store, delete_tx, &op, e);
    if (code != ERR_OK)
        return code;
    (void)secret_restart_inheritors(c, op.write.name);
    return call_answer(c, 200, written_json("deleted", &op));
}

/* What the start would inject of the stored secrets, by the same plan: all of it or nothing. */
enum err
secret_values(struct call *c, struct error *e)
{
    struct gather_request q = {.caller = GATHER_PULL, .org = c->org, .workspace = c->id};
    AUTO_GATHERED struct gathered g = {0};
    struct plan plan;
    json_t *values;
    enum err code = gather(c->api, &c->registry->set, &c->http->arena, &q, &g, e);

    if (code != ERR_OK)
        return code;
    if (g.failure.code != ERR_OK) {
        *e = g.failure;
        return e->code;
    }
    plan_make(c->api, &c->registry->set, &c->http->arena, &g, &plan);
    if (plan.env.refusal != ENV_REFUSAL_NONE)
        return plan_refusal(&plan, e);
    values = json_object();
    for (size_t i = 0; i < plan.env.n; i++) {
        for (size_t k = 0; plan.env.rows[i].action == ENV_KEEP && k < g.secrets_n; k++) {
            if (str_equal(g.secrets[k].name, plan.env.rows[i].name)) {
                json_object_set_new(values, arena_cstr(&c->http->arena, g.secrets[k].name),
                    json_str(secret_expose(g.values[k])));
            }
        }
    }
    c->answer_is_secret = true;
    return call_answer(c, 200, values);
}
