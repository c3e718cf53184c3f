/*
 * GET /admin/audit/secrets: what is stored where it should not be, over all orgs. Names orgs and
 * keys, never values.
 */
#include "api/comingling.h"
#include "store/org_row.h"
#include "store/sealed_row.h"

enum { SHARED_MAX = 1000, PLACES_MAX = 100, PAGE = 100, TEXT_BYTES = 400 };

struct audit {
    struct call *c;
    const struct registry *registry;
    json_t *findings;
    size_t told; /* findings before the transaction under way, which may be run again */
    bool cut;    /* there is more than is told */
};

static void
begin(struct audit *a)
{
    while (json_array_size(a->findings) > a->told)
        json_array_remove(a->findings, a->told);
}

static enum err
read_store(struct audit *a, store_tx_fn *fn, void *ctx, struct error *e)
{
    a->told = json_array_size(a->findings);
    return store_read(a->c->api->o.store, fn, ctx, e);
}

static json_t *
org_slug(struct store_tx *tx, struct arena *arena, struct id id)
{
    struct org_row org;
    struct error e;

    return org_row_get(tx, id, arena, &org, &e) == ERR_OK ? json_str(org.slug) : json_null();
}

static void
add_place(struct store_tx *tx, struct arena *arena, json_t *places, const struct secret_row *row)
{
    bool org_scope = id_is_zero(row->workspace);

    json_array_append_new(places,
        json_pack("{s:o, s:o, s:s, s:o, s:o}", "org_id", json_id(row->org), "org",
            org_slug(tx, arena, row->org), "scope", org_scope ? "global" : "workspace",
            "workspace_id", org_scope ? json_null() : json_id(row->workspace), "key",
            json_str(row->name)));
}

/* Takes over places. */
static void
add_finding(struct audit *a, const char *code, const char *text, json_t *places)
{
    json_array_append_new(
        a->findings, json_pack("{s:s, s:s, s:o}", "code", code, "text", text, "places", places));
}

static enum err
unseal_row(struct audit *a, const struct secret_row *row, struct secret **ret, struct error *e)
{
    struct vault_place place = {
        id_is_zero(row->workspace) ? VAULT_SCOPE_ORG : VAULT_SCOPE_WORKSPACE, row->org,
        row->workspace, row->name, row->version};
    struct vault_sealed sealed = {row->sealed, row->key_id};

    return vault_unseal(a->c->api->o.vault, &place, &sealed, ret, e);
}

/* --- equal values, by their fingerprints ------------------------------------------------------ */

/* Equal models and switches are nothing to tell: one of the rows must hold a credential. */
static bool
holds_credential(struct store_tx *tx, struct audit *a, struct arena *arena,
    const struct secret_row *rows, size_t n)
{
    AUTO_SECRET struct secret *value = NULL;
    struct secret_row whole;
    struct error e;

    if (secret_row_get(tx, rows[0].org, rows[0].workspace, rows[0].name, arena, &whole, &e) !=
            ERR_OK ||
        unseal_row(a, &whole, &value, &e) != ERR_OK)
        return true; /* told as unreadable besides */
    for (size_t i = 0; i < n; i++) {
        if (comingling_is_credential(a->registry, rows[i].name, secret_expose(value)))
            return true;
    }
    return false;
}

static enum err
shared_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct audit *a = ctx;
    struct arena *arena = &a->c->http->arena;
    struct str *prints = NULL;
    size_t n = 0;

    begin(a);
    if (secret_row_list_shared(tx, SHARED_MAX, arena, &prints, &n, e) != ERR_OK)
        return e->code;
    a->cut = n == SHARED_MAX;
    for (size_t i = 0; i < n; i++) {
        struct secret_row *rows = NULL;
        size_t rows_n = 0;
        json_t *places;

        if (secret_row_list_equal(
                tx, prints[i], (struct id){0}, PLACES_MAX, arena, &rows, &rows_n, e) != ERR_OK)
            return e->code;
        if (rows_n == 0 || !holds_credential(tx, a, arena, rows, rows_n))
            continue;
        places = json_array();
        for (size_t k = 0; k < rows_n; k++)
            add_place(tx, arena, places, &rows[k]);
        a->cut |= rows_n == PLACES_MAX;
        add_finding(a, "SAME_VALUE_IN_ORGS",
            "one credential is stored in several orgs: whose is it, and who pays for it?", places);
    }
    return ERR_OK;
}

static enum err
platforms_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct audit *a = ctx;
    struct arena *arena = &a->c->http->arena;
    struct secret_row *rows = NULL;
    size_t n = 0;

    begin(a);
    if (secret_row_list_platforms(tx, PLACES_MAX, arena, &rows, &n, e) != ERR_OK)
        return e->code;
    a->cut |= n == PLACES_MAX;
    for (size_t i = 0; i < n; i++) {
        json_t *places = json_array();

        add_place(tx, arena, places, &rows[i]);
        add_finding(a, "PLATFORM_KEY_IN_TENANT_STORE",
            "one of the platform's own keys is stored in an org: its agents call on the platform's "
            "account unmetered. Delete it there and replace the platform's key",
            places);
    }
    return ERR_OK;
}

