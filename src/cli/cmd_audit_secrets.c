#include "cli/session.h"

/* One row for each place of each finding. */
static json_t *
flatten(const json_t *findings)
{
    json_t *rows = json_array();
    json_t *finding, *place;
    size_t i, k;

    json_array_foreach((json_t *)findings, i, finding)
    {
        json_array_foreach(json_object_get(finding, "places"), k, place)
        {
            const char *scope = json_string_value(json_object_get(place, "scope"));
            json_t *row = json_copy(place);

            json_object_set(row, "code", json_object_get(finding, "code"));
            json_object_set_new(row, "finding", json_integer((json_int_t)i + 1));
            if (scope != NULL && strcmp(scope, "global") == 0)
                json_object_set_new(row, "scope", json_string("org"));
            json_array_append_new(rows, row);
        }
    }
    return rows;
}

static void
print_findings(const json_t *answer)
{
    static const struct column columns[] = {
        {"NO", "finding", COLUMN_TEXT},
        {"FINDING", "code", COLUMN_TEXT},
        {"ORG", "org", COLUMN_TEXT},
        {"SCOPE", "scope", COLUMN_TEXT},
        {"WORKSPACE", "workspace_id", COLUMN_TEXT},
        {"KEY", "key", COLUMN_TEXT},
    };
    const json_t *findings = json_object_get(answer, "findings");
    AUTO_JSON json_t *rows = flatten(findings);
    json_t *finding;
    size_t i;

    if (json_array_size(findings) == 0) {
        printf("nothing found\n");
    } else {
        output_table(rows, ROWS(columns));
        printf("\n");
        json_array_foreach((json_t *)findings, i, finding)
        {
            printf("%zu: %s\n", i + 1, json_string_value(json_object_get(finding, "text")));
        }
    }
    if (json_is_true(json_object_get(answer, "more")))
        printf("there is more than is shown\n");
    if (json_is_true(json_object_get(answer, "rotation_under_way")))
        printf("a rotation of keys is under way: equal values may be missing until it has ended\n");
}

int
cmd_audit_secrets(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser audit secrets", "",
        "Looks through what all orgs have stored: credentials that several orgs share, the "
        "platform's\nown keys, subscriptions that several workspaces share, keys in another "
        "vendor's slot, values\nthat do not open. Names orgs and keys, never values. Exit code 1 "
        "when there is a finding.",
        ROWS(options)};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_call(s.client, "GET", "/admin/audit/secrets", NULL, &answer, &s.error);
    if (err != ERR_OK)
        return session_end(&s, err);
    if (s.options.json)
        output_json(answer);
    else
        print_findings(answer);
    return json_array_size(json_object_get(answer, "findings")) == 0 ? EXIT_OK : EXIT_FAILED;
}
