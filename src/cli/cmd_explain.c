#include "base/ids.h"
#include "cli/session.h"
#include "registry/explain.h"
#include "registry/scenario.h"

#include <errno.h>

#define OUTPUT_BYTES_MAX (1024 * 1024)

enum { LINE_BYTES_MAX = 1024 * 1024 };

struct flags {
    const char *runtime, *model, *auth, *override, *registry;
    struct option_values secrets;
    bool plan, batch, no_gateway, refuse_shadowed;
    struct client_options client; /* its json is every form's */
};

static enum err
add_auth_names(struct scenario *s, const char *list, struct error *e)
{
    struct str rest = str_from_cstr(list);

    s->auth_given = true;
    while (rest.n > 0) {
        size_t comma = str_find_char(rest, ',');
        struct str name = str_trim(str_slice(rest, 0, comma));
        enum err err = name.n == 0 ? ERR_OK : scenario_add_auth(s, name, e);

        if (err != ERR_OK)
            return err;
        rest = str_slice(rest, comma < rest.n ? comma + 1 : rest.n, rest.n);
    }
    return ERR_OK;
}

/* Most often a typing mistake: it would be left out without a word. */
static void
warn_unknown_auth(const struct scenario *s, const struct registry *r)
{
    for (size_t i = 0; i < s->auth_n; i++) {
        if (!registry_is_auth_name(r, s->auth[i]))
            fprintf(stderr, "purser: warning: no provider knows the credential %.*s\n",
                STR_ARG(s->auth[i]));
    }
}

/* NAME@org or NAME@workspace. */
static enum err
add_secret(struct scenario *s, struct arena *a, const char *text, struct error *e)
{
    struct str whole = str_from_cstr(text);
    size_t at = str_find_char(whole, '@');
    struct str name = str_slice(whole, 0, at);
    struct str scope = at < whole.n ? str_slice(whole, at + 1, whole.n) : STR("");

    if (!env_name_is_valid(name))
        return fail(e, ERR_USAGE, "--secret \"%s\": not a name of a variable", text);
    if (str_equal(scope, env_scope_name(ENV_SCOPE_ORG)))
        return scenario_add_secret(s, a, name, ENV_SCOPE_ORG, e);
    if (str_equal(scope, env_scope_name(ENV_SCOPE_WORKSPACE)))
        return scenario_add_secret(s, a, name, ENV_SCOPE_WORKSPACE, e);
    return fail(e, ERR_USAGE, "--secret \"%s\": say NAME@org or NAME@workspace", text);
}

static enum err
scenario_from_flags(struct scenario *s, struct arena *a, const struct flags *f, struct error *e)
{
    enum err err = ERR_OK;

    if (f->runtime == NULL)
        return fail(e, ERR_USAGE, "say --runtime and --model, or name a workspace");
    scenario_init(s, str_from_cstr(f->runtime), str_from_cstr(f->model), clock_ms());
    s->gateway = !f->no_gateway;
    s->refuse_shadowed = f->refuse_shadowed;
    s->override_present = f->override != NULL;
    s->override_raw = str_from_cstr(f->override);
    if (f->auth != NULL)
        err = add_auth_names(s, f->auth, e);
    for (size_t i = 0; err == ERR_OK && i < f->secrets.n; i++)
        err = add_secret(s, a, f->secrets.v[i], e);
    return err;
}

static void
print_json(json_t *value, size_t flags)
{
    json_dumpf(value, stdout, flags);
    fputc('\n', stdout);
    json_decref(value);
}

static void
print_result(const struct flags *f, const struct scenario_result *result)
{
    AUTO_BUF struct buf text;

    buf_init(&text, OUTPUT_BYTES_MAX);
    if (f->client.json) {
        json_t *object = explain_json(&result->facts, &result->decision, &result->trace);

        if (f->plan)
            json_object_set_new(
                object, "plan", explain_plan_json(&result->plan_facts, &result->plan));
        print_json(object, JSON_INDENT(2));
        return;
    }
    explain_text(&text, &result->facts, &result->decision, &result->trace);
    if (f->plan)
        explain_plan_text(&text, &result->plan_facts, &result->plan);
    fwrite(text.p, 1, text.n, stdout);
}

