#include "base/ids.h"
#include "cli/session.h"
#include "core/billing.h"
#include "registry/registry_diff.h"
#include "registry/registry_json.h"

#define OUTPUT_BYTES_MAX (16 * 1024 * 1024)

/* What every subcommand reads, and the registry it names. */
struct registry_flags {
    const char *registry;
    bool json, source;
};

static void
print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    fputc('\n', stdout);
    json_decref(value);
}

static int
finish(enum err err, const struct error *e)
{
    return err == ERR_OK ? EXIT_OK : cmd_fail(e);
}

/* The registry in FILE, or the embedded one, for a command with no option but --json. */
static bool
load_file(const struct command_line *base, int argc, char **argv, bool *ret_json,
    struct registry_set **ret, int *ret_exit)
{
    const struct option options[] = {{"json", NULL, "print JSON", .flag = ret_json}};
    struct command_line line = *base;
    struct arguments a = {0};
    struct error e;

    line.options = options;
    line.options_n = sizeof(options) / sizeof(options[0]);
    line.positional_max = 1;
    if (!options_read(&line, argc, argv, &a, ret_exit))
        return false;
    if (registry_load(a.positional_n > 0 ? a.positional[0] : NULL, ret, &e) == ERR_OK)
        return true;
    *ret_exit = cmd_fail(&e);
    return false;
}

static int
registry_check(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    const struct command_line line = {"purser registry check", "[FILE]",
        "Reads a registry file as the server would and says what is wrong with it."};
    const struct registry *r;
    char fingerprint[65];
    bool json = false;
    int code;

    if (!load_file(&line, argc, argv, &json, &set, &code))
        return code;
    r = registry_block(set);
    registry_fingerprint_hex(r, fingerprint);
    if (json) {
        print_json(json_pack("{s:I, s:I, s:I, s:I, s:s}", "providers", (json_int_t)r->providers.n,
            "runtimes", (json_int_t)r->runtimes.n, "platform_models",
            (json_int_t)r->platform_models.n, "vendor_keys", (json_int_t)r->bypass_names.n,
            "fingerprint", fingerprint));
    } else {
        printf("ok: %u providers, %u runtimes, %u platform models, %u vendor keys, %s\n",
            r->providers.n, r->runtimes.n, r->platform_models.n, r->bypass_names.n, fingerprint);
    }
    return EXIT_OK;
}

static int
registry_fingerprint(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    const struct command_line line = {"purser registry fingerprint", "[FILE]",
        "SHA-256 of the canonical form: what decisions, records and metrics name a registry by."};
    char fingerprint[65];
    bool json = false;
    int code;

    if (!load_file(&line, argc, argv, &json, &set, &code))
        return code;
    registry_fingerprint_hex(registry_block(set), fingerprint);
    if (json)
        print_json(json_pack("{s:s}", "fingerprint", fingerprint));
    else
        printf("%s\n", fingerprint);
    return EXIT_OK;
}

/* A runtime, a provider or a platform model of that name; NULL when there is none. */
static json_t *
find_shown(const struct registry *r, struct str name)
{
    const struct registry_runtime *rt = registry_runtime_find(r, name);
    const struct registry_provider *p = registry_provider_find(r, name);
    const struct registry_platform_model *m = registry_platform_model_find(r, name);

    if (rt != NULL)
        return registry_json_runtime(r, rt);
    if (p != NULL)
        return registry_json_provider(r, p);
    return m == NULL ? NULL : registry_json_platform_model(r, m);
}

static void
print_list(const struct registry *r)
{
    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        const struct registry_runtime *rt = registry_runtime_at(r, i);

        printf("runtime %.*s:", STR_ARG(registry_str(r, rt->name)));
        for (uint32_t j = 0; j < rt->arms.n; j++)
            printf(" %.*s",
                STR_ARG(registry_str(
                    r, registry_provider_at(r, registry_arms(r, rt)[j].provider)->name)));
        putchar('\n');
    }
    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);

        printf("provider %.*s: %.*s, %.*s\n", STR_ARG(registry_str(r, p->name)),
            STR_ARG(registry_str(r, p->display_name)),
            STR_ARG(registry_kind_name((enum provider_kind)p->kind)));
    }
    for (uint32_t i = 0; i < r->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(r, i);

        printf("platform model %.*s: %.*s at %.*s\n", STR_ARG(registry_str(r, m->id)),
            STR_ARG(registry_str(r, m->vendor_model)),
            STR_ARG(registry_str(r, registry_provider_at(r, m->provider)->name)));
    }
}

static enum err
show(const struct registry *r, const struct registry_flags *f, const struct arguments *a,
    struct error *e)
{
    json_t *found;

    if (a->positional_n == 0) {
        if (f->json)
            print_json(registry_json(r));
        else
            print_list(r);
        return ERR_OK;
    }
    found = find_shown(r, str_from_cstr(a->positional[0]));
    if (found == NULL)
        return fail(e, ERR_NOT_FOUND,
            "the registry has no runtime, provider or platform model \"%s\"", a->positional[0]);
    print_json(found);
    return ERR_OK;
}

