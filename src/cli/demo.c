#include "cli/demo.h"

#include "api/json.h"
#include "base/cleanup.h"
#include "cli/client.h"
#include "cli/output.h"
#include "registry/registry_load.h"
#include "sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

enum {
    PROVIDERS_MAX = 64,
    KEY_BYTES = 64,
    PATH_BYTES = 160, /* the run directory's is short */
    COPY_BYTES = 1 << 20,
    NAME_BYTES = 64,
    END_MS = 60000,    /* the agent makes one short call */
    BOOKED_MS = 10000, /* purserd drains within a second */
    STEP_MS = 50,
};

static const char org_slug[] = "demo", workspace_name[] = "hello", runtime_name[] = "claude-code",
                  model_id[] = "anthropic/claude-opus-4-7";

struct demo {
    struct demo_options o;
    struct sim *sim;
    struct {
        char provider[NAME_BYTES];
        char key[KEY_BYTES];
    } keys[PROVIDERS_MAX]; /* for the fake vendor of this run alone */
    size_t keys_n;
    struct up *up;
    struct client *client;
    char workspace[ID_TEXT_BYTES];
    json_t *decision;
    json_t *usage;
    bool done; /* every step went well */
};

/* --- the fake vendor ------------------------------------------------------------------------- */

static bool
has_provider(const struct demo *d, struct str name)
{
    for (size_t i = 0; i < d->keys_n; i++) {
        if (str_equal(name, str_from_cstr(d->keys[i].provider)))
            return true;
    }
    return false;
}

/* One random key for each vendor the platform routes to. */
static enum err
make_keys(struct demo *d, struct error *e)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    const struct registry *r;
    enum err err = registry_load(d->o.settings->registry, &set, e);

    if (err != ERR_OK)
        return err;
    r = registry_block(set);
    for (uint32_t i = 0; i < r->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(r, i);
        struct str name = registry_str(r, registry_provider_at(r, m->provider)->name);
        uint8_t random[24];

        if (has_provider(d, name) || d->keys_n == PROVIDERS_MAX || name.n >= NAME_BYTES)
            continue;
        randombytes_buf(random, sizeof(random));
        snprintf(d->keys[d->keys_n].provider, NAME_BYTES, "%.*s", STR_ARG(name));
        snprintf(d->keys[d->keys_n].key, KEY_BYTES, "demo-");
        sodium_bin2hex(d->keys[d->keys_n].key + 5, KEY_BYTES - 5, random, sizeof(random));
        d->keys_n++;
    }
    return ERR_OK;
}

/* A demo replaces the platform's keys: never those of a real installation. */
static enum err
claim_state(const struct settings *s, struct error *e)
{
    char marker[1280], token[1280];
    AUTO_CLOSE int fd = -1;

    snprintf(marker, sizeof(marker), "%s/demo", s->state);
    snprintf(token, sizeof(token), "%s/admin-token", s->state);
    if (access(token, F_OK) == 0 && access(marker, F_OK) != 0)
        return fail(e, ERR_CONFLICT,
            "%s is the state of an installation without --demo, which would replace its platform "
            "keys: take another directory with --state",
            s->state);
    if (mkdir(s->state, 0711) == 0)
        chmod(s->state, 0711);
    fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "%s cannot be written", marker);
    return ERR_OK;
}

static enum err
start_vendor(struct demo *d, struct error *e)
{
    struct sim_key keys[PROVIDERS_MAX];
    struct sim_options o = {.listen = d->o.sim_listen, .keys = keys, .keys_n = d->keys_n};
    sigset_t all, before;
    enum err err;

    for (size_t i = 0; i < d->keys_n; i++)
        keys[i] = (struct sim_key){.key = d->keys[i].key, .name = d->keys[i].provider};
    /* Its thread inherits the mask: signals are the supervisor's. */
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    err = sim_start(&o, &d->sim, e);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return err;
}

enum err
demo_new(const struct demo_options *o, struct demo **ret, struct error *e)
{
    struct demo *d = calloc(1, sizeof(*d));
    enum err err;

    ENSURE(d != NULL);
    d->o = *o;
    err = claim_state(o->settings, e);
    if (err == ERR_OK)
        err = make_keys(d, e);
    if (err == ERR_OK)
        err = start_vendor(d, e);
    if (err != ERR_OK) {
        demo_free(d);
        return err;
    }
    *ret = d;
    return ERR_OK;
}

