#include "cli/options.h"

#include "cli/cmd.h"
#include "base/yaml.h"

#include <stdio.h>

enum {
    COLUMN = 28, /* where the help texts begin */
    OPTIONS_MAX = 64,
};

static bool
same_name(struct str typed, const char *name)
{
    if (typed.n != strlen(name))
        return false;
    for (size_t i = 0; i < typed.n; i++) {
        char a = typed.p[i] == '_' ? '-' : typed.p[i];
        char b = name[i] == '_' ? '-' : name[i];

        if (a != b)
            return false;
    }
    return true;
}

static enum err
unknown_option(const struct command_line *c, struct str name, struct error *e)
{
    struct str names[OPTIONS_MAX], nearest;

    if (str_equal_name(name, str_from_cstr(c->arguments)))
        return fail(
            e, ERR_USAGE, "%s is an argument: %s %s", c->arguments, c->command, c->arguments);
    ENSURE(c->options_n <= OPTIONS_MAX);
    for (size_t i = 0; i < c->options_n; i++)
        names[i] = str_from_cstr(c->options[i].name);
    nearest = yaml_nearest(name, names, c->options_n);
    if (nearest.n == 0)
        return fail(e, ERR_USAGE, "%s has no option --%.*s (%s --help lists them)", c->command,
            STR_ARG(name), c->command);
    return fail(e, ERR_USAGE, "%s has no option --%.*s: did you mean --%.*s?", c->command,
        STR_ARG(name), STR_ARG(nearest));
}

static enum err
store_value(const struct option *o, const char *value, struct error *e)
{
    if (o->list != NULL) {
        if (o->list->n == OPTION_VALUES_MAX)
            return fail(
                e, ERR_USAGE, "--%s is given more than %d times", o->name, OPTION_VALUES_MAX);
        o->list->v[o->list->n++] = value;
        return ERR_OK;
    }
    if (*o->text != NULL)
        return fail(e, ERR_USAGE, "--%s is given twice", o->name);
    *o->text = value;
    return ERR_OK;
}

/* text: what stands behind "--". Advances *i when the value is an argument of its own. */
static enum err
read_option(
    const struct command_line *c, const char *text, int argc, char **argv, int *i, struct error *e)
{
    struct str whole = str_from_cstr(text);
    size_t equals = str_find_char(whole, '=');
    struct str name = str_slice(whole, 0, equals);
    const char *value = equals < whole.n ? text + equals + 1 : NULL;

    for (size_t k = 0; k < c->options_n; k++) {
        const struct option *o = &c->options[k];

        if (!same_name(name, o->name))
            continue;
        if (o->flag != NULL) {
            if (value != NULL)
                return fail(e, ERR_USAGE, "--%s takes no value", o->name);
            *o->flag = true;
            return ERR_OK;
        }
        if (value == NULL) {
            if (*i + 1 >= argc)
                return fail(e, ERR_USAGE, "--%s needs a value: %s", o->name, o->argument);
            value = argv[++*i];
        }
        return store_value(o, value, e);
    }
    return unknown_option(c, name, e);
}

static bool
wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    }
    return false;
}

/* Settings' names have underscores; options are written with dashes, as the help shows them. */
static void
show_dashes(struct error *e)
{
    bool in_option = false;

    for (char *at = e->text; *at != '\0'; at++) {
        if (at[0] == '-' && at[1] == '-')
            in_option = true;
        else if (str_is_space(*at) || *at == '=')
            in_option = false;
        if (in_option && *at == '_')
            *at = '-';
    }
}

enum err
options_parse(
    const struct command_line *c, int argc, char **argv, struct arguments *ret, struct error *e)
{
    struct arguments a = {0};

    if (wants_help(argc, argv)) {
        ret->help = true;
        return ERR_OK;
    }
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            if (!c->takes_rest)
                return fail(e, ERR_USAGE, "%s takes no command behind --", c->command);
            a.rest = argv + i + 1;
            a.rest_n = (size_t)(argc - i - 1);
            break;
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            enum err err = read_option(c, argv[i] + 2, argc, argv, &i, e);

            if (err != ERR_OK) {
                show_dashes(e);
                return err;
            }
            continue;
        }
        if (argv[i][0] == '-' && argv[i][1] != '\0')
            return fail(e, ERR_USAGE, "%s has no option %s (%s --help lists them)", c->command,
                argv[i], c->command);
        if (a.positional_n >= c->positional_max && c->too_many != NULL)
            return fail(e, ERR_USAGE, "%s", c->too_many);
        if (a.positional_n >= c->positional_max)
            return fail(
                e, ERR_USAGE, "%s does not expect the argument \"%s\"", c->command, argv[i]);
        a.positional[a.positional_n++] = argv[i];
    }
    if (a.positional_n < c->positional_min)
        return fail(e, ERR_USAGE, "%s needs %s (%s --help says more)", c->command, c->arguments,
            c->command);
    *ret = a;
    return ERR_OK;
}

static void
print_name(FILE *out, const struct option *o)
{
    char left[80];
    int n = snprintf(left, sizeof(left), "--%s%s%s%s", o->name, o->argument == NULL ? "" : " ",
        o->argument == NULL ? "" : o->argument, o->list == NULL ? "" : " ...");

    for (char *p = left + 2; *p != '\0' && *p != ' '; p++) {
        if (*p == '_')
            *p = '-';
    }
    if (n > COLUMN)
        fprintf(out, "  %s\n  %-*s  %s\n", left, COLUMN, "", o->help);
    else
        fprintf(out, "  %-*s  %s\n", COLUMN, left, o->help);
}

void
options_help(const struct command_line *c, FILE *out)
{
    fprintf(out, "usage: %s%s%s%s%s\n\n%s\n", c->command, c->arguments[0] == '\0' ? "" : " ",
        c->arguments, c->options_n == 0 ? "" : " [options]",
        c->takes_rest ? " [-- command ...]" : "", c->summary);
    if (c->options_n > 0)
        fprintf(out, "\noptions:\n");
    for (size_t i = 0; i < c->options_n; i++)
        print_name(out, &c->options[i]);
}

bool
options_read(
    const struct command_line *c, int argc, char **argv, struct arguments *ret, int *ret_exit)
{
    struct arguments a = {0};
    struct error e;

    if (options_parse(c, argc, argv, &a, &e) != ERR_OK) {
        *ret_exit = cmd_fail(&e);
        return false;
    }
    if (a.help) {
        options_help(c, stdout);
        *ret_exit = EXIT_OK;
        return false;
    }
    *ret = a;
    return true;
}
