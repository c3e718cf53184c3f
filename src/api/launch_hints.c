#include "api/launch_hints.h"

#include "store/event_row.h"

enum { IMAGE_MAX_BYTES = 250, NETWORK_MAX_BYTES = 64, PROGRESS_EVERY_MS = 2000 };

/* The numbers: what they are called, their range, and how many of the launcher's units one is. */
static const struct number {
    const char *name;
    double min, max;
    double unit;
    size_t offset;
} numbers[] = {
    {"memory_mb", 16, 1 << 24, 1 << 20, offsetof(struct launch_limits, memory_bytes)},
    {"cpus", 0.01, 4096, 1000, offsetof(struct launch_limits, cpu_millis)},
    {"processes", 1, 1 << 22, 1, offsetof(struct launch_limits, processes)},
    {"files", 16, 1 << 20, 1, offsetof(struct launch_limits, files)},
};
enum { NUMBERS_N = sizeof(numbers) / sizeof(numbers[0]) };

static enum err
number_read(json_t *o, const struct number *n, struct launch_limits *ret, struct error *e)
{
    json_t *v = json_object_get(o, n->name);
    double value = json_number_value(v);

    if (v == NULL || json_is_null(v))
        return ERR_OK;
    if (!json_is_number(v) || value < n->min || value > n->max)
        return fail(e, ERR_INVALID_REQUEST, "\"launch\": %s is a number from %g to %g", n->name,
            n->min, n->max);
    *(int64_t *)((char *)ret + n->offset) = (int64_t)(value * n->unit);
    return ERR_OK;
}

/*
 * What a reference to an image or the name of a network is made of. No network has a colon or a slash:
 * "container:NAME" and "ns:PATH" are engines' words for the networks of others.
 */
static bool
is_reference(struct str s, size_t max, const char *signs)
{
    for (size_t i = 0; i < s.n; i++) {
        char ch = s.p[i];

        if (!(ch >= 'a' && ch <= 'z') && !(ch >= 'A' && ch <= 'Z') && !(ch >= '0' && ch <= '9') &&
            (ch == '\0' || strchr(signs, ch) == NULL))
            return false;
    }
    return s.n <= max && (s.n == 0 || (s.p[0] != '-' && s.p[0] != '/'));
}

struct hints {
    struct launch_limits limits;
    struct launch_container container;
};

static enum err
hints_parse(json_t *o, struct hints *ret, struct error *e)
{
    const char *name;
    json_t *value;
    enum err code = ERR_OK;

    json_object_foreach(o, name, value)
    {
        bool known = strcmp(name, "image") == 0 || strcmp(name, "network") == 0;

        for (size_t i = 0; i < NUMBERS_N; i++)
            known = known || strcmp(name, numbers[i].name) == 0;
        if (!known)
            return fail(e, ERR_INVALID_REQUEST,
                "\"launch\" has no field \"%.50s\": image, network, memory_mb, cpus, processes, "
                "files",
                name);
    }
    for (size_t i = 0; i < NUMBERS_N && code == ERR_OK; i++)
        code = number_read(o, &numbers[i], &ret->limits, e);
    if (code == ERR_OK)
        code = json_get_str(o, "image", &ret->container.image, e);
    if (code == ERR_OK)
        code = json_get_str(o, "network", &ret->container.network, e);
    if (code != ERR_OK)
        return code;
    if (!is_reference(ret->container.image, IMAGE_MAX_BYTES, "._-/:@"))
        return fail(e, ERR_INVALID_REQUEST, "\"launch\": image is no name of an image");
    if (!is_reference(ret->container.network, NETWORK_MAX_BYTES, "._-"))
        return fail(e, ERR_INVALID_REQUEST, "\"launch\": network is bridge, none, host or a name");
    if (ret->container.image.n == 0 && (ret->container.network.n > 0 || ret->limits.cpu_millis > 0))
        return fail(e, ERR_INVALID_REQUEST,
            "\"launch\": network and cpus are a container's: they need an image");
    return ERR_OK;
}