void
demo_free(struct demo *d)
{
    if (d == NULL)
        return;
    client_close(d->client);
    sim_stop(d->sim);
    json_decref(d->decision);
    json_decref(d->usage);
    free(d);
}

const char *
demo_vendor_url(const struct demo *d)
{
    return sim_url(d->sim);
}

/* --- what people see ------------------------------------------------------------------------- */

/* A word in the left column, then the text; the word is dim where there are colours. */
static void
say(const char *word, const char *text)
{
    bool colour = output_is_terminal();

    printf("%s%-10s%s%s\n", colour ? "\033[2m" : "", word, colour ? "\033[0m" : "", text);
    fflush(stdout);
}

static const char *
text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL ? "-" : text;
}

static long long
number_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void
say_decision(const struct demo *d)
{
    const json_t *step, *trace = json_object_get(d->decision, "trace");
    const char *mode = text_of(d->decision, "resolved_mode");
    const char *payer = strcmp(mode, "platform_managed") == 0 ? "the platform pays, on its own key"
                                                              : "the org pays, on its own key";
    char line[1024];
    size_t i;

    snprintf(line, sizeof(line), "%s (%s) with model %s", workspace_name, runtime_name, model_id);
    say("workspace", line);
    snprintf(line, sizeof(line), "%s: %s", mode, payer);
    say("decision", line);
    snprintf(line, sizeof(line), "%s, from %s", text_of(d->decision, "provider_selection"),
        text_of(d->decision, "source"));
    say("provider", line);
    json_array_foreach(trace, i, step)
    {
        snprintf(
            line, sizeof(line), "%zu. %s: %s", i + 1, text_of(step, "step"), text_of(step, "text"));
        say(i == 0 ? "because" : "", line);
    }
}

static void
say_usage(const struct demo *d)
{
    char line[256], usd[40];

    output_usd(number_of(d->usage, "cost_nano_usd"), usd);
    snprintf(line, sizeof(line), "%lld call%s, %lld input and %lld output tokens: %s",
        number_of(d->usage, "calls"), number_of(d->usage, "calls") == 1 ? "" : "s",
        number_of(d->usage, "input_tokens"), number_of(d->usage, "output_tokens"), usd);
    say("ledger", line);
}

static void
say_next(const struct demo *d)
{
    const struct paths *p = up_paths(d->up);
    char prefix[2400];

    snprintf(prefix, sizeof(prefix),
        "PURSER_SERVER=%s PURSER_TOKEN=$(cat %s/admin-token) PURSER_ORG=%s %s", up_url(d->up),
        p->state, org_slug, p->program);
    printf(
        "\nServing until Ctrl-C. In another terminal:\n\n"
        "  alias purser='%s'\n"
        "  purser usage hello\n"
        "  purser workspace start hello; sleep 1; purser workspace logs hello\n"
        "  purser explain --runtime claude-code --model claude-opus-4-7 --auth ANTHROPIC_API_KEY\n"
        "  purser --help\n\n",
        prefix);
    fflush(stdout);
}

bool
demo_print_result(const struct demo *d)
{
    AUTO_JSON json_t *result = NULL;

    if (!d->done)
        return false;
    result = json_pack("{s:s, s:s, s:s, s:O, s:s, s:I, s:I, s:I, s:I, s:s}", "workspace_id",
        d->workspace, "resolved_mode", text_of(d->decision, "resolved_mode"), "source",
        text_of(d->decision, "source"), "provider",
        json_object_get(d->decision, "provider_selection"), "model", model_id, "calls",
        (json_int_t)number_of(d->usage, "calls"), "input_tokens",
        (json_int_t)number_of(d->usage, "input_tokens"), "output_tokens",
        (json_int_t)number_of(d->usage, "output_tokens"), "cost_nano_usd",
        (json_int_t)number_of(d->usage, "cost_nano_usd"), "registry_fingerprint",
        text_of(d->decision, "registry_fingerprint"));
    json_dumpf(result, stdout, JSON_COMPACT);
    printf("\n");
    fflush(stdout);
    return true;
}

/* --- the steps ------------------------------------------------------------------------------- */

static enum err
open_client(struct demo *d, struct error *e)
{
    char token_file[1280];
    struct client_options o = {.server = up_url(d->up), .token_file = token_file, .org = org_slug};

    snprintf(token_file, sizeof(token_file), "%s/admin-token", up_paths(d->up)->state);
    return client_open(&o, &d->client, e);
}

