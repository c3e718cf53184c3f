#include "base/cleanup.h"
#include "cli/dotenv.h"
#include "cli/secret_input.h"
#include "cli/session.h"

enum { IMPORT_MAX = 256 };

static const char from_stdin[] =
    "a secret's value is read from stdin, never from the command line: purser secret set NAME < "
    "file";
static const char scope_help[] = "a secret of this workspace (default: of the whole org)";

/* The collection of secrets the command is about: a workspace's, or the org's. */
static enum err
secrets_path(
    struct session *s, const char *workspace, const char *name, char *ret, size_t ret_bytes)
{
    char id[ID_TEXT_BYTES];
    enum err err;

    if (workspace == NULL)
        return client_path(ret, ret_bytes, &s->error,
            name[0] == '\0' ? "/settings/secrets%s" : "/settings/secrets/%s", name);
    err = workspace_ref(s->client, workspace, id, &s->error);
    if (err != ERR_OK)
        return err;
    return client_path(ret, ret_bytes, &s->error,
        name[0] == '\0' ? "/workspaces/%s/secrets%s" : "/workspaces/%s/secrets/%s", id, name);
}

static enum err
put_secret(struct session *s, const char *path, const char *name)
{
    AUTO_SECRET struct secret *value = NULL;
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    struct str text;
    enum err err = secret_input(name, &value, &s->error);

    if (err != ERR_OK)
        return err;
    text = secret_expose(value);
    json_object_set_new(body, "key", json_string(name));
    if (json_object_set_new(body, "value", json_stringn(text.p, text.n)) != 0)
        return fail(&s->error, ERR_USAGE, "the value of %s is not UTF-8 text", name);
    err = client_call(s->client, "PUT", path, body, &answer, &s->error);
    if (err == ERR_OK && s->options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s is set\n", name);
    if (err == ERR_OK)
        output_warnings(answer);
    return err;
}

static int
secret_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const char *workspace = NULL;
    const struct option options[] = {
        {"workspace", "WORKSPACE", scope_help, .text = &workspace},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser secret set", "NAME",
        "Stores a secret. Its value is read from stdin, or asked for on a terminal.", ROWS(options),
        .positional_min = 1, .positional_max = 1, .too_many = from_stdin};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (strchr(s.arguments.positional[0], '=') != NULL)
        return session_end(&s, fail(&s.error, ERR_USAGE, "%s", from_stdin));
    err = secrets_path(&s, workspace, "", path, sizeof(path));
    if (err == ERR_OK)
        err = put_secret(&s, path, s.arguments.positional[0]);
    return session_end(&s, err);
}

/* The entries as the body's "secrets". */
static enum err
add_entries(json_t *body, const struct dotenv_entry *entries, size_t n, struct error *e)
{
    json_t *map = json_object();

    json_object_set_new(body, "secrets", map);
    for (size_t i = 0; i < n; i++) {
        json_t *value = json_stringn(entries[i].value.p, entries[i].value.n);

        if (value == NULL)
            return fail(e, ERR_USAGE, "line %u: the value of %.*s is not UTF-8 text",
                entries[i].line, STR_ARG(entries[i].name));
        json_object_setn_new(map, entries[i].name.p, entries[i].name.n, value);
    }
    return ERR_OK;
}

static enum err
read_file(const char *path, json_t *body, struct error *e)
{
    AUTO_SECRET struct secret *text = NULL;
    AUTO_FREE struct dotenv_entry *entries = calloc(IMPORT_MAX, sizeof(*entries));
    size_t n = 0;
    enum err err = secret_input_file(path, &text, e);

    ENSURE(entries != NULL);
    if (err == ERR_OK)
        err = dotenv_parse(secret_room(text), secret_bytes(text), IMPORT_MAX, entries, &n, e);
    if (err == ERR_OK && n == 0)
        return fail(e, ERR_USAGE, "there is no NAME=value in it");
    if (err == ERR_OK)
        err = add_entries(body, entries, n, e);
    return err == ERR_OK ? ERR_OK : wrap(e, "%s", strcmp(path, "-") == 0 ? "stdin" : path);
}