/* Behind any other name are machines and services that no org was given. */
static bool
is_anybodys_network(struct str name)
{
    return name.n == 0 || str_equal(name, STR("bridge")) || str_equal(name, STR("none"));
}

enum err
launch_hints_read(struct call *c, struct workspace_row *w, struct error *e)
{
    json_t *o = json_object_get(c->body, "launch");
    struct hints hints = {0};
    char *dump;

    if (o == NULL)
        return ERR_OK;
    if (json_is_null(o)) {
        w->launch = STR("{}");
        return ERR_OK;
    }
    if (!json_is_object(o))
        return fail(e, ERR_INVALID_REQUEST, "\"launch\" is an object or null");
    if (hints_parse(o, &hints, e) != ERR_OK)
        return e->code;
    if (c->principal.who != WHO_ADMIN && !is_anybodys_network(hints.container.network))
        return fail(e, ERR_INVALID_REQUEST,
            "\"launch\": only the admin may give a container the machine's own network, or a named "
            "one: leave network out, or take bridge or none");
    dump = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    if (dump == NULL)
        return fail(e, ERR_INVALID_REQUEST, "\"launch\" is no plain JSON");
    w->launch = arena_dup(&c->http->arena, str_from_cstr(dump));
    json_wiping_free(dump);
    return ERR_OK;
}

enum err
launch_hints_apply(struct arena *arena, struct str kept, struct launch_spec *spec,
    struct launch_container *container, struct error *e)
{
    AUTO_JSON json_t *o = json_loadb(kept.p == NULL ? "" : kept.p, kept.n, 0, NULL);
    struct hints hints = {0};

    if (!json_is_object(o) || hints_parse(o, &hints, e) != ERR_OK)
        return fail(e, ERR_STORE_UNAVAILABLE,
            "what is kept of the workspace's \"launch\" cannot be read: set it again");
    spec->limits = hints.limits;
    if (hints.container.image.n == 0)
        return ERR_OK;
    *container = (struct launch_container){
        arena_dup(arena, hints.container.image), arena_dup(arena, hints.container.network)};
    spec->container = container;
    return ERR_OK;
}

struct fetch {
    struct api *api;
    struct id org, workspace;
    const struct launch_container *container;
    struct str line;
    int64_t told_ms;
};

static enum err
tell_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    const struct fetch *f = ctx;
    AUTO(arena_done) struct arena arena;
    AUTO_JSON json_t *details = json_pack(
        "{s:o, s:o}", "image", json_str(f->container->image), "progress", json_str(f->line));
    char *dump = json_dumps(details, JSON_COMPACT);
    struct event_row event = {.org = f->org,
        .workspace = f->workspace,
        .type = STR("workspace.image"),
        .created_ms = clock_ms()};

    arena_init(&arena);
    event.json = dump == NULL ? STR("{}") : arena_dup(&arena, str_from_cstr(dump));
    json_wiping_free(dump);
    return event_row_append(tx, &event, NULL, e);
}

/* Told for people to see; a start does not fail because it cannot be told. */
static void
tell(void *ctx, struct str line)
{
    struct fetch *f = ctx;
    struct error e;

    if (clock_monotonic_ms() - f->told_ms < PROGRESS_EVERY_MS)
        return;
    f->told_ms = clock_monotonic_ms();
    f->line = line;
    if (store_tx(f->api->o.store, tell_tx, f, &e) != ERR_OK)
        log_warn("api", "the progress of an image cannot be told: %s", e.text);
}

enum err
launch_hints_fetch(struct api *a, struct id org, struct id workspace,
    const struct launch_container *container, struct error *e)
{
    struct fetch f = {.api = a, .org = org, .workspace = workspace, .container = container};

    return launch_prepare(a->launcher, container, tell, &f, e);
}
