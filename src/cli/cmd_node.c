#include "cli/session.h"

static int
node_list(int argc, char **argv)
{
    static const struct column columns[] = {
        {"ID", "id", COLUMN_TEXT},
        {"STATE", "state", COLUMN_TEXT},
        {"ASKED", "self", COLUMN_TEXT},
        {"WORKSPACES", "workspaces", COLUMN_TEXT},
        {"AGENTS UP", "agents_up", COLUMN_TEXT},
        {"LAST SEEN", "last_seen_at", COLUMN_TIME},
        {"CREATED", "created_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser node list", "",
        "Lists the machines on the store. ASKED is the one that answers.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, session_list(&s, "/admin/nodes", ROWS(columns)));
}

static int
node_forget(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser node forget", "NODE",
        "Gives up a machine that is gone for good. Its workspaces become those of the node that "
        "is\n"
        "asked, which starts those that are meant to run; their tokens end, and what the machine\n"
        "held of budgets is free again. Make sure first that nothing of it runs any more. What "
        "was\n"
        "only there is lost: agents' homes and logs, and calls that it had not booked yet.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(path, sizeof(path), &s.error, "/admin/nodes/%s", s.arguments.positional[0]);
    if (err == ERR_OK)
        err = client_call(s.client, "DELETE", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("forgotten; %lld workspaces are taken over\n",
            (long long)json_integer_value(json_object_get(answer, "workspaces")));
    return session_end(&s, err);
}

int
cmd_node(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"list", node_list, "list the machines on the store"},
        {"forget", node_forget, "give up one that is gone for good"},
    };

    return cmd_dispatch("purser node", "The machines on one store.", ROWS(table), argc, argv);
}
