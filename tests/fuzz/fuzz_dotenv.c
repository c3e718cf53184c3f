/*
 * NAME=value files: what is taken lies inside the text, each name once and each with a value; and
 * any bytes in between are taken whole or refused with a line's number.
 */
#include "base/error.h"
#include "cli/dotenv.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { MAX = 64 };

static void
check_inside(struct str s, const char *text, size_t n)
{
    ENSURE(s.n > 0 && s.p >= text && s.p + s.n <= text + n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct dotenv_entry entries[MAX];
    char *text = malloc(n + (n == 0)); /* no byte behind it: reading on is seen */
    size_t found = 0;
    struct error e;

    ENSURE(text != NULL);
    memcpy(text, data, n);
    if (dotenv_parse(text, n, MAX, entries, &found, &e) != ERR_OK)
        ENSURE(found == 0 && e.code == ERR_USAGE);
    ENSURE(found <= MAX);
    for (size_t i = 0; i < found; i++) {
        check_inside(entries[i].name, text, n);
        check_inside(entries[i].value, text, n);
        ENSURE(entries[i].name.p + entries[i].name.n < entries[i].value.p);
        ENSURE(entries[i].line > (i == 0 ? 0 : entries[i - 1].line));
        for (size_t k = 0; k < i; k++)
            ENSURE(!str_equal_name(entries[i].name, entries[k].name));
    }
    free(text);
    return 0;
}
