#include "cli/org_export.h"
#include "cli/session.h"

static const struct column columns[] = {
    {"ID", "id", COLUMN_TEXT},
    {"SLUG", "slug", COLUMN_TEXT},
    {"NAME", "name", COLUMN_TEXT},
    {"SUSPENDED", "suspended", COLUMN_TEXT},
    {"VENDOR KEYS", "vendor_keys", COLUMN_TEXT},
    {"CREATED", "created_at", COLUMN_TIME},
};

static const char org_argument[] = "ORG";

/* One request about the org of the command line, by id or slug. */
static enum err
org_call(
    struct session *s, const char *method, const char *format, const json_t *body, json_t **ret)
{
    char path[256];
    enum err err = client_path(path, sizeof(path), &s->error, format, s->arguments.positional[0]);

    return err != ERR_OK ? err : client_call(s->client, method, path, body, ret, &s->error);
}

static int
print_org(struct session *s, enum err err, json_t *const *answer)
{
    if (err == ERR_OK && s->options.json)
        output_json(*answer);
    else if (err == ERR_OK)
        output_object(*answer, ROWS(columns));
    return session_end(s, err);
}

static void
set_text(json_t *body, const char *name, const char *value)
{
    if (value != NULL)
        json_object_set_new(body, name, json_string(value));
}

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

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    set_text(body, "slug", s.arguments.positional[0]);
    set_text(body, "name", name);
    set_text(body, "vendor_keys", vendor_keys);
    return print_org(
        &s, client_call(s.client, "POST", "/admin/orgs", body, &answer, &s.error), &answer);
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

static int
org_show(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser org show", org_argument,
        "Shows a customer, by slug or id.", ROWS(options), .positional_min = 1,
        .positional_max = 1};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return print_org(&s, org_call(&s, "GET", "/admin/orgs/%s", NULL, &answer), &answer);
}

static int
org_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const char *slug = NULL, *name = NULL, *vendor_keys = NULL;
    const struct option options[] = {
        {"slug", "SLUG", "another slug; the old one is free at once", .text = &slug},
        {"name", "NAME", "what people call it", .text = &name},
        {"vendor-keys", "reject|allow", "may vendor keys be kept for the whole org",
            .text = &vendor_keys},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser org set", org_argument,
        "Changes a customer's slug, name or policy.", ROWS(options), .positional_min = 1,
        .positional_max = 1};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    set_text(body, "slug", slug);
    set_text(body, "name", name);
    set_text(body, "vendor_keys", vendor_keys);
    if (json_object_size(body) == 0)
        return session_end(
            &s, fail(&s.error, ERR_USAGE, "say what to change: --slug, --name or --vendor-keys"));
    return print_org(&s, org_call(&s, "PATCH", "/admin/orgs/%s", body, &answer), &answer);
}

static int
suspend_or_resume(
    int argc, char **argv, const char *command, const char *summary, const char *format)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {
        command, org_argument, summary, ROWS(options), .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = org_call(&s, "POST", format, NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s; agents stopped: %lld\n", json_string_value(json_object_get(answer, "status")),
            (long long)json_integer_value(json_object_get(answer, "agents_stopped")));
    return session_end(&s, err);
}

static int
org_suspend(int argc, char **argv)
{
    return suspend_or_resume(argc, argv, "purser org suspend",
        "Stops a customer's agents and refuses its tokens, here and at the gateway, at once. "
        "Nothing\n"
        "is deleted; its secrets stay.",
        "/admin/orgs/%s/suspend");
}

static int
org_resume(int argc, char **argv)
{
    return suspend_or_resume(argc, argv, "purser org resume",
        "Takes a suspension back. Agents are not started: say which shall run (purser workspace "
        "start).",
        "/admin/orgs/%s/resume");
}

