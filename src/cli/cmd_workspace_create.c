/* purser workspace create and set: what a workspace is. */
#include "cli/cmd_workspace.h"
#include "cli/secret_input.h"
#include "cli/session.h"

/* What was given; NULL where the server shall choose, or leave things as they are. */
struct create_flags {
    const char *name, *runtime, *model, *role, *work_dir, *secret, *parent, *readiness, *restart,
        *start_timeout;
    const char *image, *network, *memory_mb, *cpus, *processes, *files; /* of "launch" */
    struct option_values extra_models;
    bool no_start, no_wait;
};

/* The options that create and set share; f is a struct create_flags. */
#define DESCRIBING_OPTIONS(f)                                                                      \
    {"runtime", "RUNTIME", "claude-code, codex ... (at creation: claude-code)",                    \
        .text = &(f).runtime},                                                                     \
        {"extra-model", "MODEL", "further models it may call on the platform",                     \
            .list = &(f).extra_models},                                                            \
        {"role", "ROLE", "a free text: what it is for", .text = &(f).role},                        \
        {"workspace-dir", "DIR", "where it works (default: its home)", .text = &(f).work_dir},     \
        {"image", "IMAGE", "run it in a container of this image", .text = &(f).image},             \
        {"network", "NAME", "of the container: bridge, none, host (admin), a name (admin)",        \
            .text = &(f).network},                                                                 \
        {"memory-mb", "N", "how much memory it may use", .text = &(f).memory_mb},                  \
        {"cpus", "N", "how many processors the container may use", .text = &(f).cpus},             \
        {"processes", "N", "how many processes it may have", .text = &(f).processes},              \
        {"files", "N", "how many files a process of it may have open", .text = &(f).files},        \
        {"parent", "WORKSPACE", "the workspace it stands below: paused and removed with it",       \
            .text = &(f).parent},                                                                  \
        {"readiness", "process|register", "online when its process lives, or when it registers",   \
            .text = &(f).readiness},                                                               \
        {"restart", "never|on-failure|always", "after which ends it is started again",             \
            .text = &(f).restart},                                                                 \
    {                                                                                              \
        "start-timeout", "SECONDS", "how long it may take to register", .text = &(f).start_timeout \
    }

static void
set_text(json_t *body, const char *name, const char *value)
{
    if (value != NULL)
        json_object_set_new(body, name, json_string(value));
}

/* Seconds as a number; anything else goes as it is, for the server to refuse. */
static json_t *
seconds_json(const char *text)
{
    char *end;
    long long n = strtoll(text, &end, 10);

    return *end == '\0' && end != text ? json_integer(n) : json_string(text);
}

/* Whole numbers stay whole; anything else goes as it is, for the server to refuse. */
static json_t *
number_json(const char *text)
{
    char *end;
    double n = strtod(text, &end);

    if (*end != '\0' || end == text)
        return json_string(text);
    return n == (double)(json_int_t)n ? json_integer((json_int_t)n) : json_real(n);
}

/* "launch" is replaced as a whole: what was not named is taken from before; "" takes a thing away. */
static void
describe_launch(const struct create_flags *f, const json_t *before, json_t *body)
{
    const struct {
        const char *name, *value;
        bool number;
    } parts[] = {{"image", f->image}, {"network", f->network}, {"memory_mb", f->memory_mb, true},
        {"cpus", f->cpus, true}, {"processes", f->processes, true}, {"files", f->files, true}};
    AUTO_JSON json_t *launch =
        json_is_object(before) ? json_copy((json_t *)(uintptr_t)before) : json_object();
    bool some = false;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *value = parts[i].value;

        if (value == NULL)
            continue;
        some = true;
        if (*value == '\0')
            json_object_del(launch, parts[i].name);
        else
            json_object_set_new(
                launch, parts[i].name, parts[i].number ? number_json(value) : json_string(value));
    }
    if (some)
        json_object_set(body, "launch", launch);
}

