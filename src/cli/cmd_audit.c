#include "api/audit.h"
#include "api/replay.h"
#include "base/cleanup.h"
#include "base/ids.h"
#include "cli/session.h"
#include "cli/store_flags.h"
#include "registry/registry_load.h"
#include "store/workspace_row.h"

enum { PAGE = 200 };

/* Where the trail is read: from a server, or (--state) from the store in a state directory. */
struct trail {
    struct session session;
    const char *state;
    const char *url; /* of a store, instead of a state directory */
    struct store *store;
    char workspace[ID_TEXT_BYTES]; /* empty: all of the org, or of every org */
};

static void
trail_cleanup(struct trail *t)
{
    store_close(t->store);
    client_close(t->session.client);
}
#define AUTO_TRAIL __attribute__((cleanup(trail_cleanup)))

/* The rows that every subcommand has. */
#define TRAIL_OPTIONS(t)                                                                           \
    {"state", "DIR", "offline: read the store of this state directory (or of PURSER_STORE)",       \
        .text = &(t).state},                                                                       \
        {"store", "URL", "offline: read this store (postgresql://...)", .text = &(t).url},         \
        CLIENT_OPTIONS((t).session.options)

static bool
is_offline(const struct trail *t)
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

/* workspace may be NULL. False: return t->session.exit_code. */
static bool
trail_begin(
    struct trail *t, const struct command_line *line, int argc, char **argv, const char **workspace)
{
    struct session *s = &t->session;
    struct id id;
    enum err err;

