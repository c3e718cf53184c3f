#include "api/handout.h"

#include "base/buf.h"

/* What the token may call: the effective model and extra_models; all of the menu without a registry
 * entry. */
static struct str
grant_json(const struct handout_source *s)
{
    const struct gathered *g = s->gathered;
    AUTO_JSON json_t *list = NULL;
    char *text;
    struct str copy;

    if (g->decision.derived.runtime == NULL) {
        list = json_pack("[s]", "*");
    } else {
        list = json_loadb(g->workspace.extra_models.p, g->workspace.extra_models.n, 0, NULL);
        if (!json_is_array(list)) {
            json_decref(list);
            list = json_array();
        }
        json_array_insert_new(list, 0, json_str(g->effective_model));
    }
    text = json_dumps(list, JSON_COMPACT);
    copy = arena_dup(s->arena, str_from_cstr(text));
    json_wiping_free(text);
    return copy;
}

static enum err
token_make(
    const struct handout_source *s, enum token_kind kind, struct handout_token *t, struct error *e)
{
    auth_token_make(kind, &t->text);
    t->row = (struct token_row){.id = id_new(),
        .org = s->gathered->workspace.org,
        .workspace = s->gathered->workspace.id,
        .kind = kind,
        .prefix = token_prefix(kind),
        .created_ms = clock_ms(),
        .expires_ms = s->expires_ms,
        .decision = s->decision};
    memcpy(t->row.digest, t->text.digest, sizeof(t->row.digest));
    return secret_new(str_from_cstr(t->text.text), &t->secret, e);
}

enum err
handout_tokens(const struct handout_source *s, struct handout *h, struct error *e)
{
    enum err code = ERR_OK;

    if (s->plan->env.needs_usage_token) {
        code = token_make(s, TOKEN_USAGE, &h->usage, e);
        h->usage.row.models = grant_json(s);
    }
    if (code == ERR_OK && s->plan->facts.has_workspace_token) {
        code = token_make(s, TOKEN_WORKSPACE, &h->own, e);
        h->own.row.name = STR("the agent's own, until its start ends");
    }
    return code;
}

enum err
handout_store_tx(struct store_tx *tx, const struct handout *h, struct error *e)
{
    enum err code = h->usage.secret == NULL ? ERR_OK : token_row_insert(tx, &h->usage.row, e);

    return code != ERR_OK || h->own.secret == NULL ? code : token_row_insert(tx, &h->own.row, e);
}

enum err
handout_publish_row(
    struct api *a, struct arena *arena, const struct token_row *row, struct error *e)
{
    struct edge_token t = {.token = row->id,
        .org = row->org,
        .workspace = row->workspace,
        .decision = row->decision,
        .expires_ms = row->expires_ms};

    t.models = plan_list(arena, row->models, &t.models_n);
    memcpy(t.digest, row->digest, sizeof(t.digest));
    return edge_token_publish(a->o.edge, &t, e);
}

enum err
handout_publish(const struct handout_source *s, const struct handout *h, struct error *e)
{
    if (h->usage.secret == NULL)
        return ERR_OK;
    return handout_publish_row(s->api, s->arena, &h->usage.row, e);
}

/* The value a row puts under its name. */
static struct launch_env
join_row(const struct handout_source *s, const struct handout *h, const struct env_row *row)
{
    const struct gathered *g = s->gathered;
    struct launch_env env = {.name = row->name, .literal = row->literal};

    if (row->source == ENV_FROM_USAGE_TOKEN)
        env.secret = h->usage.secret;
    for (size_t k = 0; row->source == ENV_FROM_SECRET && k < g->secrets_n; k++) {
        if (str_equal(g->secrets[k].name, row->name))
            env.secret = g->values[k];
    }
    ENSURE((row->source != ENV_FROM_SECRET && row->source != ENV_FROM_USAGE_TOKEN) ||
        env.secret != NULL);
    return env;
}

/* --- files ----------------------------------------------------------------------------------- */

/* A file that is being written, or only measured (room NULL). */
struct page {
    char *room;
    size_t n;
};

static void
page_add(struct page *page, const char *p, size_t n)
{
    if (page->room != NULL && n > 0)
        memcpy(page->room + page->n, p, n);
    page->n += n;
}

/* As JSON strings and TOML's basic strings both want it. */
static void
page_add_quoted(struct page *page, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char code[8];

        if (s.p[i] == '"' || s.p[i] == '\\') {
            page_add(page, "\\", 1);
            page_add(page, s.p + i, 1);
        } else if ((unsigned char)s.p[i] < 0x20 || s.p[i] == 0x7f) {
            snprintf(code, sizeof(code), "\\u%04x", (unsigned)s.p[i]);
            page_add(page, code, 6);
        } else {
            page_add(page, s.p + i, 1);
        }
    }
}

static struct str
part_value(const struct handout *h, const struct env_part *part)
{
    if (part->of == ENV_PART_LITERAL)
        return part->text;
    if (part->of == ENV_PART_WORKSPACE_TOKEN)
        return secret_expose(h->own.secret);
    for (size_t i = 0; i < h->env_n; i++) {
        if (str_equal(h->env[i].name, part->text))
            return h->env[i].secret != NULL ? secret_expose(h->env[i].secret) : h->env[i].literal;
    }
    return STR_NONE;
}

static void
page_fill(struct page *page, const struct handout *h, const struct env_file *file)
{
    for (size_t i = 0; i < file->parts_n; i++) {
        struct str value = part_value(h, &file->parts[i]);

        if (file->parts[i].quoted)
            page_add_quoted(page, value);
        else
            page_add(page, value.p, value.n);
    }
}

static enum err
join_file(
    const struct handout_source *s, struct handout *h, const struct env_file *file, struct error *e)
{
    struct launch_file *out = &h->files[h->files_n];
    struct page measure = {0}, page = {0};
    enum err code;

    page_fill(&measure, h, file);
    code = secret_new_room(measure.n, &h->contents[h->files_n], e);
    if (code != ERR_OK)
        return code;
    page.room = secret_room(h->contents[h->files_n]);
    page_fill(&page, h, file);
    *out = (struct launch_file){.path = file->path,
        .content = h->contents[h->files_n],
        .refreshed = file->refreshed,
        .secret = file->secret};
    vault_fingerprint(s->api->o.vault, secret_expose(out->content), out->stamp);
    h->files_n++;
    return ERR_OK;
}

enum err
handout_join(const struct handout_source *s, struct handout *h, struct error *e)
{
    const struct env_plan *plan = &s->plan->env;
    enum err code = ERR_OK;

    h->env = arena_array(s->arena, plan->n + 1, sizeof(*h->env));
    for (size_t i = 0; i < plan->n; i++) {
        if (plan->rows[i].action != ENV_STRIP)
            h->env[h->env_n++] = join_row(s, h, &plan->rows[i]);
    }
    h->files = arena_array(s->arena, plan->files_n + 1, sizeof(*h->files));
    for (size_t i = 0; code == ERR_OK && i < plan->files_n; i++)
        code = join_file(s, h, &plan->files[i], e);
    return code;
}

static void
token_done(struct handout_token *t)
{
    auth_token_wipe(&t->text);
    secret_free(TAKE(t->secret));
}

void
handout_done(struct handout *h)
{
    token_done(&h->usage);
    token_done(&h->own);
    for (size_t i = 0; i < ENV_PLAN_FILES_MAX; i++)
        secret_free(TAKE(h->contents[i]));
}