static enum err
describe(struct session *s, const struct create_flags *f, json_t *body)
{
    const struct arguments *a = &s->arguments;
    AUTO_JSON json_t *models = json_array();
    AUTO_JSON json_t *command = json_array();
    char parent[ID_TEXT_BYTES];

    set_text(body, "name", f->name);
    set_text(body, "runtime", f->runtime);
    set_text(body, "model", f->model);
    set_text(body, "role", f->role);
    set_text(body, "workspace_dir", f->work_dir);
    set_text(body, "readiness", f->readiness);
    set_text(body, "restart", f->restart);
    if (f->start_timeout != NULL)
        json_object_set_new(body, "start_timeout", seconds_json(f->start_timeout));
    if (f->parent != NULL && *f->parent == '\0') {
        json_object_set_new(body, "parent_id", json_null());
    } else if (f->parent != NULL) {
        if (workspace_ref(s->client, f->parent, parent, &s->error) != ERR_OK)
            return s->error.code;
        set_text(body, "parent_id", parent);
    }
    for (size_t i = 0; i < f->extra_models.n; i++)
        json_array_append_new(models, json_string(f->extra_models.v[i]));
    for (size_t i = 0; i < a->rest_n; i++)
        json_array_append_new(command, json_string(a->rest[i]));
    if (f->extra_models.n > 0)
        json_object_set(body, "extra_models", models);
    if (a->rest_n > 0)
        json_object_set(body, "command", command);
    return ERR_OK;
}

/* A model that the org pays is refused without its key: the key comes with the workspace. */
static enum err
add_secret(json_t *body, const char *name, struct error *e)
{
    AUTO_SECRET struct secret *value = NULL;
    struct str text;
    json_t *json;
    enum err err = secret_input(name, &value, e);

    if (err != ERR_OK)
        return err;
    text = secret_expose(value);
    json = json_stringn(text.p, text.n);
    if (json == NULL)
        return fail(e, ERR_USAGE, "the value of %s is not UTF-8 text", name);
    json_object_set_new(body, "secrets", json_pack("{s:o}", name, json));
    return ERR_OK;
}

static void
print_why(const json_t *row)
{
    const json_t *error = json_object_get(row, "last_error");
    const char *code = json_string_value(json_object_get(error, "code"));
    const char *text = json_string_value(json_object_get(error, "error"));

    if (code != NULL)
        fprintf(stderr, "created, but not started: %s: %s\n", code, text == NULL ? "" : text);
    else
        fprintf(stderr, "created, but not online: it is %s\n",
            json_string_value(json_object_get(row, "status")));
}

/*
 * The workspace is there, and its id is printed before anything else; whether its agent runs is
 * another matter, told on stderr and by the exit code.
 */
static int
create_end(struct session *s, const struct create_flags *f, json_t *row)
{
    const char *id = json_string_value(json_object_get(row, "id"));
    bool runs = true;
    enum err err = ERR_OK;

    if (!s->options.json)
        printf("%s\n", id);
    fflush(stdout);
    if (!f->no_start && !f->no_wait)
        err = workspace_await(s, id, 0, row, &runs);
    if (err == ERR_OK && s->options.json)
        output_json(row);
    if (err == ERR_OK && !runs)
        print_why(row);
    return err == ERR_OK ? (runs ? EXIT_OK : EXIT_FAILED) : session_end(s, err);
}

int
cmd_workspace_create(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *answer = NULL;
    struct create_flags f = {0};
    const struct option options[] = {
        {"model", "MODEL", "the model's id (required)", .text = &f.model},
        DESCRIBING_OPTIONS(f),
        {"secret", "NAME", "a secret of its own; the value is read from stdin", .text = &f.secret},
        {"no-start", NULL, "do not start it", .flag = &f.no_start},
        {"no-wait", NULL, "do not wait until it is online", .flag = &f.no_wait},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser workspace create", "NAME",
        "Creates an agent, starts it and waits until it is online. A command behind -- replaces "
        "the\n"
        "runtime's own.",
        ROWS(options), .positional_min = 1, .positional_max = 1, .takes_rest = true,
        .too_many = "purser workspace create takes one NAME (a secret's value is read from stdin)"};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    f.name = s.arguments.positional[0];
    err = describe(&s, &f, body);
    describe_launch(&f, NULL, body);
    if (f.no_start)
        json_object_set_new(body, "start", json_false());
    if (err == ERR_OK && f.secret != NULL)
        err = add_secret(body, f.secret, &s.error);
    if (err == ERR_OK)
        err = client_call(s.client, "POST", "/workspaces", body, &answer, &s.error);
    return err == ERR_OK ? create_end(&s, &f, answer) : session_end(&s, err);
}

