#include "cli/session.h"

static const struct column columns[] = {
    {"ID", "id", COLUMN_TEXT},
    {"SLUG", "slug", COLUMN_TEXT},
    {"NAME", "name", COLUMN_TEXT},
    {"VENDOR KEYS", "vendor_keys", COLUMN_TEXT},
    {"CREATED", "created_at", COLUMN_TIME},
};

static int
org_create(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const char *name = NULL, *vendor_keys = NULL;
    const struct option options[] = {
        {"name", "NAME", "what people call it (default: the slug)", .text = &name},
        {"vendor-keys", "reject|allow", "may vendor keys be kept for the whole org",
            .text = &vendor_keys},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser org create", "SLUG", "Creates a customer.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    json_object_set_new(body, "slug", json_string(s.arguments.positional[0]));
    json_object_set_new(body, "name", json_string(name == NULL ? s.arguments.positional[0] : name));
    if (vendor_keys != NULL)
        json_object_set_new(body, "vendor_keys", json_string(vendor_keys));
    err = client_call(s.client, "POST", "/admin/orgs", body, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        output_object(answer, ROWS(columns));
    return session_end(&s, err);
}

static int
org_list(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser org list", "", "Lists the customers.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, session_list(&s, "/admin/orgs", ROWS(columns)));
}

int
cmd_org(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"create", org_create, "create an org"},
        {"list", org_list, "list the orgs"},
    };

    return cmd_dispatch("purser org", "Customers: each owns workspaces, secrets, tokens, budgets.",
        ROWS(table), argc, argv);
}
