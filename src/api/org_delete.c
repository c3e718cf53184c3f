/*
 * DELETE /admin/orgs/:org: suspended and stopped first, then homes, then every row in one
 * transaction with the record of what went. What fails on the way leaves a suspended org, and the
 * same request goes on from there.
 */
#include "api/org.h"
#include "api/plan.h"
#include "api/wish.h"
#include "base/tree.h"
#include "store/org_data.h"

struct deletion {
    struct call *c;
    struct org_row org;
    bool keep_ledger;
    struct str expected; /* the export that the caller has, by its digest in hex; empty: none */
    struct id *workspaces;
    struct id busy_node; /* another one, on which an agent of the org still runs; zero: none */
    size_t workspaces_n;
    struct org_export gone;
    struct org_deletion_row record;
};

static void
deletion_done(struct deletion *d)
{
    json_decref(d->gone.rows);
}

static json_t *
record_json(const struct org_deletion_row *r)
{
    json_t *rows = json_loadb(r->counts.p, r->counts.n, 0, NULL);

    return json_pack("{s:I, s:o, s:o, s:o, s:s, s:o, s:o, s:I, s:o}", "seq", (json_int_t)r->seq,
        "id", json_id(r->org), "slug", json_str(r->slug), "name", json_str(r->name), "ledger",
        r->ledger_kept ? "kept" : "deleted", "rows", rows == NULL ? json_null() : rows,
        "export_sha256", json_hex(r->export_digest, sizeof(r->export_digest)), "deleted_at",
        (json_int_t)r->deleted_ms, "hash", json_hex(r->hash, sizeof(r->hash)));
}

static enum err
find_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct deletion *d = ctx;
    struct arena *a = &d->c->http->arena;
    enum err code = org_find_tx(tx, d->c, &d->org, e);

    if (code != ERR_OK)
        return code;
    return workspace_row_list_ids(tx, d->org.id, a, &d->workspaces, &d->workspaces_n, e);
}

static enum err
running_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct deletion *d = ctx;
    struct workspace_row *rows;
    size_t n;
    enum err code = workspace_row_list(tx, d->org.id, &d->c->http->arena, &rows, &n, e);

    d->busy_node = (struct id){0};
    for (size_t i = 0; code == ERR_OK && i < n; i++) {
        if (wish_is_elsewhere(d->c->api, &rows[i]) && workspace_status_is_up(rows[i].status))
            d->busy_node = rows[i].node;
    }
    return code;
}

static enum err
confirm(struct deletion *d, struct error *e)
{
    struct http_request *http = d->c->http;
    struct str ledger = STR_NONE;

    if (!str_equal(http_header_get(http, "X-Confirm-Name"), d->org.slug)) {
        call_error_field(
            d->c, "hint", json_string("send the org's slug in the header X-Confirm-Name"));
        return fail(e, ERR_CONFIRMATION_REQUIRED,
            "deleting an org cannot be undone: confirm it by its slug, \"%.*s\"",
            STR_ARG(d->org.slug));
    }
    (void)!http_query_get(http, STR("ledger"), &ledger);
    d->keep_ledger = str_equal(ledger, STR("keep"));
    if (!d->keep_ledger && !str_equal(ledger, STR("delete"))) {
        return fail(e, ERR_CONFIRMATION_REQUIRED,
            "say what becomes of the ledger: ?ledger=keep (for the books) or ?ledger=delete");
    }
    (void)!http_query_get(http, STR("export_sha256"), &d->expected);
    if (d->expected.n > 0 && !d->org.suspended) {
        return fail(e, ERR_CONFLICT,
            "suspend the org before you export it: until then it goes on changing (purser org "
            "suspend %.*s)",
            STR_ARG(d->org.slug));
    }
    return ERR_OK;
}

/* Nothing may run under an org that is no more, wherever it runs. */
static enum err
ended_everywhere(struct deletion *d, struct error *e)
{
    enum { TRIES = 100 };
    const struct timespec pause = {.tv_nsec = 100 * 1000 * 1000};
    char node[ID_TEXT_BYTES];
    enum err code = ERR_OK;

    for (int i = 0; i < TRIES; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        code = store_read(d->c->api->o.store, running_tx, d, e);
        if (code != ERR_OK || id_is_zero(d->busy_node))
            return code;
    }
    id_text(d->busy_node, node);
    return fail(e, ERR_CONFLICT,
        "agents of the org have not ended yet on the node %s: start its purser if it is down, or "
        "give "
        "it up if it is gone for good (purser node forget), then delete the org again",
        node);
}