/* The model is a secret of the workspace, with a route of its own. */
static enum err
set_model(struct session *s, const char *id, const char *model)
{
    AUTO_JSON json_t *body = json_pack("{s:s}", "model", model);

    return session_workspace_call(s, "PUT", id, "/workspaces/%s/model", body, NULL);
}

/* "derived" takes the override away. */
static enum err
set_billing_mode(struct session *s, const char *id, const char *mode, json_t **ret)
{
    AUTO_JSON json_t *body = strcmp(mode, "derived") == 0 ? json_pack("{s:n}", "mode")
                                                          : json_pack("{s:s}", "mode", mode);

    return session_workspace_call(s, "PUT", id, "/admin/workspaces/%s/llm-billing-mode", body, ret);
}

/* What has routes of its own. */
struct changes {
    const char *model, *billing_mode;
};

/* By its id: its name may be among what changes. */
static int
change(struct session *s, const char *id, const json_t *body, const struct changes *more)
{
    AUTO_JSON json_t *answer = NULL;
    AUTO_JSON json_t *mode = NULL;
    AUTO_JSON json_t *row = NULL;
    enum err err = ERR_OK;
    bool needs_restart;

    if (json_object_size(body) > 0)
        err = session_workspace_call(s, "PATCH", id, "/workspaces/%s", body, &answer);
    if (err == ERR_OK && more->model != NULL)
        err = set_model(s, id, more->model);
    if (err == ERR_OK && more->billing_mode != NULL)
        err = set_billing_mode(s, id, more->billing_mode, &mode);
    if (err == ERR_OK && s->options.json)
        err = session_workspace_call(s, "GET", id, "/workspaces/%s", NULL, &row);
    if (err != ERR_OK)
        return session_end(s, err);
    needs_restart = json_is_true(json_object_get(answer, "needs_restart")) ||
        json_is_true(json_object_get(mode, "restart_required"));
    if (row != NULL)
        output_json(row);
    else
        printf(
            "changed%s\n", needs_restart ? "; restart it to apply (purser workspace restart)" : "");
    return EXIT_OK;
}

int
cmd_workspace_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *body = json_object();
    AUTO_JSON json_t *row = NULL;
    struct create_flags f = {0};
    struct changes more = {0};
    const struct option options[] = {
        {"name", "NAME", "another name", .text = &f.name},
        {"model", "MODEL", "another model; what runs is restarted with it", .text = &more.model},
        {"billing-mode", "MODE",
            "byok, platform_managed (admin) or disabled, whatever the model says; derived: as the "
            "model says",
            .text = &more.billing_mode},
        DESCRIBING_OPTIONS(f),
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser workspace set", "WORKSPACE",
        "Changes what a workspace is. What was not named stays. A command behind -- replaces its "
        "own;\n"
        "--parent \"\" puts it at the top.",
        ROWS(options), .positional_min = 1, .positional_max = 1, .takes_rest = true};
    enum err err = ERR_OK;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = describe(&s, &f, body);
    if (err == ERR_OK)
        err = session_workspace_call(
            &s, "GET", s.arguments.positional[0], "/workspaces/%s", NULL, &row);
    if (err == ERR_OK)
        describe_launch(&f, json_object_get(row, "launch"), body);
    if (err == ERR_OK && json_object_size(body) == 0 && more.model == NULL &&
        more.billing_mode == NULL)
        err =
            fail(&s.error, ERR_USAGE, "nothing to change was named (purser workspace set --help)");
    return err == ERR_OK ? change(&s, json_string_value(json_object_get(row, "id")), body, &more)
                         : session_end(&s, err);
}
