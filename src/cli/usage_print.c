#include "cli/usage_print.h"

#include "api/json.h"
#include "base/buf.h"
#include "base/ids.h"
#include "cli/options.h"
#include "cli/output.h"
#include "core/num.h"

#include <stdio.h>
#include <time.h>

enum { DAYS_MAX = 31 };
static const int64_t day_ms = 86400000;

static const struct column totals[] = {
    {"calls", "calls", COLUMN_TEXT},
    {"failed", "failed", COLUMN_TEXT},
    {"inexact", "inexact", COLUMN_TEXT},
    {"input tokens", "input_tokens", COLUMN_TEXT},
    {"output tokens", "output_tokens", COLUMN_TEXT},
    {"cache read", "cache_read_tokens", COLUMN_TEXT},
    {"cache write 5m", "cache_write_5m_tokens", COLUMN_TEXT},
    {"cache write 1h", "cache_write_1h_tokens", COLUMN_TEXT},
    {"web searches", "web_searches", COLUMN_TEXT},
    {"cost", "cost_nano_usd", COLUMN_USD},
};

static const struct column entries[] = {
    {"OPENED", "opened_ms", COLUMN_TIME},
    {"MODEL", "model_asked", COLUMN_TEXT},
    {"STATE", "state", COLUMN_TEXT},
    {"CERTAINTY", "certainty", COLUMN_TEXT},
    {"INPUT", "input_tokens", COLUMN_TEXT},
    {"OUTPUT", "output_tokens", COLUMN_TEXT},
    {"COST", "cost_nano_usd", COLUMN_USD},
};

static const struct column orgs[] = {
    {"ORG", "slug", COLUMN_TEXT},
    {"CALLS", "calls", COLUMN_TEXT},
    {"FAILED", "failed", COLUMN_TEXT},
    {"INPUT", "input_tokens", COLUMN_TEXT},
    {"OUTPUT", "output_tokens", COLUMN_TEXT},
    {"COST", "cost_nano_usd", COLUMN_USD},
};

static const struct column lines[] = {
    {"WORKSPACE", "workspace_name", COLUMN_TEXT},
    {"MODEL", "model", COLUMN_TEXT},
    {"CALLS", "calls", COLUMN_TEXT},
    {"FAILED", "failed", COLUMN_TEXT},
    {"INEXACT", "inexact", COLUMN_TEXT},
    {"INPUT", "input_tokens", COLUMN_TEXT},
    {"OUTPUT", "output_tokens", COLUMN_TEXT},
    {"COST", "cost_nano_usd", COLUMN_USD},
};

/* --- groups ---------------------------------------------------------------------------------- */

/* What a group goes by; the first that the rows have. */
static const char *const names[] = {
    "slug", "workspace_name", "model", "provider", "certainty", "day_ms"};
static const char *const ids[] = {"org_id", "workspace_id"};

static bool
same_field(const json_t *a, const json_t *b, const char *name)
{
    const json_t *x = json_object_get(a, name), *y = json_object_get(b, name);

    return x == y || json_equal(x, y);
}

static bool
same_group(const json_t *a, const json_t *b)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) - 1; i++) {
        if (!same_field(a, b, names[i]))
            return false;
    }
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        if (!same_field(a, b, ids[i]))
            return false;
    }
    return true;
}

static void
add_to(json_t *sum, const json_t *row)
{
    const char *name;
    json_t *v;

    json_object_foreach((json_t *)(uintptr_t)row, name, v)
    {
        json_t *old = json_object_get(sum, name);

        if (json_is_integer(v) && json_is_integer(old) && strcmp(name, "day_ms") != 0)
            json_object_set_new(
                sum, name, json_integer(json_integer_value(old) + json_integer_value(v)));
    }
}