static enum err
explain_once(const struct flags *f, struct registry_set *set, struct error *e)
{
    AUTO_ARENA struct arena arena;
    AUTO_FREE struct scenario *s = calloc(1, sizeof(*s));
    AUTO_FREE struct scenario_result *result = calloc(1, sizeof(*result));
    enum err err;

    arena_init(&arena);
    ENSURE(s != NULL && result != NULL);
    err = scenario_from_flags(s, &arena, f, e);
    if (err != ERR_OK)
        return err;
    warn_unknown_auth(s, registry_block(set));
    scenario_decide(s, set, result);
    print_result(f, result);
    return ERR_OK;
}

/* One line in, one line out. A bad line is answered too, so that lines keep their places. */
static enum err
explain_line(struct registry_set *set, struct str line, struct scenario *s,
    struct scenario_result *result, struct error *e)
{
    AUTO_ARENA struct arena arena;
    enum err err;

    arena_init(&arena);
    err = scenario_from_json(s, &arena, line, clock_ms(), e);
    if (err != ERR_OK) {
        print_json(json_pack("{ss ss}", "invalid", err_name(err), "text", e->text), JSON_COMPACT);
        return err;
    }
    scenario_decide(s, set, result);
    print_json(scenario_answer(result), JSON_COMPACT);
    return ERR_OK;
}

static enum err
explain_batch(struct registry_set *set, struct error *e)
{
    AUTO_FREE struct scenario *s = calloc(1, sizeof(*s));
    AUTO_FREE struct scenario_result *result = calloc(1, sizeof(*result));
    AUTO_FREE char *line = NULL;
    size_t capacity = 0, number = 0, first_bad = 0;
    ssize_t n;

    ENSURE(s != NULL && result != NULL);
    while ((n = getline(&line, &capacity, stdin)) >= 0) {
        number++;
        if (n > LINE_BYTES_MAX)
            return fail(e, ERR_USAGE, "line %zu is longer than %d bytes", number, LINE_BYTES_MAX);
        if (str_is_blank((struct str){line, (size_t)n}))
            continue;
        if (explain_line(set, (struct str){line, (size_t)n}, s, result, e) != ERR_OK &&
            first_bad == 0)
            first_bad = number;
    }
    if (fflush(stdout) != 0)
        return fail_errno(e, ERR_IO, "writing the answers");
    if (first_bad != 0)
        return fail(e, ERR_USAGE, "line %zu is the first that was not understood", first_bad);
    return ERR_OK;
}

/*
 * --- a live workspace: the server's own decision, its trace drawn as the offline one is --------
 */

static void
print_names(const char *title, const json_t *names)
{
    const json_t *name;
    size_t i;

    if (json_array_size(names) == 0)
        return;
    printf("|    %s", title);
    json_array_foreach(names, i, name) printf("%s%s", i == 0 ? "" : ", ", json_string_value(name));
    putchar('\n');
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "none" : text;
}

static void
print_live(const json_t *answer)
{
    const char *failure = json_string_value(json_object_get(answer, "derive_error"));
    const json_t *row;
    size_t i;

    printf("%s on %s\n", text_of(answer, "model"), text_of(answer, "runtime"));
    json_array_foreach(json_object_get(answer, "trace"), i, row)
    {
        printf("+- %s: %s\n", text_of(row, "step"), text_of(row, "text"));
        print_names("kept:    ", json_object_get(row, "kept"));
        print_names("dropped: ", json_object_get(row, "dropped"));
    }
    json_array_foreach(json_object_get(answer, "warnings"), i, row)
        printf("+- warning %s: %s\n", text_of(row, "code"), text_of(row, "text"));
    if (failure != NULL) /* the API names the model there */
        printf("+- provider: none, %s\n", failure);
    else
        printf("+- provider: %s\n", text_of(answer, "provider_selection"));
    printf("+- registry: %s\n", text_of(answer, "registry_fingerprint"));
}

