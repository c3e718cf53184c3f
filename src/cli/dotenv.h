/*
 * Files of NAME=value lines, as many tools read them. What is understood, and nothing else:
 *
 *     # a comment, and empty lines
 *     NAME=value             to the end of the line, trimmed; " #" begins a comment
 *     export NAME=value
 *     NAME='as it stands'    on one line
 *     NAME="one \"or\" more
 *     lines"                 \n \r \t \" \\ \$ are replaced, any other backslash stays
 *
 * Nothing is expanded: a $ is a $.
 */
#ifndef CLI_DOTENV_H
#define CLI_DOTENV_H

#include "base/error.h"

struct dotenv_entry {
    struct str name;
    struct str value;
    unsigned line; /* from 1 */
};

/*
 * Parses in place: names and values point into text, which is changed. ERR_USAGE names the line, and
 * never repeats what may be a value. More than max entries are refused.
 */
enum err dotenv_parse(char *text, size_t n, size_t max, struct dotenv_entry *ret, size_t *ret_n,
    struct error *e) MUST_CHECK;

#endif