    if (!options_read(line, argc, argv, &s->arguments, &s->exit_code))
        return false;
    if (is_offline(t) &&
        (s->options.org != NULL || s->options.server != NULL || s->options.token_file != NULL))
        err = fail(&s->error, ERR_USAGE,
            "--state and --store read the whole store without a server: --org, --server and "
            "--token-file "
            "have no place beside it");
    else if (!is_offline(t))
        err = client_open(&s->options, &s->client, &s->error);
    else
        err = open_store(t, &s->error);
    if (err == ERR_OK && workspace != NULL && *workspace != NULL) {
        if (!is_offline(t))
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

/* --- pages of records ------------------------------------------------------------------------ */

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

/* Calls each with every record, newest first; false ends it. */
typedef bool record_fn(void *ctx, json_t *record);

static enum err
each_record(struct trail *t, record_fn *each, void *ctx, struct error *e)
{
    char before[ID_TEXT_BYTES] = "";

    for (;;) {
        AUTO_JSON json_t *page = NULL;
        const char *from = before[0] == '\0' ? NULL : before, *next;
        json_t *row;
        size_t i;
        enum err err =
            !is_offline(t) ? page_online(t, from, &page, e) : page_offline(t, from, &page, e);

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

/* --- decisions ------------------------------------------------------------------------------- */

struct listing {
    json_t *rows;
    size_t max;
};

static bool
list_record(void *ctx, json_t *record)
{
    struct listing *l = ctx;

    json_array_append(l->rows, record);
    return json_array_size(l->rows) < l->max;
}

static int
audit_decisions_command(int argc, char **argv)
{
    static const struct column columns[] = {
        {"WHEN", "created_ms", COLUMN_TIME},
        {"WORKSPACE", "workspace_id", COLUMN_TEXT},
        {"KIND", "kind", COLUMN_TEXT},
        {"MODE", "mode", COLUMN_TEXT},
        {"SOURCE", "source", COLUMN_TEXT},
        {"PROVIDER", "provider", COLUMN_TEXT},
        {"MODEL", "model", COLUMN_TEXT},
        {"REFUSAL", "code", COLUMN_TEXT},
    };
    AUTO_TRAIL struct trail t = {0};
    struct listing l = {.max = 100};
    const char *workspace = NULL;
    bool all = false;
    const struct option options[] = {
        {"workspace", "WORKSPACE", "only those of this agent", .text = &workspace},
        {"all", NULL, "all there are, not only the newest hundred", .flag = &all},
        TRAIL_OPTIONS(t),
    };
    const struct command_line line = {"purser audit decisions", "",
        "Lists decision records, newest first: what was decided at each start, run and refusal.",
        ROWS(options)};
    enum err err;

    if (!trail_begin(&t, &line, argc, argv, &workspace))
        return t.session.exit_code;
    l.max = all ? SIZE_MAX : l.max;
    l.rows = json_array();
    err = each_record(&t, list_record, &l, &t.session.error);
    if (err == ERR_OK && t.session.options.json)
        output_json(l.rows);
    else if (err == ERR_OK)
        output_table(l.rows, ROWS(columns));
    json_decref(l.rows);
    return session_end(&t.session, err);
}

/* --- verify ---------------------------------------------------------------------------------- */

struct chains {
    struct arena arena;
    struct audit_chain *rows;
    size_t n;
    struct checkpoint_summary summary;
    struct checkpoint_row *kept; /* from a file */
    size_t kept_n;
    struct str kept_why; /* the first of them that does not hold */
};

static enum err
chains_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *c = ctx;
    enum err err = audit_chain_list(tx, (struct id){0}, &c->arena, &c->rows, &c->n, e);

    if (err == ERR_OK)
        err = checkpoint_row_verify_all(tx, (struct id){0}, &c->arena, &c->summary, e);
    for (size_t i = 0; err == ERR_OK && c->kept_why.n == 0 && i < c->kept_n; i++)
        err = checkpoint_row_verify(tx, &c->kept[i], &c->arena, &c->kept_why, e);
    return err;
}

/* What "purser audit export" printed before, kept where nobody can change it. */
static enum err
read_kept(struct chains *c, const char *path, struct error *e)
{
    AUTO_JSON json_t *file = json_load_file(path, 0, NULL);
    const json_t *list = json_object_get(file, "checkpoints");

    if (!json_is_array(list))
        return fail(e, ERR_USAGE, "%s is no export of checkpoints (purser audit export)", path);
    c->kept_n = json_array_size(list);
    c->kept = arena_array(&c->arena, c->kept_n + 1, sizeof(*c->kept));
    for (size_t i = 0; i < c->kept_n; i++) {
        if (audit_checkpoint_read(json_array_get(list, i), &c->kept[i], e) != ERR_OK)
            return e->code;
    }
    return ERR_OK;
}

static enum err
read_chains(struct trail *t, const char *kept, json_t **ret, struct error *e)
{
    struct chains c = {0};
    enum err err = ERR_OK;

    if (!is_offline(t))
        return client_call(t->session.client, "GET", "/admin/audit/verify", NULL, ret, e);
    if (kept != NULL)
        err = read_kept(&c, kept, e);
    if (err == ERR_OK)
        err = store_read(t->store, chains_tx, &c, e);
    if (err == ERR_OK && c.kept_why.n > 0) {
        c.summary.valid = false;
        c.summary.why = arena_printf(&c.arena, "%s: %.*s", kept, STR_ARG(c.kept_why));
    }
    if (err == ERR_OK)
        *ret = audit_chains_json(c.rows, c.n, &c.summary);
    arena_done(&c.arena);
    return err;
}

static const char *
text_of(const json_t *o, const char *field)
{
    const char *text = json_string_value(json_object_get(o, field));

    return text == NULL ? "" : text;
}

/* An org that is gone has no slug any more. */
static const char *
org_of(const json_t *row)
{
    const char *slug = text_of(row, "org_slug");

    return slug[0] != '\0' ? slug : text_of(row, "org_id");
}

static void
print_pruned(const json_t *pruned)
{
    char until[25], at[25];

    if (!json_is_object(pruned))
        return;
    clock_text(json_integer_value(json_object_get(pruned, "until_ms")), until);
    clock_text(json_integer_value(json_object_get(pruned, "pruned_ms")), at);
    printf("    entries 1 to %" JSON_INTEGER_FORMAT
           ", booked before %s, were removed for their age on %s (covered by checkpoint "
           "%" JSON_INTEGER_FORMAT ")\n",
        json_integer_value(json_object_get(pruned, "entries")), until, at,
        json_integer_value(json_object_get(pruned, "checkpoint")));
}

static void
print_chains(const json_t *answer)
{
    const json_t *row, *checkpoints;
    size_t i;

    json_array_foreach(json_object_get(answer, "chains"), i, row)
    {
        printf("%-8s  org %s  node %s  %" JSON_INTEGER_FORMAT " entries  head %.16s  %s%s\n",
            text_of(row, "chain"), org_of(row), text_of(row, "node_id"),
            json_integer_value(json_object_get(row, "entries")), text_of(row, "head"),
            json_is_true(json_object_get(row, "valid")) ? "holds" : "BROKEN: ",
            text_of(row, "why"));
        print_pruned(json_object_get(row, "pruned"));
    }
    checkpoints = json_object_get(answer, "checkpoints");
    printf("%" JSON_INTEGER_FORMAT " checkpoints  %s%s\n",
        json_integer_value(json_object_get(checkpoints, "count")),
        json_is_true(json_object_get(checkpoints, "valid")) ? "agree" : "DISAGREE: ",
        text_of(checkpoints, "why"));
    json_array_foreach(json_object_get(checkpoints, "keys"), i, row)
        printf("    signed with %s\n", json_string_value(row));
    printf("%s (What this cannot show: purser audit verify --help)\n",
        json_is_true(json_object_get(answer, "valid")) ? "Every chain holds."
                                                       : "The trail was tampered with.");
}

static int
audit_verify_command(int argc, char **argv)
{
    AUTO_TRAIL struct trail t = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *kept = NULL;
    const struct option options[] = {
        {"checkpoints", "FILE", "also hold it against these (purser audit export); offline only",
            .text = &kept},
        TRAIL_OPTIONS(t)};
    const struct command_line line = {"purser audit verify", "",
        "Walks the hash chains of decision records and ledger entries and names the first entry of "
        "each\nthat was altered, is missing, doubled or out of order, and holds the chains against "
        "the signed\ncheckpoints: entries that were cut off, or a chain computed anew. Exit code 1 "
        "when there is one.\nIt cannot show that the newest entries were removed together with the "
        "checkpoints that saw them:\nfor that, keep checkpoints elsewhere (purser audit export) "
        "and "
        "give them with --checkpoints.",
        ROWS(options)};

    if (!trail_begin(&t, &line, argc, argv, NULL))
        return t.session.exit_code;
    if (kept != NULL && !is_offline(&t))
        return session_end(&t.session,
            fail(&t.session.error, ERR_USAGE, "--checkpoints goes with --state or --store"));
    if (read_chains(&t, kept, &answer, &t.session.error) != ERR_OK)
        return cmd_fail(&t.session.error);
    if (t.session.options.json)
        output_json(answer);
    else
        print_chains(answer);
    return json_is_true(json_object_get(answer, "valid")) ? EXIT_OK : EXIT_FAILED;
}

/* --- export ---------------------------------------------------------------------------------- */

static enum err
newest_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *c = ctx;

    return checkpoint_row_newest(tx, (struct id){0}, &c->arena, &c->kept, &c->kept_n, e);
}

static int
audit_export_command(int argc, char **argv)
{
    AUTO_TRAIL struct trail t = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {TRAIL_OPTIONS(t)};
    const struct command_line line = {"purser audit export", "",
        "Prints the newest signed checkpoint of every chain, with the public key that signed it. "
        "Keep it\nwhere this machine cannot change it: purser audit verify --checkpoints holds a "
        "store against it.",
        ROWS(options)};
    struct chains c = {0};
    enum err err;

    if (!trail_begin(&t, &line, argc, argv, NULL))
        return t.session.exit_code;
    if (!is_offline(&t))
        err = client_call(
            t.session.client, "GET", "/admin/audit/checkpoints", NULL, &answer, &t.session.error);
    else
        err = store_read(t.store, newest_tx, &c, &t.session.error);
    if (err == ERR_OK && is_offline(&t))
        answer = audit_checkpoints_json(c.kept, c.kept_n);
    if (err == ERR_OK)
        output_json(answer);
    arena_done(&c.arena);
    return session_end(&t.session, err);
}

/* --- replay ---------------------------------------------------------------------------------- */

struct replay_run {
    struct api_registry registry;
    char fingerprint[65];
    size_t replayed, differ, other_registry;
    json_t *rows; /* those that differ */
};

static void
print_differences(const json_t *row)
{
    char when[25];
    const json_t *text;
    size_t i;

    clock_text(json_integer_value(json_object_get(row, "created_ms")), when);
    printf("%s  %s of %s  (record %s)\n", when, text_of(row, "kind"), text_of(row, "workspace_id"),
        text_of(row, "id"));
    json_array_foreach(json_object_get(row, "differences"), i, text)
        printf("    %s\n", json_string_value(text));
}

/* A record that cannot be read is a difference, too: nobody can say what was decided. */
static bool
replay_one(void *ctx, json_t *row)
{
    static const char *const copied[] = {
        "id", "org_id", "workspace_id", "kind", "created_ms", "registry_fingerprint"};
    struct replay_run *r = ctx;
    json_t *differences = NULL, *found;
    struct error e;

    if (replay_record(&r->registry, json_object_get(row, "record"), &differences, &e) != ERR_OK)
        differences = json_pack("[s]", e.text);
    r->replayed++;
    r->other_registry += strcmp(text_of(row, "registry_fingerprint"), r->fingerprint) != 0;
    if (json_array_size(differences) == 0) {
        json_decref(differences);
        return true;
    }
    r->differ++;
    found = json_pack("{s:o}", "differences", differences);
    for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
        json_object_set(found, copied[i], json_object_get(row, copied[i]));
    json_array_append_new(r->rows, found);
    return true;
}

static void
print_replay(const struct replay_run *r)
{
    const json_t *row;
    size_t i;

    json_array_foreach(r->rows, i, row) print_differences(row);
    printf("%zu decisions replayed with the registry %.12s: %zu the same, %zu different.\n",
        r->replayed, r->fingerprint, r->replayed - r->differ, r->differ);
    if (r->other_registry > 0)
        printf("%zu of them were made with another registry (--registry FILE says which to use).\n",
            r->other_registry);
}

static int
audit_replay_command(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    AUTO_TRAIL struct trail t = {0};
    struct replay_run r = {0};
    const char *registry = NULL, *workspace = NULL;
    const struct option options[] = {
        {"registry", "FILE", "another registry than the embedded one", .text = &registry},
        {"workspace", "WORKSPACE", "only the decisions about this agent", .text = &workspace},
        TRAIL_OPTIONS(t),
    };
    const struct command_line line = {"purser audit replay", "",
        "Makes every recorded decision again from its recorded inputs and says what would be "
        "different.\nExit code 1 when anything is.",
        ROWS(options)};
    enum err err;

    if (!trail_begin(&t, &line, argc, argv, &workspace))
        return t.session.exit_code;
    if (registry_load(registry, &set, &t.session.error) != ERR_OK)
        return cmd_fail(&t.session.error);
    r.registry = (struct api_registry){
        .registry = registry_block(set), .match = registry_match, .match_ctx = set};
    registry_fingerprint_hex(r.registry.registry, r.fingerprint);
    r.rows = json_array();
    err = each_record(&t, replay_one, &r, &t.session.error);
    if (err == ERR_OK && t.session.options.json) {
        AUTO_JSON json_t *answer = json_pack("{s:s, s:I, s:I, s:I, s:O}", "registry_fingerprint",
            r.fingerprint, "replayed", (json_int_t)r.replayed, "different", (json_int_t)r.differ,
            "other_registry", (json_int_t)r.other_registry, "decisions", r.rows);

        output_json(answer);
    } else if (err == ERR_OK) {
        print_replay(&r);
    }
    json_decref(r.rows);
    if (err != ERR_OK)
        return cmd_fail(&t.session.error);
    return r.differ == 0 ? EXIT_OK : EXIT_FAILED;
}

int
cmd_audit(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"decisions", audit_decisions_command, "list what was decided"},
        {"verify", audit_verify_command, "was anything altered, removed or put in?"},
        {"export", audit_export_command, "print the signed checkpoints, to be kept elsewhere"},
        {"replay", audit_replay_command, "make the decisions again and compare"},
        {"secrets", cmd_audit_secrets, "what is stored where it should not be?"},
    };

    return cmd_dispatch("purser audit",
        "Decision records and the chains that protect them; stored secrets.", ROWS(table), argc,
        argv);
}
