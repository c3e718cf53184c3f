/* purser audit verify and export: the hash chains and the signed checkpoints of their heads. */
#include "api/audit.h"
#include "base/cleanup.h"
#include "cli/audit_trail.h"

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

    if (!trail_is_offline(t))
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

/* An org that is gone has no slug any more. */
static const char *
org_of(const json_t *row)
{
    const char *slug = trail_text(row, "org_slug");

    return slug[0] != '\0' ? slug : trail_text(row, "org_id");
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
            trail_text(row, "chain"), org_of(row), trail_text(row, "node_id"),
            json_integer_value(json_object_get(row, "entries")), trail_text(row, "head"),
            json_is_true(json_object_get(row, "valid")) ? "holds" : "BROKEN: ",
            trail_text(row, "why"));
        print_pruned(json_object_get(row, "pruned"));
    }
    checkpoints = json_object_get(answer, "checkpoints");
    printf("%" JSON_INTEGER_FORMAT " checkpoints  %s%s\n",
        json_integer_value(json_object_get(checkpoints, "count")),
        json_is_true(json_object_get(checkpoints, "valid")) ? "agree" : "DISAGREE: ",
        trail_text(checkpoints, "why"));
    json_array_foreach(json_object_get(checkpoints, "keys"), i, row)
        printf("    signed with %s\n", json_string_value(row));
    printf("%s (What this cannot show: purser audit verify --help)\n",
        json_is_true(json_object_get(answer, "valid")) ? "Every chain holds."
                                                       : "The trail was tampered with.");
}

int
cmd_audit_verify(int argc, char **argv)
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
    if (kept != NULL && !trail_is_offline(&t))
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

static enum err
newest_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct chains *c = ctx;

    return checkpoint_row_newest(tx, (struct id){0}, &c->arena, &c->kept, &c->kept_n, e);
}

int
cmd_audit_export(int argc, char **argv)
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
    if (!trail_is_offline(&t))
        err = client_call(
            t.session.client, "GET", "/admin/audit/checkpoints", NULL, &answer, &t.session.error);
    else
        err = store_read(t.store, newest_tx, &c, &t.session.error);
    if (err == ERR_OK && trail_is_offline(&t))
        answer = audit_checkpoints_json(c.kept, c.kept_n);
    if (err == ERR_OK)
        output_json(answer);
    arena_done(&c.arena);
    return session_end(&t.session, err);
}
