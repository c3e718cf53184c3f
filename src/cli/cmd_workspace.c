#include "cli/secret_input.h"
#include "cli/session.h"

static const struct column list_columns[] = {
    {"ID", "id", COLUMN_TEXT},
    {"NAME", "name", COLUMN_TEXT},
    {"RUNTIME", "runtime", COLUMN_TEXT},
    {"STATUS", "status", COLUMN_TEXT},
    {"LAST ERROR", "last_error", COLUMN_TEXT},
};

static const struct column columns[] = {
    {"id", "id", COLUMN_TEXT},
    {"name", "name", COLUMN_TEXT},
    {"runtime", "runtime", COLUMN_TEXT},
    {"model", "model", COLUMN_TEXT},
    {"mode", "resolved_mode", COLUMN_TEXT},
    {"source", "source", COLUMN_TEXT},
    {"provider", "provider", COLUMN_TEXT},
    {"status", "status", COLUMN_TEXT},
    {"desired", "desired", COLUMN_TEXT},
    {"last error", "last_error", COLUMN_TEXT},
    {"created", "created_at", COLUMN_TIME},
};

/* What create was given; the row's texts are NULL where the server shall choose. */
struct create_flags {
    const char *runtime, *model, *role, *work_dir, *secret;
    struct option_values extra_models;
    bool no_start;
};

static void
set_text(json_t *body, const char *name, const char *value)
{
    if (value != NULL)
        json_object_set_new(body, name, json_string(value));
}

static json_t *
create_body(const struct create_flags *f, const struct arguments *a)
{
    json_t *body = json_object(), *models = json_array(), *command = json_array();

    set_text(body, "name", a->positional[0]);
    set_text(body, "runtime", f->runtime);
    set_text(body, "model", f->model);
    set_text(body, "role", f->role);
    set_text(body, "workspace_dir", f->work_dir);
    for (size_t i = 0; i < f->extra_models.n; i++)
        json_array_append_new(models, json_string(f->extra_models.v[i]));
    for (size_t i = 0; i < a->rest_n; i++)
        json_array_append_new(command, json_string(a->rest[i]));
    if (f->extra_models.n > 0)
        json_object_set(body, "extra_models", models);
    if (a->rest_n > 0)
        json_object_set(body, "command", command);
    if (f->no_start)
        json_object_set_new(body, "start", json_false());
    json_decref(models);
    json_decref(command);
    return body;
}

/* A model that the org pays is refused without its key: the key comes with the workspace. */
static enum err
add_secret(json_t *body, const char *name, struct error *e)
{
    AUTO_SECRET struct secret *value = NULL;
    struct str text;
    json_t *json;
    enum err err = secret_input(name, &value, e);

    if (err != ERR_OK)
        return err;
    text = secret_expose(value);
    json = json_stringn(text.p, text.n);
    if (json == NULL)
        return fail(e, ERR_USAGE, "the value of %s is not UTF-8 text", name);
    json_object_set_new(body, "secrets", json_pack("{s:o}", name, json));
    return ERR_OK;
}

