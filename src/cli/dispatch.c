#include "cli/cmd.h"

#include "base/yaml.h"

#include <stdio.h>

enum { COMMANDS_MAX = 32 };

int
cmd_fail(const struct error *e)
{
    fprintf(stderr, "purser: %s: %s\n", err_name(e->code), e->text);
    return err_exit_code(e->code);
}

static void
print_table(const char *program, const char *summary, const struct cmd *table, size_t n)
{
    printf("usage: %s COMMAND ...\n\n%s\n\ncommands:\n", program, summary);
    for (size_t i = 0; i < n; i++)
        printf("  %-12s  %s\n", table[i].name, table[i].help);
    printf("\n%s COMMAND --help tells more about each.\n", program);
}

static int
unknown_command(const char *program, struct str typed, const struct cmd *table, size_t n)
{
    struct str names[COMMANDS_MAX], nearest;
    struct error e;

    if (str_starts_with(typed, STR("-"))) {
        fail(&e, ERR_USAGE, "options stand behind the command (%s --help lists the commands)",
            program);
        return cmd_fail(&e);
    }
    ENSURE(n <= COMMANDS_MAX);
    for (size_t i = 0; i < n; i++)
        names[i] = str_from_cstr(table[i].name);
    nearest = yaml_nearest(typed, names, n);
    if (nearest.n == 0)
        fail(&e, ERR_USAGE, "there is no command %s %.*s (%s --help lists them)", program,
            STR_ARG(typed), program);
    else
        fail(&e, ERR_USAGE, "there is no command %s %.*s: did you mean %.*s?", program,
            STR_ARG(typed), STR_ARG(nearest));
    return cmd_fail(&e);
}

int
cmd_dispatch(const char *program, const char *summary, const struct cmd *table, size_t n, int argc,
    char **argv)
{
    struct error e;

    if (argc < 2) {
        fail(&e, ERR_USAGE, "%s needs a command (%s --help lists them)", program, program);
        return cmd_fail(&e);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_table(program, summary, table, n);
        return EXIT_OK;
    }
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], table[i].name) == 0)
            return table[i].run(argc - 1, argv + 1);
    }
    return unknown_command(program, str_from_cstr(argv[1]), table, n);
}
