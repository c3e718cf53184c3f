#include "cli/secret_input.h"
#include "cli/session.h"

static enum err
put_key(struct session *s, const char *provider)
{
    AUTO_SECRET struct secret *value = NULL;
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    struct str text;
    char path[256];
    enum err err = client_path(path, sizeof(path), &s->error, "/admin/platform/keys/%s", provider);

    if (err == ERR_OK)
        err = secret_input(provider, &value, &s->error);
    if (err != ERR_OK)
        return err;
    text = secret_expose(value);
    if (json_object_set_new(body, "value", json_stringn(text.p, text.n)) != 0)
        return fail(&s->error, ERR_USAGE, "the key is not UTF-8 text");
    err = client_call(s->client, "PUT", path, body, &answer, &s->error);
    if (err == ERR_OK && s->options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("the platform's key of %s is set\n", provider);
    return err;
}

static int
key_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform key set", "PROVIDER",
        "Sets the key with which the gateway calls a vendor. It is read from stdin, or asked for "
        "on a\n"
        "terminal; an earlier key of the provider is retired.",
        ROWS(options), .positional_min = 1, .positional_max = 1,
        .too_many = "a key is read from stdin, never from the command line: "
                    "purser platform key set PROVIDER < file"};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, put_key(&s, s.arguments.positional[0]));
}

static int
key_list(int argc, char **argv)
{
    static const struct column columns[] = {
        {"PROVIDER", "provider", COLUMN_TEXT},
        {"ID", "id", COLUMN_TEXT},
        {"CREATED", "created_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform key list", "",
        "Lists which providers the platform has keys for, never the keys.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, session_list(&s, "/admin/platform/keys", ROWS(columns)));
}

static int
key_rm(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform key rm", "PROVIDER",
        "Retires the provider's keys: calls to its models end with an error.", ROWS(options),
        .positional_min = 1, .positional_max = 1};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(
        path, sizeof(path), &s.error, "/admin/platform/keys/%s", s.arguments.positional[0]);
    if (err == ERR_OK)
        err = client_call(s.client, "DELETE", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("the platform's keys of %s are retired\n", s.arguments.positional[0]);
    return session_end(&s, err);
}

static int
platform_key(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"set", key_set, "set a provider's key, read from stdin"},
        {"list", key_list, "list which providers have one"},
        {"rm", key_rm, "retire a provider's keys"},
    };

    return cmd_dispatch(
        "purser platform key", "The platform's own vendor keys.", ROWS(table), argc, argv);
}

int
cmd_platform(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"key", platform_key, "the vendor keys the gateway calls with"},
    };

    return cmd_dispatch(
        "purser platform", "What the platform itself owns.", ROWS(table), argc, argv);
}
