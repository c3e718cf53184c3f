#include "cli/secret_input.h"
#include "cli/session.h"
#include "core/num.h"

static const char from_stdin[] = "a key is read from stdin, never from the command line: purser "
                                 "platform keys add PROVIDER < file";

/* provider NULL: the path names it. */
static enum err
send_key(struct session *s, const char *method, const char *path, const char *provider,
    const char *weight, json_t **ret)
{
    AUTO_SECRET struct secret *value = NULL;
    AUTO_JSON json_t *body = json_object();
    int64_t number = 0;
    struct str text;
    enum err err = secret_input("the key", &value, &s->error);

    if (err != ERR_OK)
        return err;
    text = secret_expose(value);
    if (provider != NULL)
        json_object_set_new(body, "provider", json_string(provider));
    if (weight != NULL && !num_parse_i64(str_from_cstr(weight), &number))
        return fail(&s->error, ERR_USAGE, "--weight is a number, 1 to 1000");
    if (weight != NULL)
        json_object_set_new(body, "weight", json_integer((json_int_t)number));
    if (json_object_set_new(body, "value", json_stringn(text.p, text.n)) != 0)
        return fail(&s->error, ERR_USAGE, "the key is not UTF-8 text");
    return client_call(s->client, method, path, body, ret, &s->error);
}

static int
key_end(struct session *s, enum err err, const json_t *answer, const char *sentence)
{
    if (err == ERR_OK && s->options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s\n", sentence);
    if (err == ERR_OK)
        output_warnings(answer);
    return session_end(s, err);
}

static int
key_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform keys set", "PROVIDER",
        "Makes this the provider's only key: others of it are retired. It is read from stdin, or "
        "asked\nfor on a terminal.",
        ROWS(options), .positional_min = 1, .positional_max = 1, .too_many = from_stdin};
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(
        path, sizeof(path), &s.error, "/admin/platform/keys/%s", s.arguments.positional[0]);
    if (err == ERR_OK)
        err = send_key(&s, "PUT", path, NULL, NULL, &answer);
    return key_end(&s, err, answer, "the key is set, the gateway uses it");
}

static int
key_add(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *weight = NULL;
    const struct option options[] = {
        {"weight", "N", "its share of the calls among the provider's keys, 1 to 1000 (default: 1)",
            .text = &weight},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser platform keys add", "PROVIDER",
        "Adds a key beside those the provider has. It is read from stdin, or asked for on a "
        "terminal.\nTo replace a key without a failed call: add the new one, retire the old one.",
        ROWS(options), .positional_min = 1, .positional_max = 1, .too_many = from_stdin};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = send_key(&s, "POST", "/admin/platform/keys", s.arguments.positional[0], weight, &answer);
    return key_end(&s, err, answer, "the key is added, the gateway uses it");
}

static int
key_weight(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform keys weight", "ID N",
        "Sets a key's share of the calls among its provider's keys, 1 to 1000.", ROWS(options),
        .positional_min = 2, .positional_max = 2};
    int64_t weight = 0;
    char path[256];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(
        path, sizeof(path), &s.error, "/admin/platform/keys/%s", s.arguments.positional[0]);
    if (err == ERR_OK && !num_parse_i64(str_from_cstr(s.arguments.positional[1]), &weight))
        err = fail(&s.error, ERR_USAGE, "the weight is a number, 1 to 1000");
    json_object_set_new(body, "weight", json_integer((json_int_t)weight));
    if (err == ERR_OK)
        err = client_call(s.client, "PATCH", path, body, &answer, &s.error);
    return key_end(&s, err, answer, "the weight is set");
}

static int
key_list(int argc, char **argv)
{
    static const struct column columns[] = {
        {"PROVIDER", "provider", COLUMN_TEXT},
        {"ID", "id", COLUMN_TEXT},
        {"WEIGHT", "weight", COLUMN_TEXT},
        {"CREATED", "created_at", COLUMN_TIME},
    };
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser platform keys list", "",
        "Lists which providers the platform has keys for, never the keys.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, session_list(&s, "/admin/platform/keys", ROWS(columns)));
}

static int
retire(int argc, char **argv, const struct command_line *about, const char *sentence)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    struct command_line line = *about;
    char path[256];
    enum err err;

    line.options = options;
    line.options_n = sizeof(options) / sizeof(options[0]);
    line.positional_min = line.positional_max = 1;
    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(
        path, sizeof(path), &s.error, "/admin/platform/keys/%s", s.arguments.positional[0]);
    if (err == ERR_OK)
        err = client_call(s.client, "DELETE", path, NULL, &answer, &s.error);
    return key_end(&s, err, answer, sentence);
}

static int
key_retire(int argc, char **argv)
{
    const struct command_line line = {"purser platform keys retire", "ID",
        "Takes one key out of use. With the last one of a provider, calls to its models end with "
        "an\nerror. A retired key stays known: no org can store it."};

    return retire(argc, argv, &line, "the key is retired, the gateway uses it no more");
}

static int
key_rm(int argc, char **argv)
{
    const struct command_line line = {"purser platform keys rm", "PROVIDER",
        "Retires all of the provider's keys: calls to its models end with an error."};

    return retire(argc, argv, &line, "the provider's keys are retired");
}

static int
platform_keys(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"add", key_add, "add a provider's key, read from stdin"},
        {"list", key_list, "list the keys in use, without values"},
        {"retire", key_retire, "take one out of use"},
        {"weight", key_weight, "set how much of the calls one gets"},
        {"set", key_set, "set a provider's only key, read from stdin"},
        {"rm", key_rm, "retire all of a provider's keys"},
    };

    return cmd_dispatch(
        "purser platform keys", "The platform's own vendor keys.", ROWS(table), argc, argv);
}

int
cmd_platform(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"keys", platform_keys, "the vendor keys the gateway calls with"},
        {"key", platform_keys, "the same"},
    };

    return cmd_dispatch(
        "purser platform", "What the platform itself owns.", ROWS(table), argc, argv);
}
