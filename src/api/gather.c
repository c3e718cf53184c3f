#include "api/gather.h"

#include "store/secret_row.h"

const struct gather_caller_row gather_callers[GATHER_CALLER_COUNT] = {
    [GATHER_READ] = {"read", false, false, false},
    [GATHER_START] = {"start", true, false, true},
    [GATHER_RESTART] = {"restart", true, false, true},
    [GATHER_RUN] = {"run", true, false, true},
    [GATHER_WRITE_GATE] = {"write gate", false, false, false},
    [GATHER_CREATE] = {"create", false, true, true},
    [GATHER_PULL] = {"pull", false, false, true},
};

/* What one snapshot of the store gives. */
struct snapshot {
    const struct gather_request *request;
    struct arena *arena;
    struct workspace_row workspace;
    struct secret_row *rows;
    size_t rows_n;
};

static enum err
snapshot_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct snapshot *s = ctx;
    const struct gather_request *q = s->request;
    enum err code;

    if (q->draft == NULL) {
        code = workspace_row_get(tx, q->org, q->workspace, s->arena, &s->workspace, e);
        if (code != ERR_OK)
            return call_not_found(code, "workspace not found", e);
        if (s->workspace.status == WORKSPACE_REMOVED)
            return fail(e, ERR_GONE, "workspace removed");
    }
    return secret_row_load(tx, q->org, q->draft == NULL ? q->workspace : (struct id){0}, s->arena,
        &s->rows, &s->rows_n, e);
}

static size_t
draft_find(const struct gather_draft *d, struct str name)
{
    size_t i = 0;

    while (i < d->secrets_n && !str_equal(d->secrets[i].name, name))
        i++;
    return i;
}

/* The effective model is the first that is not blank: start request, MOLECULE_MODEL, MODEL. */
struct models {
    struct str molecule;
    struct str plain;
};

static void
note_model(struct models *m, struct arena *arena, struct str name, struct str value)
{
    if (str_equal(name, STR("MOLECULE_MODEL")))
        m->molecule = arena_dup(arena, str_trim(value));
    else if (str_equal(name, STR("MODEL")))
        m->plain = arena_dup(arena, str_trim(value));
}

/* Opens every row, whoever asks: one that cannot be read must close the decision for all callers.
 */
static enum err
add_row(struct api *a, const struct gather_request *q, struct arena *arena,
    const struct secret_row *row, struct gathered *g, struct models *m, struct error *e)
{
    bool org_scope = id_is_zero(row->workspace);
    struct vault_place place = {org_scope ? VAULT_SCOPE_ORG : VAULT_SCOPE_WORKSPACE, row->org,
        row->workspace, row->name, row->version};
    struct vault_sealed sealed = {row->sealed, row->key_id};
    AUTO_SECRET struct secret *value = NULL;
    struct str plain;
    enum err code = vault_unseal(a->o.vault, &place, &sealed, &value, e);

    if (code != ERR_OK) {
        return fail(e, ERR_SECRET_UNREADABLE, "the %s secret %.*s cannot be read; store it anew",
            org_scope ? "org" : "workspace", STR_ARG(row->name));
    }
    plain = secret_expose(value);
    note_model(m, arena, row->name, plain);
    g->secrets[g->secrets_n] = (struct env_secret){
        .name = row->name,
        .scope = org_scope ? ENV_SCOPE_ORG : ENV_SCOPE_WORKSPACE,
        .value_blank = str_is_blank(plain),
        .value_bytes = (uint32_t)plain.n,
    };
    if (gather_callers[q->caller].needs_values)
        g->values[g->secrets_n] = TAKE(value);
    g->secrets_n++;
    return ERR_OK;
}

