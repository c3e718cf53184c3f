/*
 * Command lines, read by a table: each option of a command is one row, and the same rows print its
 * help, so the two cannot differ. "--name value", "--name=value", "--" ends the options; in names
 * '-' and '_' are the same. Views point into argv.
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "base/error.h"

/* The values of an option that may be given several times. Zero-initialised by the caller. */
enum { OPTION_VALUES_MAX = 128 };
struct option_values {
    const char *v[OPTION_VALUES_MAX];
    size_t n;
};

/* One option. Exactly one of flag, text and list is set; text and flag may be given once. */
struct option {
    const char *name;     /* "state": without the dashes */
    const char *argument; /* "DIR"; NULL for a flag */
    const char *help;     /* one line */
    bool *flag;
    const char **text;
    struct option_values *list;
};

struct command_line {
    const char *command;   /* "purser workspace create" */
    const char *arguments; /* "NAME", "[PROMPT]"; "" for none */
    const char *summary;   /* what it does; one or more sentences */
    const struct option *options;
    size_t options_n;
    size_t positional_min;
    size_t positional_max;
    /* "-- command ..." is allowed; what follows goes to rest (pointing into argv). */
    bool takes_rest;
    /* Said instead of repeating an argument too many, which may be a secret; NULL: repeat it. */
    const char *too_many;
};

struct arguments {
    bool help;
    const char *positional[16];
    size_t positional_n;
    char **rest; /* NULL: no "--" */
    size_t rest_n;
};

/*
 * Fills ret and the options' values. ERR_USAGE with a sentence. After --help nothing else is
 * checked and ret->help is set.
 */
enum err options_parse(const struct command_line *c, int argc, char **argv, struct arguments *ret,
    struct error *e) MUST_CHECK;
/* Usage, summary and the options' table. */
void options_help(const struct command_line *c, FILE *out);
/*
 * Both, with the printing: true when the command shall go on, otherwise *ret_exit holds its exit
 * code (0 after --help, 2 after a mistake).
 */
bool options_read(
    const struct command_line *c, int argc, char **argv, struct arguments *ret, int *ret_exit);

#define ROWS(array) (array), sizeof(array) / sizeof((array)[0])

#endif
