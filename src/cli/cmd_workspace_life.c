/* purser workspace start, stop, restart, pause, resume, watch: how a workspace lives. */
#include "cli/cmd_workspace.h"
#include "cli/follow.h"

enum { PATIENCE_S = 30, WATCH_PATIENCE_S = 3600 };

struct wait {
    bool over;
    bool runs;
    bool quiet;
};

/* What is heard while a workspace starts: true as long as it may yet become online. */
static bool
hear(void *ctx, const json_t *event)
{
    static const char *const ends[] = {"WORKSPACE_ONLINE", "WORKSPACE_PROVISION_FAILED",
        "WORKSPACE_FAILED", "WORKSPACE_STOPPED", "WORKSPACE_PAUSED", "WORKSPACE_REMOVED"};
    struct wait *w = ctx;
    const char *type = json_string_value(json_object_get(event, "type"));

    if (!w->quiet)
        follow_print(event, false, stderr);
    for (size_t i = 0; type != NULL && i < sizeof(ends) / sizeof(ends[0]); i++) {
        if (strcmp(type, ends[i]) == 0) {
            w->over = true;
            w->runs = i == 0;
        }
    }
    return !w->over;
}

static void
bring_up_to_date(json_t *row, const json_t *fresh)
{
    static const char *const keys[] = {"status", "desired", "last_error"};

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        json_t *value = json_object_get(fresh, keys[i]);

        if (value != NULL)
            json_object_set(row, keys[i], value);
    }
}

enum err
workspace_await(struct session *s, const char *id, long long after, json_t *row, bool *ret_runs)
{
    AUTO_JSON json_t *fresh = NULL;
    struct wait w = {.quiet = s->options.json};
    char path[256];
    enum err err = client_path(path, sizeof(path), &s->error, "/workspaces/%s/events", id);

    if (err == ERR_OK)
        err = follow(s->client, path, after, PATIENCE_S, hear, &w, &s->error);
    if (err == ERR_OK)
        err = client_path(path, sizeof(path), &s->error, "/workspaces/%s", id);
    if (err == ERR_OK)
        err = client_call(s->client, "GET", path, NULL, &fresh, &s->error);
    if (err != ERR_OK)
        return err;
    bring_up_to_date(row, fresh);
    *ret_runs = w.runs;
    return ERR_OK;
}

/* The commands that ask for one change of one workspace, or of it and what stands below it. */
struct verb {
    const char *command;
    const char *summary;
    const char *path;
    bool starts;
};

/* Of a resume: those below that could not be started. */
static void
tell_refused(const json_t *answer)
{
    const json_t *one;
    size_t i;

    json_array_foreach(json_object_get(answer, "refused"), i, one)
    {
        fprintf(stderr, "%s is not started: %s: %s\n",
            json_string_value(json_object_get(one, "name")),
            json_string_value(json_object_get(one, "code")),
            json_string_value(json_object_get(one, "error")));
    }
}

static enum err
run_starting(struct session *s, const struct verb *v, bool wait, int *ret_exit)
{
    AUTO_JSON json_t *answer = NULL;
    char id[ID_TEXT_BYTES], path[256];
    const char *status;
    long long after = 0;
    bool runs = true;
    enum err err = workspace_ref(s->client, s->arguments.positional[0], id, &s->error);

    if (err == ERR_OK)
        err = client_path(path, sizeof(path), &s->error, "/workspaces/%s/events", id);
    if (err == ERR_OK)
        err = session_workspace_told(s, id, follow_last(s->client, path, &after, &s->error));
    if (err == ERR_OK)
        err = session_workspace_call(s, "POST", id, v->path, NULL, &answer);
    if (err != ERR_OK)
        return err;
    tell_refused(answer);
    status = json_string_value(json_object_get(answer, "status"));
    if (wait && status != NULL && strcmp(status, "provisioning") == 0)
        err = workspace_await(s, id, after, answer, &runs);
    if (err != ERR_OK)
        return err;
    status = json_string_value(json_object_get(answer, "status"));
    if (s->options.json)
        output_json(answer);
    else
        printf("%s\n", status == NULL ? "-" : status);
    *ret_exit = runs ? EXIT_OK : EXIT_FAILED;
    return ERR_OK;
}

