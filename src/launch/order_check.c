#include "launch/order_check.h"

#include "launch/order.h"

static bool
has_nul(struct str s)
{
    return str_find_char(s, '\0') < s.n;
}

static enum err
check_path(const char *what, struct str path, struct error *e)
{
    if (path.n == 0 || path.p[0] != '/' || has_nul(path) || path.n >= ORDER_MAX_PATH_BYTES)
        return fail(e, ERR_INVALID_REQUEST, "%s must be an absolute path below %d bytes", what,
            ORDER_MAX_PATH_BYTES);
    return ERR_OK;
}

static enum err
check_args(const struct launch_spec *spec, struct error *e)
{
    size_t total = 0;

    if (spec->argv_n == 0 || spec->argv_n > ORDER_MAX_ARGS || spec->argv[0].n == 0)
        return fail(e, ERR_INVALID_REQUEST, "the command is empty or has more than %d words",
            ORDER_MAX_ARGS);
    for (size_t i = 0; i < spec->argv_n; i++) {
        if (has_nul(spec->argv[i]))
            return fail(e, ERR_INVALID_REQUEST, "word %zu of the command contains a NUL", i + 1);
        if (spec->argv[i].n >= ORDER_MAX_ENTRY_BYTES ||
            (total += spec->argv[i].n + 1) > ORDER_MAX_ARGS_BYTES)
            return fail(e, ERR_INVALID_REQUEST, "the command is longer than a program can take");
    }
    return ERR_OK;
}

static enum err
check_env(const struct launch_spec *spec, struct error *e)
{
    size_t total = 0;

    if (spec->env_n > ORDER_MAX_ENV)
        return fail(e, ERR_ENVIRONMENT_TOO_LARGE, "%zu variables; an environment has at most %d",
            spec->env_n, ORDER_MAX_ENV);
    for (size_t i = 0; i < spec->env_n; i++) {
        struct str name = spec->env[i].name;
        struct str value = launch_env_value(&spec->env[i]);

        if (name.n == 0 || has_nul(name) || str_find_char(name, '=') < name.n)
            return fail(e, ERR_INVALID_REQUEST, "variable %zu has no valid name", i + 1);
        if (name.n > ORDER_MAX_NAME_BYTES)
            return fail(e, ERR_INVALID_REQUEST, "the name of variable %zu is too long", i + 1);
        if (value.n > ORDER_MAX_ENTRY_BYTES - name.n - 2)
            return fail(e, ERR_ENVIRONMENT_TOO_LARGE, "variable %.*s is larger than 128 KiB",
                STR_ARG(name));
        if (has_nul(value))
            return fail(
                e, ERR_INVALID_REQUEST, "the value of variable %.*s contains a NUL", STR_ARG(name));
        total += name.n + value.n + 2;
        if (total > ORDER_MAX_ENV_BYTES)
            return fail(e, ERR_ENVIRONMENT_TOO_LARGE, "the environment is larger than 1 MiB");
        for (size_t k = 0; k < i; k++) {
            if (str_equal(spec->env[k].name, name))
                return fail(e, ERR_INVALID_REQUEST, "variable %.*s is there twice", STR_ARG(name));
        }
    }
    return ERR_OK;
}

static enum err
check_files(const struct launch_spec *spec, struct error *e)
{
    if (spec->files_n > HOMEFILES_MAX)
        return fail(e, ERR_INVALID_REQUEST, "more than %d files for HOME", HOMEFILES_MAX);
    for (size_t i = 0; i < spec->files_n; i++) {
        struct str path = spec->files[i].path;

        if (path.n == 0 || path.n > HOMEFILE_PATH_MAX || path.p[0] == '/' || has_nul(path) ||
            memmem(path.p, path.n, "..", 2) != NULL || str_find_char(path, '\n') < path.n)
            return fail(e, ERR_INVALID_REQUEST, "file %zu has no path below HOME", i + 1);
        if (secret_bytes(spec->files[i].content) >= ORDER_MAX_FILE_BYTES)
            return fail(e, ERR_ENVIRONMENT_TOO_LARGE, "the file %.*s is larger than 128 KiB",
                STR_ARG(path));
    }
    return ERR_OK;
}

static bool
is_word(struct str s)
{
    return s.n <= ORDER_MAX_NAME_BYTES && !has_nul(s);
}

/* Container or sandbox: what was asked for must be there, or nothing starts. */
static enum err
check_surroundings(const struct launch_spec *spec, const struct launch_options *o, struct error *e)
{
    const struct launch_limits *l = &spec->limits;

    if (l->memory_bytes < 0 || l->cpu_millis < 0 || l->processes < 0 || l->files < 0)
        return fail(e, ERR_INVALID_REQUEST, "a limit of the agent is negative");
    if (spec->container != NULL) {
        if (spec->container->image.n == 0 || !is_word(spec->container->image) ||
            !is_word(spec->container->network))
            return fail(e, ERR_INVALID_REQUEST, "the container's image or network is no name");
        if (o->engine.n == 0 || o->init.n == 0)
            return fail(e, ERR_LAUNCH_FAILED,
                "the workspace runs in a container and no container engine is set: set "
                "container_engine to the engine's socket");
    }
    if (spec->sandbox && o->sandbox.n == 0)
        return fail(e, ERR_LAUNCH_FAILED,
            "isolation: sandbox needs bubblewrap: install the package bubblewrap");
    return ERR_OK;
}

enum err
order_check(const struct launch_spec *spec, const struct launch_options *o, struct error *e)
{
    if (check_path("the run directory", o->run_dir, e) != ERR_OK ||
        check_path("the state directory", o->state_dir, e) != ERR_OK ||
        check_path("HOME", spec->home, e) != ERR_OK ||
        (spec->work_dir.n > 0 && check_path("the working directory", spec->work_dir, e) != ERR_OK))
        return e->code;
    if (check_args(spec, e) != ERR_OK || check_env(spec, e) != ERR_OK ||
        check_files(spec, e) != ERR_OK)
        return e->code;
    return check_surroundings(spec, o, e);
}