/* --- every value, page by page ---------------------------------------------------------------- */

struct page {
    struct audit *audit;
    enum sealed_kind kind;
    int64_t key_id;
    struct sealed_row behind;
    bool has_behind, more;
    char name[512];
    struct arena arena;
};

static void
look_at_sharing(struct store_tx *tx, struct page *p, const struct secret_row *row)
{
    struct audit *a = p->audit;
    char text[TEXT_BYTES];
    struct id *ids = NULL;
    struct error e;
    size_t n = 0;
    json_t *places;

    if (!id_is_zero(row->workspace) || !comingling_is_subscription(a->registry, row->name) ||
        secret_row_list_inheritors(tx, row->org, row->name, &p->arena, &ids, &n, &e) != ERR_OK ||
        n < 2)
        return;
    places = json_array();
    add_place(tx, &p->arena, places, row);
    snprintf(text, sizeof(text),
        "a subscription is one person's, and %zu workspaces share this one: store it in the "
        "workspaces it is meant for",
        n);
    add_finding(a, "SHARED_SUBSCRIPTION", text, places);
}

static void
look_at(struct store_tx *tx, struct page *p, const struct secret_row *row)
{
    struct audit *a = p->audit;
    AUTO_SECRET struct secret *value = NULL;
    const struct registry_provider *owner;
    char text[TEXT_BYTES];
    struct error e;
    json_t *places;

    if (unseal_row(a, row, &value, &e) != ERR_OK) {
        places = json_array();
        add_place(tx, &p->arena, places, row);
        add_finding(a, "SECRET_UNREADABLE",
            "the value does not open: its row was altered or moved, or its key is gone. Nothing "
            "that needs it starts until it is set anew or deleted",
            places);
        return;
    }
    owner = comingling_misplaced(a->registry, row->name, secret_expose(value));
    if (owner != NULL) {
        places = json_array();
        add_place(tx, &p->arena, places, row);
        snprintf(text, sizeof(text), "the value begins as keys of %.*s do: it is in another's slot",
            STR_ARG(registry_str(a->registry, owner->display_name)));
        add_finding(a, "KEY_OF_ANOTHER_VENDOR", text, places);
    }
    look_at_sharing(tx, p, row);
}

static enum err
page_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct page *p = ctx;
    struct sealed_row *rows = NULL;
    size_t n = 0;

    begin(p->audit);
    if (sealed_row_list(tx, p->kind, p->key_id, p->has_behind ? &p->behind : NULL, PAGE, &p->arena,
            &rows, &n, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        struct secret_row row = {.org = rows[i].org,
            .workspace = rows[i].workspace,
            .name = rows[i].name,
            .sealed = rows[i].sealed,
            .key_id = rows[i].key_id,
            .version = rows[i].version};

        look_at(tx, p, &row);
    }
    p->more = n == PAGE;
    if (n > 0) {
        p->behind = rows[n - 1];
        ENSURE(p->behind.name.n <= sizeof(p->name));
        memcpy(p->name, p->behind.name.p, p->behind.name.n);
        p->behind.name.p = p->name;
        p->has_behind = true;
    }
    return ERR_OK;
}

static enum err
look_at_all(struct audit *a, enum sealed_kind kind, int64_t key_id, struct error *e)
{
    struct page p = {.audit = a, .kind = kind, .key_id = key_id, .more = true};
    enum err err = ERR_OK;

    while (err == ERR_OK && p.more) {
        err = read_store(a, page_tx, &p, e);
        arena_done(&p.arena);
    }
    return err;
}

struct counts {
    struct arena *arena;
    struct sealed_count *rows;
    size_t n;
};

/* Under whichever keys, also those that the keyring has lost. */
static enum err
count_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct counts *c = ctx;

    return sealed_row_count(tx, c->arena, &c->rows, &c->n, e);
}

enum err
secret_audit(struct call *c, struct error *e)
{
    AUTO_JSON json_t *findings = json_array();
    struct audit a = {.c = c, .registry = call_registry(c), .findings = findings};
    struct counts counts = {.arena = &c->http->arena};
    enum err code = read_store(&a, shared_tx, &a, e);

    if (code == ERR_OK)
        code = read_store(&a, platforms_tx, &a, e);
    if (code == ERR_OK)
        code = read_store(&a, count_tx, &counts, e);
    for (size_t i = 0; code == ERR_OK && i < counts.n; i++) {
        code = look_at_all(&a, SEALED_ORG_SECRET, counts.rows[i].key_id, e);
        if (code == ERR_OK)
            code = look_at_all(&a, SEALED_WORKSPACE_SECRET, counts.rows[i].key_id, e);
    }
    if (code != ERR_OK)
        return code;
    return call_answer(c, 200,
        json_pack("{s:O, s:b, s:b}", "findings", findings, "more", (int)a.cut, "rotation_under_way",
            (int)(counts.n > 1)));
}