static int
run_verb(const struct verb *v, int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    bool no_wait = false;
    const struct option starting[] = {
        {"no-wait", NULL, "do not wait until it is online", .flag = &no_wait},
        CLIENT_OPTIONS(s.options)};
    const struct option ending[] = {CLIENT_OPTIONS(s.options)};
    struct command_line line = {v->command, "WORKSPACE", v->summary, ROWS(ending),
        .positional_min = 1, .positional_max = 1};
    int exit_code = EXIT_OK;
    enum err err;

    if (v->starts) {
        line.options = starting;
        line.options_n = sizeof(starting) / sizeof(starting[0]);
    }
    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (v->starts) {
        err = run_starting(&s, v, !no_wait, &exit_code);
        return err == ERR_OK ? exit_code : session_end(&s, err);
    }
    err = session_workspace_call(&s, "POST", s.arguments.positional[0], v->path, NULL, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        printf("%s\n", json_string_value(json_object_get(answer, "status")));
    return session_end(&s, err);
}

int
cmd_workspace_start(int argc, char **argv)
{
    return run_verb(
        &(struct verb){"purser workspace start", "Starts an agent and waits until it is online.",
            "/workspaces/%s/start", true},
        argc, argv);
}

int
cmd_workspace_stop(int argc, char **argv)
{
    return run_verb(
        &(struct verb){"purser workspace stop", "Stops an agent.", "/workspaces/%s/stop", false},
        argc, argv);
}

int
cmd_workspace_restart(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace restart",
                        "Stops and starts an agent; the decision is made anew.",
                        "/workspaces/%s/restart", true},
        argc, argv);
}

int
cmd_workspace_pause(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace pause",
                        "Stops an agent and all that stand below it; they are not started again "
                        "until\nthey are resumed.",
                        "/workspaces/%s/pause", false},
        argc, argv);
}

int
cmd_workspace_resume(int argc, char **argv)
{
    return run_verb(&(struct verb){"purser workspace resume",
                        "Starts an agent and all below it that were paused, and waits until it is "
                        "online.",
                        "/workspaces/%s/resume", true},
        argc, argv);
}

struct watch {
    const struct session *session;
    bool whole_org;
};

static bool
print_event(void *ctx, const json_t *event)
{
    const struct watch *w = ctx;

    if (w->session->options.json) {
        json_dumpf(event, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
    } else {
        follow_print(event, w->whole_org, stdout);
    }
    return true;
}

/* Until somebody ends it, or there is nothing to follow any more. */
static enum err
watch(struct session *s, const char *path, bool whole_org, const char *after)
{
    struct watch w = {s, whole_org};
    char *end = NULL;
    long long from = after == NULL ? -1 : strtoll(after, &end, 10);

    if (after != NULL && (*end != '\0' || end == after || from < 0))
        return fail(&s->error, ERR_USAGE, "--after takes the id of an event: a number from 0 on");
    return follow(s->client, path, from, WATCH_PATIENCE_S, print_event, &w, &s->error);
}

int
cmd_workspace_watch(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const char *after = NULL;
    char id[ID_TEXT_BYTES], path[256];
    const struct option options[] = {
        {"after", "ID", "begin behind that event (0: with the first there is)", .text = &after},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser workspace watch", "WORKSPACE",
        "Prints what happens to an agent, as it happens, until Ctrl-C.", ROWS(options),
        .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = workspace_ref(s.client, s.arguments.positional[0], id, &s.error);
    if (err == ERR_OK)
        err = client_path(path, sizeof(path), &s.error, "/workspaces/%s/events", id);
    if (err == ERR_OK)
        err = watch(&s, path, false, after);
    return session_end(&s, err);
}

int
cmd_events(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    const char *after = NULL;
    const struct option options[] = {
        {"after", "ID", "begin behind that event (0: with the first there is)", .text = &after},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser events", "",
        "Prints what happens in an org, as it happens, until Ctrl-C.", ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    return session_end(&s, watch(&s, "/events", true, after));
}