/* A live workspace brings its own facts. */
static bool
has_scenario(const struct flags *f)
{
    return f->runtime != NULL || f->model != NULL || f->auth != NULL || f->override != NULL ||
        f->registry != NULL || f->secrets.n > 0 || f->plan || f->batch || f->no_gateway ||
        f->refuse_shadowed;
}

/* Would it start now? */
static enum err
print_start(struct session *s, const char *workspace)
{
    AUTO_JSON json_t *plan = NULL;
    const json_t *refusal;
    enum err err = session_workspace_call(s, "GET", workspace, "/workspaces/%s/env", NULL, &plan);

    if (err != ERR_OK)
        return err;
    refusal = json_object_get(plan, "refusal");
    if (json_is_object(refusal))
        printf("+- a start would be refused: %s: %s\n", text_of(refusal, "code"),
            text_of(refusal, "text"));
    else
        printf("+- a start would not be refused\n");
    return ERR_OK;
}

static int
explain_live(const struct flags *f, const char *workspace)
{
    AUTO_SESSION struct session s = {.options = f->client};
    AUTO_JSON json_t *answer = NULL;
    enum err err = client_open(&s.options, &s.client, &s.error);

    if (err == ERR_OK)
        err = session_workspace_call(
            &s, "GET", workspace, "/admin/workspaces/%s/llm-billing-mode?trace=1", NULL, &answer);
    if (err == ERR_OK && f->client.json)
        output_json(answer);
    if (err == ERR_OK && !f->client.json) {
        print_live(answer);
        err = print_start(&s, workspace);
    }
    return session_end(&s, err);
}

int
cmd_explain(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct flags f = {0};
    const struct option options[] = {
        {"runtime", "RUNTIME", "claude-code, codex ...", .text = &f.runtime},
        {"model", "MODEL", "the effective model; left out: none", .text = &f.model},
        {"auth", "A,B", "names of credentials present (default: what --secret implies)",
            .text = &f.auth},
        {"override", "MODE", "the stored billing override, as it is", .text = &f.override},
        {"plan", NULL, "add the environment plan", .flag = &f.plan},
        {"secret", "NAME@SCOPE", "a secret of scope org or workspace; repeatable",
            .list = &f.secrets},
        {"no-gateway", NULL, "as if the platform's gateway were not there", .flag = &f.no_gateway},
        {"refuse-shadowed", NULL, "as with shadowed_credential: refuse",
            .flag = &f.refuse_shadowed},
        {"batch", NULL, "JSON lines on stdin, one answer per line", .flag = &f.batch},
        {"registry", "FILE", "another registry than the embedded one", .text = &f.registry},
        CLIENT_OPTIONS(f.client),
    };
    const struct command_line line = {"purser explain", "[WORKSPACE]",
        "Says which provider serves a model on a runtime, who pays and why, step by step: offline\n"
        "from --runtime and --model, or of a live workspace.",
        ROWS(options), .positional_max = 1};
    struct arguments a = {0};
    struct error e;
    enum err err;
    int code;

    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (a.positional_n > 0 && has_scenario(&f)) {
        fail(&e, ERR_USAGE,
            "a WORKSPACE is explained as it stands: leave it out to try --runtime, --model and the "
            "like");
        return cmd_fail(&e);
    }
    if (a.positional_n > 0)
        return explain_live(&f, a.positional[0]);
    err = registry_load(f.registry, &set, &e);
    if (err == ERR_OK)
        err = f.batch ? explain_batch(set, &e) : explain_once(&f, set, &e);
    return err == ERR_OK ? EXIT_OK : cmd_fail(&e);
}
