/* What commands print: JSON as it came, or columns for people. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum column_kind {
    COLUMN_TEXT, /* strings, numbers, booleans, {code, error}; null as "-" */
    COLUMN_TIME, /* Unix milliseconds, shown as UTC */
    COLUMN_USD,  /* nano-USD, shown as dollars */
};

struct column {
    const char *title;
    const char *key;
    enum column_kind kind;
};

/* Indented, with a line end. */
void output_json(const json_t *value);
/* One line per element of the array, columns as wide as their widest cell. */
void output_table(const json_t *array, const struct column *columns, size_t n);
/* One "title: value" line per column of one object. */
void output_object(const json_t *object, const struct column *columns, size_t n);
/* The {code, text} of an answer's "warnings", on stderr, one a line; nothing when there are none. */
void output_warnings(const json_t *answer);
/* Asks the terminal only: colour for people, none in pipes. */
bool output_is_terminal(void);
/* "$0.022500", at least six decimals, all nine when they matter. Room for 40 bytes. */
void output_usd(long long nano_usd, char ret[static 40]);

#endif