static enum err
set_platform_keys(struct demo *d, struct error *e)
{
    enum err err = ERR_OK;

    for (size_t i = 0; err == ERR_OK && i < d->keys_n; i++) {
        AUTO_JSON json_t *body = json_pack("{s:s}", "value", d->keys[i].key);
        char path[256];

        err = client_path(path, sizeof(path), e, "/admin/platform/keys/%s", d->keys[i].provider);
        if (err == ERR_OK)
            err = client_call(d->client, "PUT", path, body, NULL, e);
    }
    return err;
}

/* The element of the array at path whose field is value: *ret is a new reference, NULL for none. */
static enum err
find_row(struct demo *d, const char *path, const char *field, const char *value, json_t **ret,
    struct error *e)
{
    AUTO_JSON json_t *answer = NULL;
    json_t *row;
    size_t i;
    enum err err = client_call(d->client, "GET", path, NULL, &answer, e);

    if (err != ERR_OK)
        return err;
    json_array_foreach((json_t *)client_rows(answer), i, row)
    {
        if (strcmp(text_of(row, field), value) == 0 && *ret == NULL)
            *ret = json_incref(row);
    }
    return ERR_OK;
}

static enum err
make_org(struct demo *d, struct error *e)
{
    AUTO_JSON json_t *there = NULL;
    AUTO_JSON json_t *body = json_pack("{s:s, s:s}", "slug", org_slug, "name", "Demo");
    enum err err = find_row(d, "/admin/orgs", "slug", org_slug, &there, e);

    if (err != ERR_OK || there != NULL)
        return err;
    return client_call(d->client, "POST", "/admin/orgs", body, NULL, e);
}

/*
 * The agent is this program, as a copy in the run directory: in a clone under /root the agent's user
 * could not reach the program itself.
 */