static int
registry_show(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct registry_flags f = {0};
    const struct option options[] = {
        {"registry", "FILE", "another registry than the embedded one", .text = &f.registry},
        {"source", NULL, "the embedded file itself, to start a replacement from",
            .flag = &f.source},
        {"json", NULL, "print JSON", .flag = &f.json},
    };
    const struct command_line line = {"purser registry show", "[RUNTIME|PROVIDER|MODEL]",
        "What the registry says, as a whole or about one entry.", ROWS(options),
        .positional_max = 1};
    struct arguments a = {0};
    struct error e;
    enum err err;
    int code;

    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (f.source) {
        fwrite(registry_embedded_source().p, 1, registry_embedded_source().n, stdout);
        return EXIT_OK;
    }
    err = registry_load(f.registry, &set, &e);
    if (err == ERR_OK)
        err = show(registry_block(set), &f, &a, &e);
    return finish(err, &e);
}

/* A line each. */
static void
print_differences(size_t n, struct str lines, bool as_json)
{
    json_t *list = json_array();

    if (!as_json)
        printf("%.*s", STR_ARG(n == 0 ? STR("no differences\n") : lines));
    while (lines.n > 0) {
        size_t end = str_find_char(lines, '\n');

        json_array_append_new(list, json_stringn(lines.p, end));
        lines = str_slice(lines, end < lines.n ? end + 1 : end, lines.n);
    }
    if (as_json)
        print_json(json_pack("{s:o}", "differences", list));
    else
        json_decref(list);
}

static int
registry_diff_command(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *from = NULL;
    AUTO_REGISTRY struct registry_set *to = NULL;
    AUTO_BUF struct buf text;
    bool json = false;
    const struct option options[] = {{"json", NULL, "print JSON", .flag = &json}};
    const struct command_line line = {"purser registry diff", "A [B]",
        "Says in words what changes for which runtime and model from file A to file B (default: "
        "the embedded one): new payer, new provider, new price.",
        ROWS(options), .positional_min = 1, .positional_max = 2};
    struct arguments a = {0};
    struct error e;
    enum err err;
    int code;

    buf_init(&text, OUTPUT_BYTES_MAX);
    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    err = registry_load(a.positional[0], &from, &e);
    if (err == ERR_OK)
        err = registry_load(a.positional_n > 1 ? a.positional[1] : NULL, &to, &e);
    if (err == ERR_OK)
        print_differences(registry_diff(&text, from, to, clock_ms()), buf_str(&text), json);
    return finish(err, &e);
}

static json_t *
offered_json(const struct registry *r, const struct registry_runtime *rt)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        const struct registry_arm *arm = &registry_arms(r, rt)[i];
        const struct registry_provider *p = registry_provider_at(r, arm->provider);
        json_t *provider = registry_json_provider(r, p);

        for (uint32_t j = 0; j < arm->models.n; j++) {
            struct str id = registry_str(r, registry_strs(r, arm->models)[j]);

            json_array_append_new(array,
                json_pack("{ss# sO sb sO}", "id", id.p, (int)id.n, "provider",
                    json_object_get(provider, "name"), "platform_billed", (int)p->is_platform,
                    "auth_env", json_object_get(provider, "auth_env")));
        }
        json_decref(provider);
    }
    return array;
}

static int
registry_offered(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *set = NULL;
    struct registry_flags f = {0};
    const struct option options[] = {
        {"registry", "FILE", "another registry than the embedded one", .text = &f.registry},
        {"json", NULL, "print JSON", .flag = &f.json},
    };
    const struct command_line line = {"purser registry offered", "RUNTIME",
        "The models that the registry lists for a runtime, and who pays for each.", ROWS(options),
        .positional_min = 1, .positional_max = 1};
    struct arguments a = {0};
    const struct registry_runtime *rt;
    json_t *offered, *row;
    size_t i;
    struct error e;
    int code;

    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (registry_load(f.registry, &set, &e) != ERR_OK)
        return cmd_fail(&e);
    rt = registry_runtime_find(registry_block(set), str_from_cstr(a.positional[0]));
    if (rt == NULL)
        return finish(
            fail(&e, ERR_NOT_FOUND, "the registry has no runtime \"%s\"", a.positional[0]), &e);
    offered = offered_json(registry_block(set), rt);
    if (f.json) {
        print_json(offered);
        return EXIT_OK;
    }
    printf("%-40s %-20s %s\n", "MODEL", "PROVIDER", "WHO PAYS");
    json_array_foreach(offered, i, row)
        printf("%-40s %-20s %s\n", json_string_value(json_object_get(row, "id")),
            json_string_value(json_object_get(row, "provider")),
            json_is_true(json_object_get(row, "platform_billed")) ? "the platform" : "the org");
    json_decref(offered);
    return EXIT_OK;
}

static int
registry_reload_command(int argc, char **argv)
{
    static const struct column columns[] = {
        {"status", "status", COLUMN_TEXT},
        {"fingerprint", "registry_fingerprint", COLUMN_TEXT},
    };
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {SERVER_OPTIONS(s.options)};
    const struct command_line line = {"purser registry reload", "",
        "Has the server read its registry's file again. A bad one is refused and the old one "
        "stays; "
        "no\ncall is dropped.",
        ROWS(options)};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = client_call(s.client, "POST", "/admin/registry/reload", NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        output_object(answer, ROWS(columns));
    return session_end(&s, err);
}

int
cmd_registry(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"check", registry_check, "is a registry file good?"},
        {"show", registry_show, "print the registry or one entry"},
        {"fingerprint", registry_fingerprint, "print what identifies a registry"},
        {"diff", registry_diff_command, "say what changes from one file to another"},
        {"offered", registry_offered, "list a runtime's models and who pays for each"},
        {"reload", registry_reload_command, "have a server read its file again"},
    };

    return cmd_dispatch("purser registry",
        "Providers, models, prices and runtimes. Offline, but for reload.", ROWS(table), argc,
        argv);
}
