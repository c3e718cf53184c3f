#include "cli/session.h"

static const char whose_help[] = "of this workspace (default: of the whole org)";

static enum err
tokens_path(
    struct session *s, const char *workspace, const char *token, char *ret, size_t ret_bytes)
{
    char id[ID_TEXT_BYTES];
    enum err err;

    if (workspace == NULL)
        return client_path(ret, ret_bytes, &s->error,
            token[0] == '\0' ? "/org/tokens%s" : "/org/tokens/%s", token);
    err = workspace_ref(s->client, workspace, id, &s->error);
    if (err != ERR_OK)
        return err;
    return client_path(ret, ret_bytes, &s->error,
        token[0] == '\0' ? "/workspaces/%s/tokens%s" : "/workspaces/%s/tokens/%s", id, token);
}

static int
token_create(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL, *name = NULL;
    bool read_only = false;
    const struct option options[] = {
        {"workspace", "WORKSPACE", whose_help, .text = &workspace},
        {"name", "NAME", "what it is for (org tokens)", .text = &name},
        {"read-only", NULL, "may look, not change (org tokens)", .flag = &read_only},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser token create", "",
        "Makes a credential and prints it: it cannot be shown again.", ROWS(options)};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (workspace != NULL && (read_only || name != NULL))
        return session_end(&s,
            fail(&s.error, ERR_USAGE,
                "a workspace's token cannot %s: make an org token (without --workspace)",
                read_only ? "be read-only" : "have a name"));
    if (name != NULL)
        json_object_set_new(body, "name", json_string(name));
    if (read_only)
        json_object_set_new(body, "read_only", json_true());
    err = tokens_path(&s, workspace, "", path, sizeof(path));
    if (err == ERR_OK)
        err = client_call(s.client, "POST", path, body, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s\n", json_string_value(json_object_get(answer, "auth_token")));
    return session_end(&s, err);
}

static int
token_list(int argc, char **argv)
{
    static const struct column columns[] = {
        {"ID", "id", COLUMN_TEXT},
        {"PREFIX", "prefix", COLUMN_TEXT},
        {"NAME", "name", COLUMN_TEXT},
        {"CREATED", "created_at", COLUMN_TIME},
        {"LAST USED", "last_used_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    const char *workspace = NULL;
    const struct option options[] = {
        {"workspace", "WORKSPACE", whose_help, .text = &workspace},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {
        "purser token list", "", "Lists live credentials, never their text.", ROWS(options)};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = tokens_path(&s, workspace, "", path, sizeof(path));
    if (err == ERR_OK)
        err = session_list(&s, path, ROWS(columns));
    return session_end(&s, err);
}

static int
token_revoke(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL;
    const struct option options[] = {
        {"workspace", "WORKSPACE", whose_help, .text = &workspace},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser token revoke", "ID", "Ends a credential at once.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = tokens_path(&s, workspace, s.arguments.positional[0], path, sizeof(path));
    if (err == ERR_OK)
        err = client_call(s.client, "DELETE", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("revoked\n");
    return session_end(&s, err);
}

int
cmd_token(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"create", token_create, "make one and print it"},
        {"list", token_list, "list the live ones"},
        {"revoke", token_revoke, "end one"},
    };

    return cmd_dispatch("purser token", "Credentials for the API: of a workspace or of an org.",
        ROWS(table), argc, argv);
}
