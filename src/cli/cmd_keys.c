#include "base/cleanup.h"
#include "cli/session.h"

#include <time.h>

enum { POLL_MS = 200 };

static long long
number(const json_t *object, const char *key)
{
    return (long long)json_integer_value(json_object_get(object, key));
}

static void
print_status(const struct session *s, const json_t *status)
{
    static const struct column columns[] = {
        {"KEY", "id", COLUMN_TEXT},
        {"STATE", "state", COLUMN_TEXT},
        {"SEALED UNDER IT", "rows", COLUMN_TEXT},
    };
    const json_t *rotation = json_object_get(status, "rotation");
    long long left = number(rotation, "rows_left"), bad = number(rotation, "rows_unreadable");

    if (s->options.json) {
        output_json(status);
        return;
    }
    output_table(json_object_get(status, "keys"), ROWS(columns));
    if (left > bad)
        printf("sealing anew: %lld done, %lld to go\n", number(rotation, "rows_done"), left - bad);
    if (bad > 0)
        printf("%lld values do not open and stay as they are: purser audit secrets\n", bad);
    if (json_string_length(json_object_get(rotation, "trouble")) > 0)
        printf("it waits: %s\n", json_string_value(json_object_get(rotation, "trouble")));
    if (json_is_false(json_object_get(status, "memory_locked")))
        printf("the server's memory is not locked (RLIMIT_MEMLOCK): secrets can reach swap\n");
}

/* One request whose answer is the keyring's state. */
static int
simple_call(struct session *s, const char *method, const char *path)
{
    AUTO_JSON json_t *answer = NULL;
    enum err err = client_call(s->client, method, path, NULL, &answer, &s->error);

    if (err == ERR_OK)
        print_status(s, answer);
    return session_end(s, err);
}

static int
keys_status(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser keys status", "",
        "Shows the keys of the keyring, how much is sealed under each, and how far a rotation is.",
        ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return simple_call(&s, "GET", "/admin/keys");
}

static int
keys_add(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser keys add", "",
        "Adds a fresh key to the keyring without using it yet: time to back the file up, or to "
        "bring\nit to the other nodes. \"purser keys rotate\" brings it into use.",
        ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return simple_call(&s, "POST", "/admin/keys");
}

/* One line that is written over, on a terminal only. */
static void
show_progress(const json_t *status)
{
    const json_t *rotation = json_object_get(status, "rotation");
    long long done = number(rotation, "rows_done");
    long long left = number(rotation, "rows_left") - number(rotation, "rows_unreadable");

    fprintf(stderr, "\rsealing anew: %lld of %lld ", done, done + (left > 0 ? left : 0));
    fflush(stderr);
}

static bool
is_finished(const json_t *status)
{
    const json_t *rotation = json_object_get(status, "rotation");

    return !json_is_true(json_object_get(rotation, "running")) &&
        number(rotation, "rows_left") <= number(rotation, "rows_unreadable");
}

static enum err
wait_for_end(struct session *s, json_t **status)
{
    const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    bool visible = output_is_terminal() && !s->options.json;
    enum err err = ERR_OK;

    while (err == ERR_OK && !is_finished(*status)) {
        if (visible)
            show_progress(*status);
        nanosleep(&pause, NULL);
        json_decref(TAKE(*status));
        err = client_call(s->client, "GET", "/admin/keys", NULL, status, &s->error);
    }
    if (visible)
        fprintf(stderr, "\r\033[K");
    if (err == ERR_OK && number(json_object_get(*status, "rotation"), "rows_unreadable") > 0) {
        print_status(s, *status);
        return fail(&s->error, ERR_SECRET_UNREADABLE,
            "some values could not be sealed anew, since they do not open: purser audit secrets "
            "tells which; set them anew or delete them");
    }
    return err;
}

static int
keys_rotate(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *status = NULL;
    bool wait = false;
    const struct option options[] = {
        {"wait", NULL, "return when everything is sealed under the new key", .flag = &wait},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser keys rotate", "",
        "Brings the newest key into use, a fresh one if there is none, and seals everything "
        "stored\nunder it while the server goes on serving. An interrupted rotation goes on by "
        "itself.",
        ROWS(options)};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_call(s.client, "POST", "/admin/keys/rotate", NULL, &status, &s.error);
    if (err == ERR_OK && wait)
        err = wait_for_end(&s, &status);
    if (err == ERR_OK)
        print_status(&s, status);
    return session_end(&s, err);
}

static int
keys_retire(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser keys retire", "ID",
        "Takes a key out of the keyring for good: refused while anything is sealed under it. "
        "Backups\nof the store from before the rotation need the keyring of that time.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    char path[128];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_path(path, sizeof(path), &s.error, "/admin/keys/%s", s.arguments.positional[0]);
    return err == ERR_OK ? simple_call(&s, "DELETE", path) : session_end(&s, err);
}

int
cmd_keys(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"status", keys_status, "which keys there are, and how far a rotation is"},
        {"add", keys_add, "add a fresh key, to be used later"},
        {"rotate", keys_rotate, "use the newest key and seal everything anew"},
        {"retire", keys_retire, "take an old key out for good"},
    };

    return cmd_dispatch(
        "purser keys", "The keys under which secrets are sealed at rest.", ROWS(table), argc, argv);
}
