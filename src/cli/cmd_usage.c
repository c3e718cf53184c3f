#include "cli/session.h"

static const struct column totals[] = {
    {"calls", "calls", COLUMN_TEXT},
    {"failed", "failed", COLUMN_TEXT},
    {"inexact", "inexact", COLUMN_TEXT},
    {"input tokens", "input_tokens", COLUMN_TEXT},
    {"output tokens", "output_tokens", COLUMN_TEXT},
    {"cache read", "cache_read_tokens", COLUMN_TEXT},
    {"cache write 5m", "cache_write_5m_tokens", COLUMN_TEXT},
    {"cache write 1h", "cache_write_1h_tokens", COLUMN_TEXT},
    {"cost", "cost_nano_usd", COLUMN_USD},
};

static const struct column entries[] = {
    {"OPENED", "opened_ms", COLUMN_TIME},
    {"MODEL", "model_asked", COLUMN_TEXT},
    {"STATE", "state", COLUMN_TEXT},
    {"CERTAINTY", "certainty", COLUMN_TEXT},
    {"INPUT", "input_tokens", COLUMN_TEXT},
    {"OUTPUT", "output_tokens", COLUMN_TEXT},
    {"COST", "cost_nano_usd", COLUMN_USD},
};

static const struct column orgs[] = {
    {"ORG", "slug", COLUMN_TEXT},
    {"CALLS", "calls", COLUMN_TEXT},
    {"FAILED", "failed", COLUMN_TEXT},
    {"INPUT", "input_tokens", COLUMN_TEXT},
    {"OUTPUT", "output_tokens", COLUMN_TEXT},
    {"COST", "cost_nano_usd", COLUMN_USD},
};

static void
print_usage(const json_t *answer)
{
    const json_t *rows = json_object_get(answer, "entries");

    if (rows == NULL) {
        output_table(json_object_get(answer, "orgs"), ROWS(orgs));
        return;
    }
    output_object(answer, ROWS(totals));
    if (json_array_size(rows) == 0)
        return;
    printf("\n");
    output_table(rows, ROWS(entries));
}

int
cmd_usage(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser usage", "[WORKSPACE]",
        "Shows what was called and what it cost, newest first: of a workspace, of the org (--org), "
        "or\n"
        "of every org.",
        ROWS(options), .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (s.arguments.positional_n == 1)
        err = session_workspace_call(
            &s, "GET", s.arguments.positional[0], "/workspaces/%s/usage", NULL, &answer);
    else
        err = client_call(s.client, "GET", "/usage", NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        print_usage(answer);
    return session_end(&s, err);
}