static enum err
add_draft(const struct gather_draft *d, struct arena *arena, struct gathered *g, struct models *m,
    struct error *e)
{
    for (size_t i = 0; i < d->secrets_n; i++) {
        if (secret_new(d->secret_values[i], &g->values[g->secrets_n], e) != ERR_OK)
            return e->code;
        g->secrets[g->secrets_n] = d->secrets[i];
        g->secrets[g->secrets_n++].scope = ENV_SCOPE_WORKSPACE;
        note_model(m, arena, d->secrets[i].name, d->secret_values[i]);
    }
    /* Create stores the request's model as the secret MODEL. */
    if (!str_is_blank(d->model))
        m->plain = arena_dup(arena, str_trim(d->model));
    return ERR_OK;
}

static enum err
take_secrets(struct api *a, const struct gather_request *q, struct arena *arena,
    const struct snapshot *s, struct gathered *g, struct models *m, struct error *e)
{
    const struct gather_draft *d = q->draft;
    size_t max = s->rows_n + (d == NULL ? 0 : d->secrets_n) + 1;
    enum err code;

    g->secrets = arena_array(arena, max, sizeof(*g->secrets));
    g->values = arena_array(arena, max, sizeof(struct secret *));
    for (size_t i = 0; i < s->rows_n; i++) {
        if (d != NULL && draft_find(d, s->rows[i].name) < d->secrets_n)
            continue;
        code = add_row(a, q, arena, &s->rows[i], g, m, e);
        if (code != ERR_OK)
            return code;
    }
    return d != NULL ? add_draft(d, arena, g, m, e) : ERR_OK;
}

static void
take_auth_names(const struct registry *r, struct arena *arena, struct gathered *g)
{
    g->auth_names = arena_array(arena, g->secrets_n + 1, sizeof(*g->auth_names));
    for (size_t i = 0; i < g->secrets_n; i++) {
        if (!g->secrets[i].value_blank && registry_is_auth_name(r, g->secrets[i].name))
            g->auth_names[g->auth_names_n++] = g->secrets[i].name;
    }
}

void
gather_decide(const struct api_registry *registry, struct arena *arena, struct gathered *g)
{
    take_auth_names(registry->registry, arena, g);
    g->facts = (struct billing_facts){
        .store_failed = g->failure.code != ERR_OK,
        .override_present = g->workspace.override_present,
        .override_raw = g->workspace.override_raw,
        .derive = {.registry = registry->registry,
            .match = registry->match,
            .match_ctx = registry->match_ctx,
            .runtime = g->workspace.runtime,
            .model = g->effective_model,
            .auth_names = g->auth_names,
            .auth_names_n = g->auth_names_n},
    };
    g->decision = billing_decide(&g->facts, &g->trace);
}

enum err
gather(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct gather_request *request, struct gathered *ret, struct error *e)
{
    struct snapshot s = {.request = request, .arena = arena};
    struct gathered g = {0};
    struct models m = {0};
    enum err code;

    ENSURE((request->draft != NULL) == gather_callers[request->caller].from_draft);
    ENSURE(request->start_model.n == 0 || gather_callers[request->caller].takes_model);
    code = store_read(a->o.store, snapshot_tx, &s, e);
    if (code == ERR_NOT_FOUND || code == ERR_GONE)
        return code;
    if (code == ERR_OK) {
        g.workspace = s.workspace;
        g.elsewhere = request->caller == GATHER_RUN;
        if (request->draft != NULL)
            g.workspace.runtime = str_trim(request->draft->runtime);
        code = take_secrets(a, request, arena, &s, &g, &m, e);
    }
    if (code != ERR_OK)
        g.failure = *e;
    g.effective_model = str_trim(request->start_model);
    if (g.effective_model.n == 0)
        g.effective_model = m.molecule.n > 0 ? m.molecule : m.plain;
    gather_decide(registry, arena, &g);
    *ret = g;
    return ERR_OK;
}

void
gathered_done(struct gathered *g)
{
    for (size_t i = 0; g->values != NULL && i < g->secrets_n; i++)
        secret_free(TAKE(g->values[i]));
}