/* Folders of agents that ended: of every workspace there ever was. */
static enum err
remove_folders(const struct deletion *d, struct error *e)
{
    struct api *a = d->c->api;
    struct arena *arena = &d->c->http->arena;

    for (size_t i = 0; i < d->workspaces_n; i++) {
        enum err code = launch_forget(a->launcher, d->workspaces[i], e);

        if (code == ERR_OK)
            code = tree_remove(plan_home(a, arena, d->workspaces[i]).p, e);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum err
as_exported(const struct deletion *d, struct error *e)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * EXPORT_DIGEST_BYTES];

    for (size_t i = 0; i < EXPORT_DIGEST_BYTES; i++) {
        hex[2 * i] = digits[d->gone.digest[i] >> 4];
        hex[2 * i + 1] = digits[d->gone.digest[i] & 15];
    }
    if (d->expected.n == 0 || str_equal(d->expected, (struct str){hex, sizeof(hex)}))
        return ERR_OK;
    return fail(e, ERR_CONFLICT,
        "the org has changed since that export, so nothing was deleted: export it again (purser "
        "org export %.*s)",
        STR_ARG(d->org.slug));
}

static enum err
delete_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct deletion *d = ctx;
    char *counts;
    enum err code = org_row_get(tx, d->org.id, &d->c->http->arena, &d->org, e);

    if (code == ERR_OK && !d->org.suspended)
        return fail(e, ERR_CONFLICT, "somebody resumed the org meanwhile: nothing was deleted");
    if (code != ERR_OK)
        return code;
    json_decref(TAKE(d->gone.rows));
    code = org_export_write(tx, d->org.id, -1, &d->gone, e);
    if (code == ERR_OK)
        code = as_exported(d, e);
    if (code != ERR_OK)
        return code;
    counts = json_dumps(d->gone.rows, JSON_COMPACT);
    d->record = (struct org_deletion_row){.org = d->org.id,
        .slug = d->org.slug,
        .name = d->org.name,
        .ledger_kept = d->keep_ledger,
        .counts = arena_dup(&d->c->http->arena, str_from_cstr(counts)),
        .deleted_ms = clock_ms()};
    json_wiping_free(counts);
    memcpy(d->record.export_digest, d->gone.digest, sizeof(d->record.export_digest));
    code = org_data_delete(tx, d->org.id, d->keep_ledger, e);
    return code == ERR_OK ? org_deletion_row_append(tx, &d->record, e) : code;
}

enum err
org_delete(struct call *c, struct error *e)
{
    AUTO(deletion_done) struct deletion d = {.c = c};
    size_t stopped;
    enum err code = store_read(c->api->o.store, find_tx, &d, e);

    if (code == ERR_OK)
        code = confirm(&d, e);
    /* With an export at hand everything has stopped already, and must not change any more. */
    if (code == ERR_OK && d.expected.n == 0)
        code = org_suspend_now(c->api, d.org.id, &stopped, e);
    if (code == ERR_OK)
        code = ended_everywhere(&d, e);
    if (code == ERR_OK)
        code = remove_folders(&d, e);
    if (code == ERR_OK)
        code = store_tx_durable(c->api->o.store, delete_tx, &d, e);
    if (code != ERR_OK)
        return code;
    log_info("api", "org deleted slug=%.*s ledger=%s", STR_ARG(d.record.slug),
        d.keep_ledger ? "kept" : "deleted");
    return call_answer(c, 200, record_json(&d.record));
}

struct records {
    struct arena *arena;
    struct org_deletion_row *rows;
    size_t n;
    bool valid;
    struct str why;
};

static enum err
records_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct records *r = ctx;

    return org_deletion_row_list(tx, r->arena, &r->rows, &r->n, &r->valid, &r->why, e);
}

enum err
org_deletion_list(struct call *c, struct error *e)
{
    struct records r = {.arena = &c->http->arena};
    enum err code = store_read(c->api->o.store, records_tx, &r, e);
    json_t *list, *j;

    if (code != ERR_OK)
        return code;
    list = json_array();
    for (size_t i = 0; i < r.n; i++)
        json_array_append_new(list, record_json(&r.rows[i]));
    j = json_pack("{s:o, s:b}", "deleted", list, "chain_valid", (int)r.valid);
    if (!r.valid)
        json_object_set_new(j, "why", json_str(r.why));
    return call_answer(c, 200, j);
}