static enum err
put_program(const struct demo *d, char ret[static PATH_BYTES], struct error *e)
{
    const struct paths *paths = up_paths(d->up);
    AUTO_CLOSE int from = open(paths->program, O_RDONLY | O_CLOEXEC);
    AUTO_CLOSE int to = -1;
    ssize_t n = 1;

    snprintf(ret, PATH_BYTES, "%s/demo-agent", paths->run);
    unlink(ret);
    to = open(ret, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    while (from >= 0 && to >= 0 && n > 0)
        n = sendfile(to, from, NULL, COPY_BYTES);
    if (from < 0 || to < 0 || n < 0 || fchmod(to, 0755) != 0)
        return fail_errno(e, ERR_IO, "copying the demo's agent to %s", ret);
    return ERR_OK;
}

static enum err
make_workspace(struct demo *d, const char *program, struct error *e)
{
    AUTO_JSON json_t *row = NULL;
    AUTO_JSON json_t *body = json_pack("{s:s, s:s, s:s, s:b, s:s, s:[s, s, s]}", "name",
        workspace_name, "runtime", runtime_name, "model", model_id, "start", 0, "restart", "never",
        "command", program, "sim", "call");
    enum err err = find_row(d, "/workspaces", "name", workspace_name, &row, e);

    if (err == ERR_OK && row == NULL)
        err = client_call(d->client, "POST", "/workspaces", body, &row, e);
    if (err == ERR_OK)
        snprintf(d->workspace, sizeof(d->workspace), "%s", text_of(row, "id"));
    return err;
}

/* One request about the workspace; *ret is a new reference. */
static enum err
ask(struct demo *d, const char *method, const char *format, json_t **ret, struct error *e)
{
    char path[256];
    enum err err = client_path(path, sizeof(path), e, format, d->workspace);

    return err != ERR_OK ? err : client_call(d->client, method, path, NULL, ret, e);
}

/*
 * Asks until done says yes. ERR_INTERNAL after limit_ms; *ret_stop when somebody asked us to stop.
 */
static enum err
ask_until(struct demo *d, const char *format, bool (*done)(const struct demo *, const json_t *),
    int64_t limit_ms, const char *what, json_t **ret, bool *ret_stop, struct error *e)
{
    int64_t until = clock_monotonic_ms() + limit_ms;

    for (;;) {
        AUTO_JSON json_t *answer = NULL;
        enum err err = ask(d, "GET", format, &answer, e);

        if (err != ERR_OK)
            return err;
        if (done(d, answer)) {
            json_decref(*ret);
            *ret = json_incref(answer);
            return ERR_OK;
        }
        if (up_wait(d->up, STEP_MS)) {
            *ret_stop = true;
            return ERR_OK;
        }
        if (clock_monotonic_ms() >= until)
            return fail(
                e, ERR_INTERNAL, "%s did not happen within %d s", what, (int)(limit_ms / 1000));
    }
}

static bool
has_ended(const struct demo *d, const json_t *state)
{
    const char *status = text_of(state, "status");

    return strcmp(status, "stopped") == 0 || strcmp(status, "failed") == 0;
}

/* Booked: one more entry than before the start. */
static bool
is_booked(const struct demo *d, const json_t *usage)
{
    return number_of(usage, "calls") + number_of(usage, "failed") >
        number_of(d->usage, "calls") + number_of(d->usage, "failed");
}

/* What the agent wrote since the log had so many bytes. */
static enum err
say_answer(struct demo *d, size_t before, struct error *e)
{
    AUTO_JSON json_t *log = NULL;
    const char *text, *end;
    char line[1024];
    enum err err = ask(d, "GET", "/workspaces/%s/logs", &log, e);

    if (err != ERR_OK)
        return err;
    text = text_of(log, "output");
    text += before <= strlen(text) ? before : 0;
    for (bool first = true; *text != '\0'; text = *end == '\0' ? end : end + 1) {
        end = text + strcspn(text, "\n");
        if (end == text)
            continue;
        snprintf(line, sizeof(line), "%.*s", (int)(end - text), text);
        say(first ? "agent" : "", line);
        first = false;
    }
    return ERR_OK;
}

/* The start, the end, the answer and the bill of one run of the agent. */
static enum err
run_agent(struct demo *d, bool *ret_stop, struct error *e)
{
    AUTO_JSON json_t *log = NULL;
    AUTO_JSON json_t *state = NULL;
    size_t before;
    enum err err = ask(d, "GET", "/workspaces/%s/usage", &d->usage, e);

    if (err == ERR_OK)
        err = ask(d, "GET", "/workspaces/%s/logs", &log, e);
    before = log == NULL ? 0 : strlen(text_of(log, "output"));
    if (err == ERR_OK)
        err = ask(d, "POST", "/workspaces/%s/start", NULL, e);
    if (err == ERR_OK)
        err = ask_until(
            d, "/workspaces/%s/state", has_ended, END_MS, "the agent's end", &state, ret_stop, e);
    if (err != ERR_OK || *ret_stop)
        return err;
    err = say_answer(d, before, e);
    if (err == ERR_OK && strcmp(text_of(state, "status"), "stopped") != 0)
        err = fail(e, ERR_LAUNCH_FAILED, "the agent ended as %s", text_of(state, "status"));
    if (err == ERR_OK)
        err = ask_until(d, "/workspaces/%s/usage", is_booked, BOOKED_MS, "the ledger's entry",
            &d->usage, ret_stop, e);
    return err;
}

enum err
demo_run(void *ctx, struct up *u, bool *ret_stop, struct error *e)
{
    struct demo *d = ctx;
    char line[1400], program[PATH_BYTES];
    enum err err;

    d->up = u;
    snprintf(line, sizeof(line), "serving at %s, state in %s", up_url(u), up_paths(u)->state);
    say("purser", line);
    snprintf(line, sizeof(line), "%s (built in: no vendor, no key, no cost)", demo_vendor_url(d));
    say("vendor", line);
    err = open_client(d, e);
    if (err == ERR_OK)
        err = make_org(d, e);
    if (err == ERR_OK)
        err = set_platform_keys(d, e);
    if (err == ERR_OK)
        err = put_program(d, program, e);
    if (err == ERR_OK)
        err = make_workspace(d, program, e);
    if (err == ERR_OK)
        err = ask(d, "GET", "/admin/workspaces/%s/llm-billing-mode?trace=1", &d->decision, e);
    if (err != ERR_OK)
        return wrap(e, "the demo");
    say_decision(d);
    err = run_agent(d, ret_stop, e);
    if (err != ERR_OK)
        return wrap(e, "the demo");
    if (*ret_stop)
        return ERR_OK;
    d->done = true;
    say_usage(d);
    if (d->o.once)
        *ret_stop = true;
    else
        say_next(d);
    return ERR_OK;
}
