#include "api/replay.h"
#include "base/cleanup.h"
#include "cli/audit_trail.h"
#include "registry/registry_load.h"

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
    err = trail_each(&t, list_record, &l, &t.session.error);
    if (err == ERR_OK && t.session.options.json)
        output_json(l.rows);
    else if (err == ERR_OK)
        output_table(l.rows, ROWS(columns));
    json_decref(l.rows);
    return session_end(&t.session, err);
}

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
    printf("%s  %s of %s  (record %s)\n", when, trail_text(row, "kind"),
        trail_text(row, "workspace_id"), trail_text(row, "id"));
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
    r->other_registry += strcmp(trail_text(row, "registry_fingerprint"), r->fingerprint) != 0;
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
    err = trail_each(&t, replay_one, &r, &t.session.error);
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
        {"verify", cmd_audit_verify, "was anything altered, removed or put in?"},
        {"export", cmd_audit_export, "print the signed checkpoints, to be kept elsewhere"},
        {"replay", audit_replay_command, "make the decisions again and compare"},
        {"secrets", cmd_audit_secrets, "what is stored where it should not be?"},
    };

    return cmd_dispatch("purser audit",
        "Decision records and the chains that protect them; stored secrets.", ROWS(table), argc,
        argv);
}
