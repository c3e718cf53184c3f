#include "cli/run_env.h"

#include "base/cleanup.h"
#include "core/envplan.h"
#include "registry/registry_load.h"

/* What a terminal program may know of its surroundings without being steered by it. */
static const char *const harmless[] = {
    "PATH", "TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TZ"};

enum { EXTRA_MAX = 64, NAME_MAX_BYTES = 128 };

static void
add(struct run_env *env, const char *name, const char *value)
{
    char *entry = NULL;

    ENSURE(asprintf(&entry, "%s=%s", name, value) > 0);
    env->entries[env->n++] = entry;
}

static char **
find(const struct run_env *env, struct str name)
{
    for (size_t i = 0; i < env->n; i++) {
        struct str entry = str_from_cstr(env->entries[i]);

        if (str_equal(str_slice(entry, 0, str_find_char(entry, '=')), name))
            return &env->entries[i];
    }
    return NULL;
}

static void
entry_free(char *entry)
{
    explicit_bzero(entry, strlen(entry));
    free(entry);
}

static bool
list_has(const json_t *list, struct str name)
{
    size_t i;
    json_t *item;

    json_array_foreach((json_t *)list, i, item)
    {
        if (str_equal(str_from_cstr(json_string_value(item)), name))
            return true;
    }
    return false;
}

/* The next name of a comma-separated list. */
static bool
next_name(struct str *rest, struct str *ret)
{
    while (rest->n > 0) {
        size_t comma = str_find_char(*rest, ',');

        *ret = str_trim(str_slice(*rest, 0, comma));
        *rest = str_slice(*rest, comma < rest->n ? comma + 1 : comma, rest->n);
        if (ret->n > 0)
            return true;
    }
    return false;
}

bool
run_env_inherits(const char *inherit, const char *name)
{
    struct str rest = str_from_cstr(inherit), item;

    while (next_name(&rest, &item)) {
        if (str_equal(item, str_from_cstr(name)))
            return true;
    }
    return false;
}

/* Who pays is decided by the plan: no name that has a say in it comes from outside. */
static enum err
check_inherited(const json_t *answer, const struct run_env *env, struct str name, struct error *e)
{
    struct registry_set *set = NULL;
    struct error ignored;
    bool vendor_key = false;

    if (str_equal(name, STR("HOME"))) /* the workspace's own is only a default */
        return ERR_OK;
    if (registry_load_embedded(&set, &ignored) == ERR_OK)
        vendor_key = registry_is_vendor_key(registry_block(set), name);
    registry_free(set);
    if (vendor_key || env_name_is_reserved(name) ||
        list_has(json_object_get(answer, "stripped"), name))
        return fail(e, ERR_USAGE,
            "%.*s may not be inherited: it has a say in which provider is called and who pays. "
            "Store it as a secret of the workspace instead (purser secret set)",
            STR_ARG(name));
    if (find(env, name) != NULL && !list_has(json_object_get(answer, "base"), name))
        return fail(
            e, ERR_USAGE, "%.*s may not be inherited: the workspace sets it", STR_ARG(name));
    return ERR_OK;
}

static enum err
add_inherited(const json_t *answer, const char *inherit, struct run_env *env, struct error *e)
{
    struct str rest = str_from_cstr(inherit), name;
    size_t n = 0;

    while (next_name(&rest, &name)) {
        char text[NAME_MAX_BYTES + 1];
        const char *value;
        char **there;

        if (name.n > NAME_MAX_BYTES || ++n > EXTRA_MAX)
            return fail(e, ERR_USAGE, "--inherit takes at most %d names of at most %d characters",
                EXTRA_MAX, NAME_MAX_BYTES);
        if (check_inherited(answer, env, name, e) != ERR_OK)
            return e->code;
        memcpy(text, name.p, name.n);
        text[name.n] = '\0';
        value = getenv(text);
        there = find(env, name);
        if (value == NULL)
            continue;
        if (there != NULL) {
            entry_free(*there);
            *there = env->entries[--env->n];
        }
        add(env, text, value);
    }
    return ERR_OK;
}

enum err
run_env_make(const json_t *answer, const char *inherit, const char *home, struct run_env *ret,
    struct error *e)
{
    json_t *values = json_object_get(answer, "env");
    const char *name;
    json_t *value;
    size_t room = json_object_size(values) + sizeof(harmless) / sizeof(harmless[0]) + EXTRA_MAX + 2;

    *ret = (struct run_env){.entries = calloc(room, sizeof(char *))};
    ENSURE(ret->entries != NULL);
    json_object_foreach(values, name, value) add(ret, name, json_string_value(value));
    if (add_inherited(answer, inherit, ret, e) != ERR_OK)
        return e->code;
    if (home != NULL && find(ret, STR("HOME")) == NULL)
        add(ret, "HOME", home);
    for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++) {
        const char *own = getenv(harmless[i]);

        if (own != NULL && find(ret, str_from_cstr(harmless[i])) == NULL)
            add(ret, harmless[i], own);
    }
    ret->entries[ret->n] = NULL;
    return ERR_OK;
}

void
run_env_done(struct run_env *env)
{
    for (size_t i = 0; i < env->n; i++)
        entry_free(env->entries[i]);
    free(env->entries);
    *env = (struct run_env){0};
}
