#include "cli/options.h"
#include "cli/cmd.h"

#include "unit.h"

#include <fcntl.h>
#include <unistd.h>

/* One command with one option of each kind. */
struct values {
    bool once;
    const char *state;
    struct option_values models;
};

static enum err
parse(int argc, const char *const *argv, struct values *v, struct arguments *a, struct error *e)
{
    const struct option options[] = {
        {"once", NULL, "stop at the end", .flag = &v->once},
        {"state_dir", "DIR", "where", .text = &v->state},
        {"model", "M", "which", .list = &v->models},
    };
    const struct command_line line = {"purser try", "NAME", "Tries.", ROWS(options),
        .positional_min = 1, .positional_max = 2, .takes_rest = true};

    return options_parse(&line, argc, (char **)argv, a, e);
}
#define PARSE(v, a, e, ...)                                                                        \
    parse((int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),                      \
        (const char *const[]){__VA_ARGS__}, v, a, e)

static void
reads_every_kind_of_option(void **state)
{
    struct values v = {0};
    struct arguments a = {0};
    struct error e = {0};

    assert_int_equal(PARSE(&v, &a, &e, "try", "--once", "x", "--state-dir", "/s", "--model=a=b",
                         "--model", "--c", "--", "sh", "--once"),
        ERR_OK);
    assert_true(v.once);
    assert_string_equal(v.state, "/s");
    assert_int_equal(v.models.n, 2);
    assert_string_equal(v.models.v[0], "a=b");
    assert_string_equal(v.models.v[1], "--c");
    assert_int_equal(a.positional_n, 1);
    assert_string_equal(a.positional[0], "x");
    assert_int_equal(a.rest_n, 2);
    assert_string_equal(a.rest[1], "--once");
}

static void
underscore_and_dash_are_the_same_in_names(void **state)
{
    struct values v = {0};
    struct arguments a = {0};
    struct error e = {0};

    assert_int_equal(PARSE(&v, &a, &e, "try", "x", "--state_dir=/s"), ERR_OK);
    assert_string_equal(v.state, "/s");
}

static void
help_wins_over_mistakes_but_not_behind_dashes(void **state)
{
    struct values v = {0};
    struct arguments a = {0};
    struct error e = {0};

    assert_int_equal(PARSE(&v, &a, &e, "try", "--nonsense", "-h"), ERR_OK);
    assert_true(a.help);
    a = (struct arguments){0};
    assert_int_equal(PARSE(&v, &a, &e, "try", "x", "--", "--help"), ERR_OK);
    assert_false(a.help);
}

/* Each row: words that must be refused, and what the sentence must say. */
static void
refuses_mistakes_with_a_sentence(void **state)
{
    static const struct {
        const char *words[5];
        int n;
        const char *wanted;
    } cases[] = {
        {{"try", "x", "--onse"}, 3, "did you mean --once?"},
        {{"try", "x", "--zzzzzzz"}, 3, "--help lists them"},
        {{"try", "x", "--state-dir"}, 3, "--state-dir needs a value: DIR"},
        {{"try", "x", "--once=1"}, 3, "--once takes no value"},
        {{"try", "--state-dir=1", "--state-dir=2", "x"}, 4, "given twice"},
        {{"try", "a", "b", "c"}, 4, "does not expect the argument \"c\""},
        {{"try"}, 1, "needs NAME"},
        {{"try", "x", "-s"}, 3, "no option -s"},
        {{"try", "--name", "x"}, 3, "NAME is an argument: purser try NAME"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct values v = {0};
        struct arguments a = {0};
        struct error e = {0};

        if (parse(cases[i].n, cases[i].words, &v, &a, &e) != ERR_USAGE)
            fail_msg("not refused: case %zu", i);
        if (strstr(e.text, cases[i].wanted) == NULL)
            fail_msg("\"%s\" does not say \"%s\"", e.text, cases[i].wanted);
    }
}

static void
an_argument_too_many_is_not_repeated_where_it_may_be_a_secret(void **state)
{
    const struct command_line line = {"purser set", "NAME", "Sets.", .positional_min = 1,
        .positional_max = 1, .too_many = "it is read from stdin"};
    const char *words[] = {"set", "x", "hush"};
    struct arguments a = {0};
    struct error e = {0};

    assert_int_equal(options_parse(&line, 3, (char **)words, &a, &e), ERR_USAGE);
    assert_string_equal(e.text, "it is read from stdin");
}

static void
refuses_too_many_values(void **state)
{
    const char *words[2 + OPTION_VALUES_MAX + 1] = {"try", "x"};
    struct values v = {0};
    struct arguments a = {0};
    struct error e = {0};

    for (size_t i = 2; i < sizeof(words) / sizeof(words[0]); i++)
        words[i] = "--model=m";
    assert_int_equal(parse(2 + OPTION_VALUES_MAX, words, &v, &a, &e), ERR_OK);
    v.models.n = 0;
    assert_int_equal(parse(3 + OPTION_VALUES_MAX, words, &v, &a, &e), ERR_USAGE);
}

/* The help is printed from the rows that are parsed: every row, with its text, is in it. */
static void
help_names_every_option(void **state)
{
    struct values v = {0};
    const struct option options[] = {
        {"once", NULL, "stop at the end", .flag = &v.once},
        {"state_dir", "DIR", "where it is kept", .text = &v.state},
        {"an-option-with-a-long-name", "ARGUMENT", "folds its help", .text = &v.state},
    };
    const struct command_line line = {"purser try", "NAME", "Tries.", ROWS(options)};
    static const char *const wanted[] = {"usage: purser try NAME [options]", "Tries.", "--once ",
        "stop at the end", "--state-dir DIR", "where it is kept", "folds its help"};
    char text[2048] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");

    options_help(&line, out);
    fclose(out);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        if (strstr(text, wanted[i]) == NULL)
            fail_msg("help does not say \"%s\":\n%s", wanted[i], text);
    }
}

static int called_argc;

static int
remember(int argc, char **argv)
{
    called_argc = argc;
    return EXIT_SKIPPED;
}

static void
dispatch_finds_commands_and_gives_their_exit_code(void **state)
{
    static const struct cmd table[] = {
        {"start", remember, "start it"}, {"stop", remember, "stop it"}};
    const char *good[] = {"w", "stop", "x"}, *wrong[] = {"w", "stpo"}, *none[] = {"w"};
    const char *help[] = {"w", "--help"};
    int quiet, out, code;

    assert_int_equal(cmd_dispatch("w", "s", ROWS(table), 3, (char **)good), EXIT_SKIPPED);
    assert_int_equal(called_argc, 2);
    assert_int_equal(cmd_dispatch("w", "s", ROWS(table), 2, (char **)wrong), EXIT_USAGE);
    assert_int_equal(cmd_dispatch("w", "s", ROWS(table), 1, (char **)none), EXIT_USAGE);
    quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
    fflush(stdout);
    out = dup(STDOUT_FILENO);
    dup2(quiet, STDOUT_FILENO); /* the help is not TAP */
    code = cmd_dispatch("w", "s", ROWS(table), 2, (char **)help);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    close(out);
    close(quiet);
    assert_int_equal(code, EXIT_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_every_kind_of_option),
        TEST(underscore_and_dash_are_the_same_in_names),
        TEST(help_wins_over_mistakes_but_not_behind_dashes),
        TEST(refuses_mistakes_with_a_sentence),
        TEST(an_argument_too_many_is_not_repeated_where_it_may_be_a_secret),
        TEST(refuses_too_many_values),
        TEST(help_names_every_option),
        TEST(dispatch_finds_commands_and_gives_their_exit_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
