/* Offline: the version of a store, and the way to another. */
#include "cli/cmd.h"
#include "cli/output.h"
#include "cli/store_flags.h"

#include "base/cleanup.h"
#include "core/num.h"

static json_t *
migration_json(const struct store_migration *m)
{
    return json_pack("{s:i, s:s#, s:b, s:o}", "version", m->version, "name", m->name.p,
        (int)m->name.n, "applied", m->applied_ms != 0, "applied_at",
        m->applied_ms == 0 ? json_null() : json_integer(m->applied_ms));
}

static enum err
print_status(struct str url, bool json, struct error *e)
{
    static const struct column columns[] = {
        {"VERSION", "version", COLUMN_TEXT},
        {"NAME", "name", COLUMN_TEXT},
        {"APPLIED", "applied_at", COLUMN_TIME},
    };
    AUTO_ARENA struct arena arena = {0};
    struct store_migration *rows;
    json_t *list, *whole;
    int at = 0;
    size_t n;

    if (store_migration_list(url, &arena, &rows, &n, e) != ERR_OK)
        return e->code;
    list = json_array();
    for (size_t i = 0; i < n; i++) {
        json_array_append_new(list, migration_json(&rows[i]));
        at = rows[i].applied_ms != 0 && rows[i].version > at ? rows[i].version : at;
    }
    whole = json_pack(
        "{s:i, s:i, s:o}", "version", at, "known", store_version_known(), "migrations", list);
    if (json) {
        output_json(whole);
    } else {
        printf("the store is at migration %d, this purser knows %d\n", at, store_version_known());
        output_table(list, columns, sizeof(columns) / sizeof(columns[0]));
    }
    json_decref(whole);
    return ERR_OK;
}

/* Reads the flags that all three have; false when the command is over. */
static bool
begin(struct store_flags *f, const char *command, const char *summary, const char **to, bool *json,
    int argc, char **argv, int *ret_code)
{
    struct option options[6];
    struct command_line line = {command, "", summary, options};
    struct arguments a = {0};

    line.options_n = store_flags_options(f, options);
    if (to != NULL)
        options[line.options_n++] =
            (struct option){"to", "N", "the migration to be at afterwards", .text = to};
    options[line.options_n++] = (struct option){"json", NULL, "print JSON", .flag = json};
    return options_read(&line, argc, argv, &a, ret_code);
}

static int
migrate_status(int argc, char **argv)
{
    AUTO_STORE_FLAGS struct store_flags f = {0};
    bool json = false;
    struct error e;
    int code;

    if (!begin(&f, "purser migrate status",
            "Says which migrations a store has. Changes nothing; the store may be served "
            "meanwhile.",
            NULL, &json, argc, argv, &code))
        return code;
    if (store_flags_url(&f, &e) != ERR_OK || print_status(f.url, json, &e) != ERR_OK)
        return cmd_fail(&e);
    return EXIT_OK;
}

static enum err
migrate(struct store_flags *f, bool up, const char *to, bool json, struct error *e)
{
    int at = 0, wanted = store_version_known();
    int64_t number;
    enum err err = store_flags_url(f, e);

    if (err == ERR_OK && !up)
        err = store_version(f->url, &at, e);
    if (err != ERR_OK)
        return err;
    /* From past what we know there is no way that we know. */
    if (!up && at <= store_version_known())
        wanted = at == 0 ? 0 : at - 1;
    if (to != NULL) {
        if (!num_parse_i64(str_from_cstr(to), &number) || number < 0 || number > INT32_MAX)
            return fail(e, ERR_USAGE, "--to takes the number of a migration, not \"%s\"", to);
        wanted = (int)number;
    }
    if (!up && wanted > at)
        return fail(
            e, ERR_USAGE, "the store is at migration %d: %d is not down from there", at, wanted);
    err = store_migrate_alone(f->url, wanted, e);
    return err == ERR_OK ? print_status(f->url, json, e) : err;
}

static int
migrate_up(int argc, char **argv)
{
    AUTO_STORE_FLAGS struct store_flags f = {0};
    const char *to = NULL;
    bool json = false;
    struct error e;
    int code;

    if (!begin(&f, "purser migrate up",
            "Brings a store to what this purser knows; makes it when there is none. Not needed\n"
            "before purser up or serve, which do the same. Refused while a purserd serves it.",
            &to, &json, argc, argv, &code))
        return code;
    return migrate(&f, true, to, json, &e) == ERR_OK ? EXIT_OK : cmd_fail(&e);
}

static int
migrate_down(int argc, char **argv)
{
    AUTO_STORE_FLAGS struct store_flags f = {0};
    const char *to = NULL;
    bool json = false;
    struct error e;
    int code;

    if (!begin(&f, "purser migrate down",
            "Takes the last migration back, or all down to --to, for an older purser. What it had\n"
            "added is lost: back up first. Refused while a purserd serves the store.",
            &to, &json, argc, argv, &code))
        return code;
    return migrate(&f, false, to, json, &e) == ERR_OK ? EXIT_OK : cmd_fail(&e);
}

int
cmd_migrate(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"status", migrate_status, "say which migrations a store has"},
        {"up", migrate_up, "bring a store to what this purser knows"},
        {"down", migrate_down, "take migrations back, for an older purser"},
    };

    return cmd_dispatch(
        "purser migrate", "The version of a store. Offline.", ROWS(table), argc, argv);
}