static void
add_spark(json_t *group, const int64_t cost[DAYS_MAX], size_t days)
{
    static const char *const bars[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    AUTO_BUF struct buf b;
    int64_t top = 1;

    buf_init(&b, 256);
    for (size_t i = 0; i < days; i++)
        top = cost[i] > top ? cost[i] : top;
    for (size_t i = 0; i < days; i++) {
        if (cost[i] <= 0)
            buf_add_char(&b, ' ');
        else
            buf_add(&b, str_from_cstr(bars[(__int128)cost[i] * 7 / top]));
    }
    json_object_set_new(group, "spark", json_string(buf_cstr(&b)));
}

/* Rows by (group, day) become rows by group with a line of their days up to the last one. */
static json_t *
fold_days(const json_t *rows, int64_t last_day)
{
    json_t *folded = json_array();
    size_t i = 0, n = json_array_size(rows);

    while (i < n) {
        const json_t *first = json_array_get(rows, i);
        json_t *group = json_deep_copy(first);
        int64_t cost[DAYS_MAX] = {0};

        for (size_t k = i; i < n && same_group(first, json_array_get(rows, i)); i++) {
            const json_t *row = json_array_get(rows, i);
            int64_t ago = (last_day - json_integer_value(json_object_get(row, "day_ms"))) / day_ms;

            if (i > k)
                add_to(group, row);
            if (ago >= 0 && ago < DAYS_MAX)
                cost[DAYS_MAX - 1 - ago] +=
                    json_integer_value(json_object_get(row, "cost_nano_usd"));
        }
        add_spark(group, cost, DAYS_MAX);
        json_array_append_new(folded, group);
    }
    return folded;
}

static void
print_groups(const json_t *rows)
{
    struct column columns[12];
    const json_t *first = json_array_get(rows, 0);
    bool by_day = json_object_get(first, "day_ms") != NULL, named = false;
    AUTO_JSON json_t *folded = NULL;
    size_t n = 0;

    if (first == NULL) {
        printf("Nothing was called in that time.\n");
        return;
    }
    for (size_t i = 0; i + 1 < sizeof(names) / sizeof(names[0]); i++)
        named = named || json_object_get(first, names[i]) != NULL;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        bool is_day = strcmp(names[i], "day_ms") == 0;

        if (json_object_get(first, names[i]) != NULL && !(is_day && named))
            columns[n++] = (struct column){
                is_day ? "DAY" : "WHAT", names[i], is_day ? COLUMN_TIME : COLUMN_TEXT};
    }
    for (size_t i = 1; i < sizeof(orgs) / sizeof(orgs[0]); i++)
        columns[n++] = orgs[i];
    if (by_day && named) {
        folded = fold_days(rows, clock_ms() / day_ms * day_ms);
        columns[n++] = (struct column){"31 DAYS", "spark", COLUMN_TEXT};
        rows = folded;
    }
    output_table(rows, columns, n);
}

static void
note_missing(const json_t *answer)
{
    const json_t *before = json_object_get(answer, "pruned_before_ms");
    char when[25];

    if (json_is_true(json_object_get(answer, "truncated")))
        fprintf(
            stderr, "Not all of it: there are more rows. Ask for a shorter time (--from, --to).\n");
    if (!json_is_integer(before))
        return;
    clock_text(json_integer_value(before), when);
    fprintf(stderr,
        "Not all of it: calls booked before %s may have been removed (retention_ledger_days).\n",
        when);
}

void
usage_print(const json_t *answer)
{
    const json_t *rows = json_object_get(answer, "entries");

    note_missing(answer);

    if (json_object_get(answer, "groups") != NULL) {
        print_groups(json_object_get(answer, "groups"));
        return;
    }
    if (rows == NULL) {
        output_table(json_object_get(answer, "orgs"), ROWS(orgs));
        return;
    }
    output_object(answer, ROWS(totals));
    if (json_array_size(rows) == 0)
        return;
    printf("\n");
    output_table(rows, ROWS(entries));
}

void
usage_print_statement(const json_t *answer)
{
    const json_t *by = json_object_get(answer, "cost_by_certainty_nano_usd"), *v;
    const char *name;

    note_missing(answer);
    printf("%s (%s), %s%s\n\n", json_string_value(json_object_get(answer, "name")),
        json_string_value(json_object_get(answer, "slug")),
        json_string_value(json_object_get(answer, "month")),
        json_is_true(json_object_get(answer, "complete"))                  ? ""
            : json_is_integer(json_object_get(answer, "pruned_before_ms")) ? ", not complete"
                                                                           : ", not complete yet");
    output_table(json_object_get(answer, "lines"), ROWS(lines));
    printf("\n");
    output_object(answer, ROWS(totals));
    json_object_foreach((json_t *)(uintptr_t)by, name, v)
    {
        char usd[40];

        output_usd(json_integer_value(v), usd);
        printf("of it %-9s  %s\n", name, usd);
    }
}

