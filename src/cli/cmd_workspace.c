#include "cli/cmd_workspace.h"
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
    {"agent says", "agent_says", COLUMN_TEXT},
    {"last error", "last_error", COLUMN_TEXT},
    {"launch", "launch_text", COLUMN_TEXT},
    {"readiness", "readiness", COLUMN_TEXT},
    {"restart", "restart", COLUMN_TEXT},
    {"restarts", "restarts", COLUMN_TEXT},
    {"created", "created_at", COLUMN_TIME},
};

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

/* "configured", or "not configured: why"; nothing when it says nothing. */
static void
add_agent_says(json_t *row)
{
    const json_t *agent = json_object_get(row, "agent");
    const json_t *configured = json_object_get(agent, "configured");
    const char *reason = json_string_value(json_object_get(agent, "reason"));
    char text[1200];

    if (!json_is_boolean(configured))
        return;
    snprintf(text, sizeof(text), "%sconfigured%s%s", json_is_true(configured) ? "" : "not ",
        reason == NULL ? "" : ": ", reason == NULL ? "" : reason);
    json_object_set_new(row, "agent_says", json_string(text));
}

/* {"image":"agent:1","memory_mb":512}; nothing for a process without limits of its own. */
static void
add_launch(json_t *row)
{
    const json_t *launch = json_object_get(row, "launch");
    char *text = json_object_size(launch) > 0 ? json_dumps(launch, JSON_COMPACT) : NULL;

    if (text != NULL)
        json_object_set_new(row, "launch_text", json_string(text));
    json_wiping_free(text);
}

static int
workspace_show(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser workspace show", "WORKSPACE",
        "Shows an agent: what it is, who pays, how it is doing.", ROWS(options),
        .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = session_workspace_call(
        &s, "GET", s.arguments.positional[0], "/workspaces/%s", NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    if (err == ERR_OK && !s.options.json) {
        add_agent_says(answer);
        add_launch(answer);
        output_object(answer, ROWS(columns));
    }
    return session_end(&s, err);
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
        {"create", cmd_workspace_create, "create an agent and start it"},
        {"list", workspace_list, "list an org's agents"},
        {"show", workspace_show, "show one"},
        {"set", cmd_workspace_set, "change what it is: name, role, command ..."},
        {"start", cmd_workspace_start, "start it"},
        {"stop", cmd_workspace_stop, "stop it"},
        {"restart", cmd_workspace_restart, "stop and start it"},
        {"pause", cmd_workspace_pause, "stop it and all below it, until they are resumed"},
        {"resume", cmd_workspace_resume, "start it and all below it that were paused"},
        {"watch", cmd_workspace_watch, "print what happens to it"},
        {"logs", workspace_logs, "print the end of its log"},
        {"rm", workspace_rm, "stop and remove it"},
    };

    return cmd_dispatch(
        "purser workspace", "Agents, named by id or by name.", ROWS(table), argc, argv);
}
