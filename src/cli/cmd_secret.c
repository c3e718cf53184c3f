#include "cli/secret_input.h"
#include "cli/session.h"

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
        {"list", secret_list, "list names and scopes"},
        {"rm", secret_rm, "delete one"},
    };

    return cmd_dispatch("purser secret",
        "Secrets of a workspace (--workspace) or of a whole org; a workspace's own wins.",
        ROWS(table), argc, argv);
}
