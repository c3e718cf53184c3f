#include "cli/rotate_offline.h"
#include "cli/session.h"
#include "core/num.h"

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

/* "30d", "12h", "90m", "45s" as seconds. */
static enum err
duration_read(const char *text, int64_t *ret, struct error *e)
{
    static const struct {
        char unit;
        int64_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 24 * 3600}, {'w', 7 * 24 * 3600}};
    struct str s = str_from_cstr(text);
    int64_t n;

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (s.n > 1 && s.p[s.n - 1] == units[i].unit &&
            num_parse_i64(str_slice(s, 0, s.n - 1), &n) && n > 0 && n < 100000000) {
            *ret = n * units[i].seconds;
            return ERR_OK;
        }
    }
    return fail(e, ERR_USAGE, "\"%s\" is no duration: write 30d, 12h, 90m or 45s", text);
}

static int
token_create(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const char *workspace = NULL, *name = NULL, *expires = NULL;
    bool read_only = false;
    int64_t seconds = 0;
    const struct option options[] = {
        {"workspace", "WORKSPACE", whose_help, .text = &workspace},
        {"name", "NAME", "what it is for", .text = &name},
        {"expires", "30d", "ends by itself after 30d, 12h, 90m (default: never)", .text = &expires},
        {"read-only", NULL, "may look, not change (org tokens)", .flag = &read_only},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser token create", "",
        "Makes a credential and prints it: it cannot be shown again.", ROWS(options)};
    char path[256];
    enum err err = ERR_OK;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (workspace != NULL && read_only)
        return session_end(&s,
            fail(&s.error, ERR_USAGE,
                "a workspace's token cannot be read-only: make an org token (without "
                "--workspace)"));
    if (name != NULL)
        json_object_set_new(body, "name", json_string(name));
    if (expires != NULL)
        err = duration_read(expires, &seconds, &s.error);
    if (err != ERR_OK)
        return session_end(&s, err);
    if (expires != NULL)
        json_object_set_new(body, "expires_in_s", json_integer((json_int_t)seconds));
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
        {"KIND", "kind", COLUMN_TEXT},
        {"PREFIX", "prefix", COLUMN_TEXT},
        {"NAME", "name", COLUMN_TEXT},
        {"READ ONLY", "read_only", COLUMN_TEXT},
        {"WORKSPACE", "workspace_id", COLUMN_TEXT},
        {"CREATED", "created_at", COLUMN_TIME},
        {"LAST USED", "last_used_at", COLUMN_TIME},
        {"EXPIRES", "expires_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    const char *workspace = NULL;
    bool all = false;
    const struct option options[] = {
        {"workspace", "WORKSPACE", whose_help, .text = &workspace},
        {"all", NULL, "the org's and those of all its workspaces, usage tokens too", .flag = &all},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {
        "purser token list", "", "Lists live credentials, never their text.", ROWS(options)};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (all && workspace != NULL)
        return session_end(
            &s, fail(&s.error, ERR_USAGE, "either --all or --workspace: --all shows both"));
    err = tokens_path(&s, workspace, "", path, sizeof(path));
    if (err == ERR_OK && all)
        snprintf(path, sizeof(path), "/org/tokens?all=1");
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

static int
token_rotate_admin(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *state = NULL;
    bool offline = false;
    const struct option options[] = {
        {"offline", NULL, "the token is lost: by the owner of the state directory, on its machine",
            .flag = &offline},
        {"state", "DIR", "with --offline: the state directory (./var)", .text = &state},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser token rotate-admin", "",
        "Makes a new admin token and prints it; the one before ends at once. The server writes it "
        "to\n"
        "STATE/admin-token, too.",
        ROWS(options)};
    enum err err;

    if (!options_read(&line, argc, argv, &s.arguments, &s.exit_code))
        return s.exit_code;
    if (state != NULL && !offline)
        return session_end(&s,
            fail(&s.error, ERR_USAGE, "--state goes with --offline: otherwise name a --server"));
    if (offline)
        return session_end(&s, rotate_offline(state == NULL ? "./var" : state, &s.error));
    if (client_open(&s.options, &s.client, &s.error) != ERR_OK)
        return cmd_fail(&s.error);
    err = client_call(s.client, "POST", "/admin/token/rotate", NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s\n", json_string_value(json_object_get(answer, "auth_token")));
    return session_end(&s, err);
}

int
cmd_token(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"create", token_create, "make one and print it"},
        {"list", token_list, "list the live ones"},
        {"revoke", token_revoke, "end one"},
        {"rotate-admin", token_rotate_admin, "a new admin token; the old one ends"},
    };

    return cmd_dispatch("purser token", "Credentials for the API: of a workspace or of an org.",
        ROWS(table), argc, argv);
}
