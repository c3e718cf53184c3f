/* purser env: the plan with its reasons, names only. */
#include "cli/session.h"

static const struct column env_columns[] = {
    {"ACTION", "action", COLUMN_TEXT},
    {"NAME", "name", COLUMN_TEXT},
    {"SOURCE", "source", COLUMN_TEXT},
    {"SCOPE", "scope", COLUMN_TEXT},
    {"VALUE", "value", COLUMN_TEXT},
    {"REASON", "reason", COLUMN_TEXT},
};

static const struct column columns[] = {
    {"workspace", "workspace_id", COLUMN_TEXT},
    {"mode", "resolved_mode", COLUMN_TEXT},
    {"source", "source", COLUMN_TEXT},
    {"provider", "provider_selection", COLUMN_TEXT},
    {"model", "model", COLUMN_TEXT},
};

static const char *
text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text == NULL ? "" : text;
}

static void
print_file(const json_t *file)
{
    const char *line = text_of(file, "content");

    printf("\n~/%s (%s)%s\n", text_of(file, "path"), text_of(file, "mode"),
        json_is_true(json_object_get(file, "refreshed")) ? ", which the agent renews by itself"
                                                         : "");
    while (*line != '\0') {
        size_t n = strcspn(line, "\n");

        printf("    %.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
}

static void
print_plan(const json_t *answer)
{
    json_t *refusal = json_object_get(answer, "refusal"), *item;
    size_t i;

    output_object(answer, ROWS(columns));
    printf("\n");
    output_table(json_object_get(answer, "env"), ROWS(env_columns));
    json_array_foreach(json_object_get(answer, "files"), i, item) print_file(item);
    item = json_object_get(answer, "credential");
    if (json_is_object(item))
        printf("\ncredential %s: its vendor's answer is \"%s\"\n", text_of(item, "name"),
            text_of(item, "check"));
    json_array_foreach(json_object_get(answer, "warnings"), i, item)
        printf("\nwarning %s: %s\n", text_of(item, "code"), text_of(item, "text"));
    if (json_is_object(refusal))
        printf(
            "\nit would not start: %s: %s\n", text_of(refusal, "code"), text_of(refusal, "text"));
}

int
cmd_env(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser env", "WORKSPACE",
        "Shows the environment that an agent would be started with: every variable with where it\n"
        "comes from and why, what is taken away, and the files in its HOME. Never a secret's "
        "value.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = session_workspace_call(
        &s, "GET", s.arguments.positional[0], "/workspaces/%s/env", NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        print_plan(answer);
    return session_end(&s, err);
}
