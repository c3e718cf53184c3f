#include "cli/session.h"

bool
session_begin(struct session *s, const struct command_line *c, int argc, char **argv)
{
    if (!options_read(c, argc, argv, &s->arguments, &s->exit_code))
        return false;
    if (client_open(&s->options, &s->client, &s->error) != ERR_OK) {
        s->exit_code = cmd_fail(&s->error);
        return false;
    }
    return true;
}

int
session_end(struct session *s, enum err err)
{
    return err == ERR_OK ? EXIT_OK : cmd_fail(&s->error);
}

enum err
session_list(struct session *s, const char *path, const struct column *columns, size_t n)
{
    AUTO_JSON json_t *answer = NULL;
    enum err err = client_call(s->client, "GET", path, NULL, &answer, &s->error);

    if (err != ERR_OK)
        return err;
    if (s->options.json)
        output_json(answer);
    else
        output_table(client_rows(answer), columns, n);
    return ERR_OK;
}

enum err
session_workspace_told(struct session *s, const char *text, enum err err)
{
    if (err == ERR_NOT_FOUND && strcmp(s->error.text, "workspace not found") == 0)
        return fail(&s->error, err,
            "there is no workspace %s in this org (purser workspace list; another org: --org)",
            text);
    return err;
}

enum err
session_workspace_call(struct session *s, const char *method, const char *text, const char *format,
    const json_t *body, json_t **ret)
{
    char id[ID_TEXT_BYTES], path[256];
    enum err err = workspace_ref(s->client, text, id, &s->error);

    if (err == ERR_OK)
        err = client_path(path, sizeof(path), &s->error, format, id);
    if (err == ERR_OK)
        err = client_call(s->client, method, path, body, ret, &s->error);
    return session_workspace_told(s, text, err);
}