static int
org_export(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const char *output = NULL;
    const struct option options[] = {
        {"output", "FILE", "a file that is not there yet (default: standard output)",
            .text = &output},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser org export", org_argument,
        "Writes everything a customer owns as lines of JSON: workspaces, names of secrets (never "
        "values),\n"
        "tokens without their text, ledger, decisions, events. The last line holds counts and a "
        "digest.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(
        path, sizeof(path), &s.error, "/admin/orgs/%s/export", s.arguments.positional[0]);
    if (err == ERR_OK)
        err = org_export_save(s.client, path, output, &s.error);
    return session_end(&s, err);
}

static const struct column deletion_columns[] = {
    {"SLUG", "slug", COLUMN_TEXT},
    {"ID", "id", COLUMN_TEXT},
    {"LEDGER", "ledger", COLUMN_TEXT},
    {"DELETED", "deleted_at", COLUMN_TIME},
    {"EXPORT SHA-256", "export_sha256", COLUMN_TEXT},
    {"RECORD", "hash", COLUMN_TEXT},
};

static int
org_delete(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *confirm = NULL, *ledger = NULL, *export = NULL;
    const struct option options[] = {
        {"confirm", "SLUG", "the org's slug once more", .text = &confirm},
        {"ledger", "keep|delete", "what becomes of its ledger", .text = &ledger},
        {"export", "FILE", "delete only if nothing changed since this export", .text = &export},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser org delete", org_argument,
        "Deletes a customer for good: agents are stopped, homes removed, every row deleted at "
        "once. What\n"
        "stays is a record of how much went, with the digest of its export (purser org deleted).",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char digest[65] = "", header[300], format[160];
    enum err err = ERR_OK;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (confirm == NULL || ledger == NULL)
        return session_end(&s,
            fail(&s.error, ERR_USAGE,
                "this cannot be undone: add --confirm SLUG, and --ledger keep or --ledger delete"));
    if (strcmp(ledger, "keep") != 0 && strcmp(ledger, "delete") != 0)
        return session_end(&s, fail(&s.error, ERR_USAGE, "--ledger is keep or delete"));
    if (export != NULL)
        err = org_export_digest(export, digest, &s.error);
    if (err != ERR_OK)
        return session_end(&s, err);
    snprintf(header, sizeof(header), "X-Confirm-Name: %.200s", confirm);
    client_set_header(s.client, header);
    snprintf(format, sizeof(format), "/admin/orgs/%%s?ledger=%s%s%s", ledger,
        export == NULL ? "" : "&export_sha256=", digest);
    err = org_call(&s, "DELETE", format, NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        output_object(answer, ROWS(deletion_columns));
    return session_end(&s, err);
}

static int
org_deleted(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser org deleted", "",
        "Lists what went with the orgs that were deleted, and checks the chain of these records.",
        ROWS(options)};
    const char *why;
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_call(s.client, "GET", "/admin/deleted-orgs", NULL, &answer, &s.error);
    if (err != ERR_OK)
        return session_end(&s, err);
    if (s.options.json)
        output_json(answer);
    else
        output_table(client_rows(answer), ROWS(deletion_columns));
    why = json_string_value(json_object_get(answer, "why"));
    return session_end(
        &s, why == NULL ? ERR_OK : fail(&s.error, ERR_CONFLICT, "the chain is broken: %s", why));
}

int
cmd_org(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"create", org_create, "create an org"},
        {"list", org_list, "list the orgs"},
        {"show", org_show, "show one"},
        {"set", org_set, "change slug, name or the policy for vendor keys"},
        {"suspend", org_suspend, "stop its agents and refuse its tokens"},
        {"resume", org_resume, "take that back"},
        {"export", org_export, "everything it owns, as lines of JSON"},
        {"delete", org_delete, "delete it, with proof of what went"},
        {"deleted", org_deleted, "what went with the ones that were deleted"},
    };

    return cmd_dispatch("purser org", "Customers: each owns workspaces, secrets, tokens, budgets.",
        ROWS(table), argc, argv);
}
