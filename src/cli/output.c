#include "cli/output.h"

#include "base/buf.h"
#include "base/ids.h"

#include <stdio.h>
#include <unistd.h>

enum { COLUMNS_MAX = 16, CELL_MAX = 4096 };

void
output_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
    printf("\n");
}

void
output_warnings(const json_t *answer)
{
    json_t *warning;
    size_t i;

    json_array_foreach(json_object_get(answer, "warnings"), i, warning)
    {
        fprintf(stderr, "warning: %s: %s\n", json_string_value(json_object_get(warning, "code")),
            json_string_value(json_object_get(warning, "text")));
    }
}

bool
output_is_terminal(void)
{
    return isatty(STDOUT_FILENO) == 1;
}

void
output_usd(long long nano_usd, char ret[static 40])
{
    unsigned long long n =
        nano_usd < 0 ? 0ULL - (unsigned long long)nano_usd : (unsigned long long)nano_usd;
    int used = snprintf(
        ret, 40, "%s$%llu.%09llu", nano_usd < 0 ? "-" : "", n / 1000000000, n % 1000000000);

    for (int dropped = 0; dropped < 3 && ret[used - 1] == '0'; dropped++)
        ret[--used] = '\0';
}

static void
add_cell(struct buf *b, const json_t *value, enum column_kind kind)
{
    char text[40];

    if (kind == COLUMN_TIME && json_is_integer(value)) {
        clock_text(json_integer_value(value), text);
        buf_add(b, str_from_cstr(text));
    } else if (kind == COLUMN_USD && json_is_integer(value)) {
        output_usd(json_integer_value(value), text);
        buf_add(b, str_from_cstr(text));
    } else if (json_is_string(value)) {
        buf_add(b, str_from_cstr(json_string_value(value)));
    } else if (json_is_integer(value)) {
        buf_addf(b, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_boolean(value)) {
        buf_add(b, json_is_true(value) ? STR("yes") : STR("no"));
    } else if (json_is_string(json_object_get(value, "code"))) {
        buf_addf(b, "%s: %s", json_string_value(json_object_get(value, "code")),
            json_string_value(json_object_get(value, "error")));
    } else {
        buf_add(b, STR("-"));
    }
    /* What comes from a server must not steer the terminal. */
    for (size_t i = 0; i < b->n; i++) {
        if ((unsigned char)b->p[i] < 0x20 || b->p[i] == 0x7f)
            b->p[i] = '?';
    }
}

static size_t
cell_width(const json_t *object, const struct column *c)
{
    AUTO_BUF struct buf b;

    buf_init(&b, CELL_MAX);
    add_cell(&b, json_object_get(object, c->key), c->kind);
    return b.n;
}

static void
print_cell(const json_t *object, const struct column *c, size_t width)
{
    AUTO_BUF struct buf b;

    buf_init(&b, CELL_MAX);
    add_cell(&b, json_object_get(object, c->key), c->kind);
    printf("%-*s", (int)width, buf_cstr(&b));
}

void
output_table(const json_t *array, const struct column *columns, size_t n)
{
    size_t width[COLUMNS_MAX], i;
    const json_t *row;

    ENSURE(n <= COLUMNS_MAX);
    for (size_t k = 0; k < n; k++) {
        width[k] = strlen(columns[k].title);
        json_array_foreach(array, i, row)
        {
            size_t cell = cell_width(row, &columns[k]);

            width[k] = cell > width[k] ? cell : width[k];
        }
    }
    for (size_t k = 0; k < n; k++)
        printf("%-*s%s", k + 1 < n ? (int)width[k] : 0, columns[k].title, k + 1 < n ? "  " : "\n");
    json_array_foreach(array, i, row)
    {
        for (size_t k = 0; k < n; k++) {
            print_cell(row, &columns[k], k + 1 < n ? width[k] : 0);
            printf("%s", k + 1 < n ? "  " : "\n");
        }
    }
}

/* Titles of tables are in capitals, labels of one object are not. */
static char
lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

void
output_object(const json_t *object, const struct column *columns, size_t n)
{
    size_t width = 0;

    for (size_t k = 0; k < n; k++)
        width = strlen(columns[k].title) > width ? strlen(columns[k].title) : width;
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < width; i++)
            putchar(i < strlen(columns[k].title) ? lower(columns[k].title[i]) : ' ');
        printf("  ");
        print_cell(object, &columns[k], 0);
        printf("\n");
    }
}