/* The workspace is there; whether its agent runs is another matter, told on stderr. */
static int
create_exit_code(const json_t *row)
{
    const json_t *error = json_object_get(row, "last_error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "error"));

    if (code == NULL)
        return EXIT_OK;
    fprintf(stderr, "created, but not started: %s: %s\n", code, text == NULL ? "" : text);
    return EXIT_FAILED;
}

static int
workspace_create(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = NULL;
    AUTO_JSON json_t *answer = NULL;
    struct create_flags f = {0};
    const struct option options[] = {
        {"runtime", "RUNTIME", "claude-code, codex ... (default: claude-code)", .text = &f.runtime},
        {"model", "MODEL", "the model's id (required)", .text = &f.model},
        {"extra-model", "MODEL", "further models it may call on the platform",
            .list = &f.extra_models},
        {"role", "ROLE", "a free text: what it is for", .text = &f.role},
        {"workspace-dir", "DIR", "where it works (default: its home)", .text = &f.work_dir},
        {"secret", "NAME", "a secret of its own; the value is read from stdin", .text = &f.secret},
        {"no-start", NULL, "do not start it", .flag = &f.no_start},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser workspace create", "NAME",
        "Creates an agent and starts it. A command behind -- replaces the runtime's own.",
        ROWS(options), .positional_min = 1, .positional_max = 1, .takes_rest = true,
        .too_many = "purser workspace create takes one NAME (a secret's value is read from stdin)"};
    enum err err = ERR_OK;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    body = create_body(&f, &s.arguments);
    if (f.secret != NULL)
        err = add_secret(body, f.secret, &s.error);
    if (err == ERR_OK)
        err = client_call(s.client, "POST", "/workspaces", body, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s\n", json_string_value(json_object_get(answer, "id")));
    fflush(stdout);
    return err == ERR_OK ? create_exit_code(answer) : session_end(&s, err);
}

static int
workspace_list(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {
        "purser workspace list", "", "Lists an org's agents.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, session_list(&s, "/workspaces", ROWS(list_columns)));
}

/* The commands that name one workspace and make one request about it. */
struct verb {
    const char *command;
    const char *summary;
    const char *method;
    const char *path;
    const char *done; /* what people read instead of the answer; NULL: the answer's columns */
};

static int
run_verb(const struct verb *v, int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {v->command, "WORKSPACE", v->summary, ROWS(options),
        .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = session_workspace_call(&s, v->method, s.arguments.positional[0], v->path, NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK && v->done != NULL)
        printf("%s\n", v->done);
    else if (err == ERR_OK)
        output_object(answer, ROWS(columns));
    return session_end(&s, err);
}

static int
workspace_show(int argc, char **argv)
{
    return run_verb(
        &(struct verb){"purser workspace show", "Shows an agent.", "GET", "/workspaces/%s", NULL},
        argc, argv);
}

static int
workspace_start(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace start", "Starts an agent.", "POST",
                        "/workspaces/%s/start", "started"},
        argc, argv);
}

static int
workspace_stop(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace stop", "Stops an agent.", "POST",
                        "/workspaces/%s/stop", "stopped"},
        argc, argv);
}

static int
workspace_restart(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace restart",
                        "Stops and starts an agent; the decision is made anew.", "POST",
                        "/workspaces/%s/restart", "restarted"},
        argc, argv);
}

/* The server wants the name with a removal, so that a wrong id deletes nothing. */
static enum err
remove_workspace(struct session *s, const char *text, bool children, json_t **ret)
{
    AUTO_JSON json_t *row = NULL;
    char line[320];
    enum err err = session_workspace_call(s, "GET", text, "/workspaces/%s", NULL, &row);

    if (err != ERR_OK)
        return err;
    snprintf(
        line, sizeof(line), "X-Confirm-Name: %s", json_string_value(json_object_get(row, "name")));
    client_set_header(s->client, line);
    return session_workspace_call(s, "DELETE", json_string_value(json_object_get(row, "id")),
        children ? "/workspaces/%s?confirm=true" : "/workspaces/%s", NULL, ret);
}

static int
workspace_rm(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    bool children = false;
    const struct option options[] = {
        {"with-children", NULL, "remove the workspaces below it, too", .flag = &children},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser workspace rm", "WORKSPACE",
        "Stops and removes an agent. What it spent stays in the ledger.", ROWS(options),
        .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = remove_workspace(&s, s.arguments.positional[0], children, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("removed\n");
    return session_end(&s, err);
}

static int
workspace_logs(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser workspace logs", "WORKSPACE",
        "Prints the end of an agent's log.", ROWS(options), .positional_min = 1,
        .positional_max = 1};
    const char *text;
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = session_workspace_call(
        &s, "GET", s.arguments.positional[0], "/workspaces/%s/logs", NULL, &answer);
    if (err != ERR_OK)
        return session_end(&s, err);
    text = json_string_value(json_object_get(answer, "output"));
    if (s.options.json)
        output_json(answer);
    else if (text != NULL)
        printf("%s", text);
    return EXIT_OK;
}

int
cmd_workspace(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"create", workspace_create, "create an agent and start it"},
        {"list", workspace_list, "list an org's agents"},
        {"show", workspace_show, "show one"},
        {"start", workspace_start, "start it"},
        {"stop", workspace_stop, "stop it"},
        {"restart", workspace_restart, "stop and start it"},
        {"logs", workspace_logs, "print the end of its log"},
        {"rm", workspace_rm, "stop and remove it"},
    };

    return cmd_dispatch(
        "purser workspace", "Agents, named by id or by name.", ROWS(table), argc, argv);
}
