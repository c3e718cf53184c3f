/* Offline commands, though the store may be served while it is backed up. */
#include "cli/backup_dir.h"
#include "cli/cmd.h"
#include "cli/output.h"
#include "cli/store_flags.h"

#include "api/json.h"

static const struct column file_columns[] = {
    {"FILE", "name", COLUMN_TEXT},
    {"BYTES", "bytes", COLUMN_TEXT},
    {"SHA-256", "sha256", COLUMN_TEXT},
};

int
cmd_backup(int argc, char **argv)
{
    AUTO_STORE_FLAGS struct store_flags f = {0};
    struct backup_wish wish = {0};
    bool json = false;
    struct option options[STORE_FLAGS_OPTIONS + 3];
    struct command_line line = {"purser backup", "FOLDER",
        "Copies the store, as it is at one moment, and the state directory's keys into a new "
        "folder.\npurserd may go on serving. Who has the folder can read every secret: keep it as "
        "you keep the\nstate directory, or leave the keys out and keep them elsewhere. Calls in "
        "flight are not in it.",
        options, store_flags_options(&f, options), 1, 1};
    AUTO_JSON json_t *manifest = NULL;
    struct arguments a = {0};
    struct error e;
    int code;

    options[line.options_n++] = (struct option){"without-keys", NULL,
        "leave out master-key, node-key and admin-token", .flag = &wish.without_keys};
    options[line.options_n++] = (struct option){"without-store", NULL,
        "only the state directory's files (a PostgreSQL store: pg_dump)",
        .flag = &wish.without_store};
    options[line.options_n++] = (struct option){"json", NULL, "print JSON", .flag = &json};
    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (store_flags_url(&f, &e) != ERR_OK)
        return cmd_fail(&e);
    wish.store = f.url;
    wish.folder = a.positional[0];
    wish.state = f.loaded ? f.settings.state : f.state;
    if (wish.state == NULL) {
        fail(&e, ERR_USAGE, "with --store say which --state its keys are in");
        return cmd_fail(&e);
    }
    if (backup_dir_make(&wish, &manifest, &e) != ERR_OK)
        return cmd_fail(&e);
    if (json) {
        output_json(manifest);
        return EXIT_OK;
    }
    output_table(json_object_get(manifest, "files"), ROWS(file_columns));
    printf("backed up to %s. To use it: purser restore %s --state NEW-FOLDER\n", wish.folder,
        wish.folder);
    if (wish.without_keys)
        printf("without the keys: the secrets open only with this state's master-key (%s)\n",
            wish.state);
    return EXIT_OK;
}

int
cmd_restore(int argc, char **argv)
{
    const char *state = NULL;
    bool json = false;
    const struct option options[] = {
        {"state", "DIR", "the state directory to make; must not hold anything yet", .text = &state},
        {"json", NULL, "print JSON", .flag = &json},
    };
    const struct command_line line = {"purser restore", "FOLDER",
        "Makes a state directory of a backup. Every file is compared with what was backed up, the "
        "store\ntable by table. Agents that run under another purserd are not touched: do not let "
        "two serve\ncopies of one store.",
        ROWS(options), 1, 1};
    AUTO_JSON json_t *manifest = NULL;
    struct arguments a = {0};
    struct error e;
    int code;

    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (state == NULL) {
        fail(&e, ERR_USAGE, "say into which --state DIR");
        return cmd_fail(&e);
    }
    if (backup_dir_restore(a.positional[0], state, &manifest, &e) != ERR_OK)
        return cmd_fail(&e);
    if (json) {
        output_json(manifest);
        return EXIT_OK;
    }
    output_table(json_object_get(manifest, "files"), ROWS(file_columns));
    if (!json_is_true(json_object_get(manifest, "keys")))
        printf(
            "the backup has no keys: put its master-key (0600) into %s before you start\n", state);
    printf("restored and verified. Start it with: purser up --state %s\n", state);
    return EXIT_OK;
}