/* --- CSV ------------------------------------------------------------------------------------- */

/*
 * What comes from people or vendors must not become a formula in somebody's spreadsheet: a cell
 * that begins like one gets an apostrophe.
 */
static void
print_cell(const json_t *v)
{
    const char *text = json_string_value(v);

    if (json_is_integer(v)) {
        printf("%" JSON_INTEGER_FORMAT, json_integer_value(v));
        return;
    }
    if (text == NULL)
        return;
    putchar('"');
    if (text[0] != '\0' && strchr("=+-@\t\r", text[0]) != NULL)
        putchar('\'');
    for (; *text != '\0'; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

#define TOTALS                                                                                     \
    "calls,failed,inexact,input_tokens,output_tokens,cache_read_tokens,cache_write_5m_tokens,"     \
    "cache_write_1h_tokens,reasoning_tokens,web_searches,cost_nano_usd"

/* What reads CSV wants to know the columns when there are no rows, too. */
static void
print_empty(const char *list, const char *by)
{
    struct str rest = str_from_cstr(strcmp(list, "lines") == 0 ? "workspace,model"
            : strcmp(list, "orgs") == 0                        ? "org"
            : by == NULL                                       ? ""
                                                               : by);

    if (strcmp(list, "entries") == 0) {
        printf("call_id,workspace_id,attempt,kind,state,certainty,opened_ms,cost_nano_usd\r\n");
        return;
    }
    while (rest.n > 0) {
        size_t comma = str_find_char(rest, ',');
        struct str key = str_slice(rest, 0, comma);

        if (str_equal(key, STR("org")))
            printf("org_id,slug,");
        else if (str_equal(key, STR("workspace")))
            printf("workspace_id,workspace_name,");
        else if (str_equal(key, STR("day")))
            printf("day_ms,");
        else
            printf("%.*s,", STR_ARG(key));
        rest = str_slice(rest, comma == rest.n ? rest.n : comma + 1, rest.n);
    }
    printf(TOTALS "\r\n");
}

void
usage_print_csv(const json_t *answer, const char *by)
{
    static const char *const lists[] = {"lines", "groups", "entries", "orgs"};
    const json_t *rows = NULL, *row;
    size_t i;

    note_missing(answer);
    for (size_t k = 0; k < sizeof(lists) / sizeof(lists[0]) && rows == NULL; k++) {
        rows = json_object_get(answer, lists[k]);
        if (rows != NULL && json_array_size(rows) == 0)
            print_empty(lists[k], by);
    }
    json_array_foreach(rows, i, row)
    {
        const char *name, *comma = "";
        json_t *v;

        json_object_foreach((json_t *)(uintptr_t)row, name, v)
        {
            if (i > 0)
                break;
            if (!json_is_object(v)) {
                printf("%s%s", comma, name);
                comma = ",";
            }
        }
        if (i == 0)
            printf("\r\n");
        comma = "";
        json_object_foreach((json_t *)(uintptr_t)row, name, v)
        {
            if (json_is_object(v))
                continue;
            printf("%s", comma);
            print_cell(v);
            comma = ",";
        }
        printf("\r\n");
    }
}

/* --- times ----------------------------------------------------------------------------------- */

static bool
ago_parse(struct str text, int64_t now_ms, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'h', 3600000}, {'d', 86400000}, {'w', 604800000}};
    uint64_t n;

    if (text.n < 2 || !num_parse_u64(str_slice(text, 0, text.n - 1), &n) || n > 100000)
        return false;
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (text.p[text.n - 1] == units[i].unit) {
            *ret_ms = now_ms - (int64_t)n * units[i].ms;
            return true;
        }
    }
    return false;
}

bool
usage_time_parse(const char *text, int64_t now_ms, int64_t *ret_ms)
{
    struct tm tm = {0};
    const char *rest;

    if (num_parse_i64(str_from_cstr(text), ret_ms))
        return *ret_ms >= 0;
    if (ago_parse(str_from_cstr(text), now_ms, ret_ms))
        return *ret_ms >= 0;
    rest = strptime(text, "%Y-%m-%d", &tm);
    if (rest != NULL && *rest == 'T')
        rest = strptime(rest, "T%H:%M:%SZ", &tm);
    if (rest == NULL || *rest != '\0')
        return false;
    *ret_ms = (int64_t)timegm(&tm) * 1000;
    return *ret_ms >= 0;
}
