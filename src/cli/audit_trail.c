#include "cli/audit_trail.h"

#include "api/audit.h"
#include "base/cleanup.h"
#include "cli/store_flags.h"
#include "store/workspace_row.h"

enum { PAGE = 200 };

void
trail_done(struct trail *t)
{
    store_close(t->store);
    client_close(t->session.client);
}
bool
trail_is_offline(const struct trail *t)
{
    return t->state != NULL || t->url != NULL;
}

static enum err
open_store(struct trail *t, struct error *e)
{
    AUTO_STORE_FLAGS struct store_flags f = {.state = t->state, .store = t->url};
    int version;

    if (store_flags_url(&f, e) != ERR_OK)
        return e->code;
    /* To look is not to make: there has to be one. */
    if (f.url.p[0] == '/' && access(f.url.p, R_OK | W_OK) != 0)
        return fail_errno(e, ERR_USAGE, "the store %s cannot be opened", f.url.p);
    if (store_version(f.url, &version, e) != ERR_OK)
        return e->code;
    return store_open(f.url, &t->store, e);
}

bool
trail_begin(
    struct trail *t, const struct command_line *line, int argc, char **argv, const char **workspace)
{
    struct session *s = &t->session;
    struct id id;
    enum err err;

    if (!options_read(line, argc, argv, &s->arguments, &s->exit_code))
        return false;
    if (trail_is_offline(t) &&
        (s->options.org != NULL || s->options.server != NULL || s->options.token_file != NULL))
        err = fail(&s->error, ERR_USAGE,
            "--state and --store read the whole store without a server: --org, --server and "
            "--token-file "
            "have no place beside it");
    else if (!trail_is_offline(t))
        err = client_open(&s->options, &s->client, &s->error);
    else
        err = open_store(t, &s->error);
    if (err == ERR_OK && workspace != NULL && *workspace != NULL) {
        if (!trail_is_offline(t))
            err = workspace_ref(s->client, *workspace, t->workspace, &s->error);
        else if (id_parse(str_from_cstr(*workspace), &id))
            id_text(id, t->workspace);
        else
            err = fail(&s->error, ERR_USAGE, "offline a workspace is named by its id");
    }
    if (err != ERR_OK)
        s->exit_code = cmd_fail(&s->error);
    return err == ERR_OK;
}

struct page {
    struct trail *trail;
    struct id before;
    struct arena arena;
    struct decision_row *rows;
    size_t n;
};

static enum err
page_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct page *p = ctx;
    struct decision_filter filter = {.before = p->before};

    if (id_parse(str_from_cstr(p->trail->workspace), &filter.workspace) &&
        workspace_row_find_org(tx, filter.workspace, &filter.org, e) != ERR_OK)
        return e->code;
    return decision_row_list(tx, &filter, PAGE, &p->arena, &p->rows, &p->n, e);
}

static enum err
page_offline(struct trail *t, const char *before, json_t **ret, struct error *e)
{
    struct page p = {.trail = t};
    enum err err;

    if (before != NULL && !id_parse(str_from_cstr(before), &p.before))
        return fail(e, ERR_INTERNAL, "a record's id is none");
    err = store_read(t->store, page_tx, &p, e);
    if (err == ERR_OK)
        *ret = audit_page_json(p.rows, p.n, PAGE);
    arena_done(&p.arena);
    return err;
}

static enum err
page_online(struct trail *t, const char *before, json_t **ret, struct error *e)
{
    char path[256];
    int n = snprintf(path, sizeof(path), "/admin/audit/decisions?limit=%d", PAGE);

    if (before != NULL)
        n += snprintf(path + n, sizeof(path) - (size_t)n, "&before=%s", before);
    if (t->workspace[0] != '\0')
        snprintf(path + n, sizeof(path) - (size_t)n, "&workspace=%s", t->workspace);
    return client_call(t->session.client, "GET", path, NULL, ret, e);
}

enum err
trail_each(struct trail *t, trail_record_fn *each, void *ctx, struct error *e)
{
    char before[ID_TEXT_BYTES] = "";

    for (;;) {
        AUTO_JSON json_t *page = NULL;
        const char *from = before[0] == '\0' ? NULL : before, *next;
        json_t *row;
        size_t i;
        enum err err =
            !trail_is_offline(t) ? page_online(t, from, &page, e) : page_offline(t, from, &page, e);

        if (err != ERR_OK)
            return err;
        json_array_foreach(json_object_get(page, "decisions"), i, row)
        {
            if (!each(ctx, row))
                return ERR_OK;
        }
        next = json_string_value(json_object_get(page, "next"));
        if (next == NULL)
            return ERR_OK;
        snprintf(before, sizeof(before), "%s", next);
    }
}

const char *
trail_text(const json_t *o, const char *field)
{
    const char *text = json_string_value(json_object_get(o, field));

    return text == NULL ? "" : text;
}