static void
print_import(const json_t *answer, bool dry_run)
{
    const json_t *names = json_object_get(answer, dry_run ? "would_write" : "written");
    json_t *row;
    size_t i;

    json_array_foreach((json_t *)names, i, row)
    {
        printf("%s %s\n", json_string_value(row), dry_run ? "would be set" : "is set");
    }
    json_array_foreach(json_object_get(answer, "refused"), i, row)
    {
        printf("%s is refused: %s: %s\n", json_string_value(json_object_get(row, "key")),
            json_string_value(json_object_get(row, "code")),
            json_string_value(json_object_get(row, "error")));
    }
    output_warnings(answer);
}

static int
secret_import(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL, *file = "-";
    bool dry_run = false;
    const struct option options[] = {
        {"workspace", "WORKSPACE", scope_help, .text = &workspace},
        {"dry-run", NULL, "only tell which names would be set and which are refused",
            .flag = &dry_run},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser secret import", "[FILE|-]",
        "Stores all secrets of a dotenv file (NAME=value lines; quotes, export and comments as "
        "usual),\nor none of them. Without FILE it reads stdin. Exit code 1 when a name is "
        "refused.",
        ROWS(options), .positional_max = 1, .too_many = from_stdin};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (s.arguments.positional_n == 1)
        file = s.arguments.positional[0];
    /* Somebody took it for "set": what stands there is not repeated. */
    if (strchr(file, '=') != NULL && access(file, F_OK) != 0)
        return session_end(&s, fail(&s.error, ERR_USAGE, "%s", from_stdin));
    err = read_file(file, body, &s.error);
    if (err == ERR_OK && dry_run)
        json_object_set_new(body, "dry_run", json_true());
    if (err == ERR_OK)
        err = secrets_path(&s, workspace, "import", path, sizeof(path));
    if (err == ERR_OK)
        err = client_call(s.client, "POST", path, body, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        print_import(answer, dry_run);
    if (err == ERR_OK && json_array_size(json_object_get(answer, "refused")) > 0)
        return EXIT_FAILED;
    return session_end(&s, err);
}

/* The API says "global" for what people read as "org" in the help. */
static void
name_scopes(const json_t *rows)
{
    json_t *row;
    size_t i;

    json_array_foreach((json_t *)rows, i, row)
    {
        const char *scope = json_string_value(json_object_get(row, "scope"));

        if (scope != NULL && strcmp(scope, "global") == 0)
            json_object_set_new(row, "scope", json_string("org"));
    }
}

static int
secret_list(int argc, char **argv)
{
    static const struct column columns[] = {
        {"NAME", "key", COLUMN_TEXT},
        {"SCOPE", "scope", COLUMN_TEXT},
        {"UPDATED", "updated_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL;
    const struct option options[] = {
        {"workspace", "WORKSPACE", "as this workspace sees them", .text = &workspace},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {
        "purser secret list", "", "Lists names, never values.", ROWS(options)};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = secrets_path(&s, workspace, "", path, sizeof(path));
    if (err == ERR_OK)
        err = client_call(s.client, "GET", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json) {
        output_json(answer);
    } else if (err == ERR_OK) {
        name_scopes(client_rows(answer));
        output_table(client_rows(answer), ROWS(columns));
    }
    return session_end(&s, err);
}

static int
secret_rm(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL;
    const struct option options[] = {
        {"workspace", "WORKSPACE", scope_help, .text = &workspace},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser secret rm", "NAME", "Deletes a secret.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char path[512];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = secrets_path(&s, workspace, s.arguments.positional[0], path, sizeof(path));
    if (err == ERR_OK)
        err = client_call(s.client, "DELETE", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s is deleted\n", s.arguments.positional[0]);
    return session_end(&s, err);
}

int
cmd_secret(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"set", secret_set, "store a value, read from stdin"},
        {"import", secret_import, "store those of a dotenv file, all or none"},
        {"list", secret_list, "list names and scopes"},
        {"rm", secret_rm, "delete one"},
    };

    return cmd_dispatch("purser secret",
        "Secrets of a workspace (--workspace) or of a whole org; a workspace's own wins.",
        ROWS(table), argc, argv);
}
