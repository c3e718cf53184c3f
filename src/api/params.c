#include "api/params.h"

#include "core/num.h"

#include <time.h>

enum err
param_number(
    struct call *c, struct str name, int64_t min, int64_t max, int64_t *ret, struct error *e)
{
    struct str text;
    int64_t n = 0;

    if (!http_query_get(c->http, name, &text))
        return ERR_OK;
    if (!num_parse_i64(text, &n) || n < min || n > max)
        return fail(e, ERR_INVALID_REQUEST, "?%.*s= is a number from %lld to %lld", STR_ARG(name),
            (long long)min, (long long)max);
    *ret = n;
    return ERR_OK;
}

/* RFC 3339: date, time, perhaps a fraction (it is cut), Z or an offset. */
static bool
rfc3339_parse(struct arena *a, struct str text, int64_t *ret)
{
    struct tm tm = {0};
    char *rest = strptime(arena_cstr(a, text), "%Y-%m-%dT%H:%M:%S", &tm);
    int64_t seconds;

    if (rest == NULL)
        return false;
    seconds = timegm(&tm);
    if (*rest == '.')
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest == '+' || *rest == '-') {
        int64_t sign = *rest == '+' ? 1 : -1;

        memset(&tm, 0, sizeof(tm));
        rest = strptime(rest + 1, "%H:%M", &tm);
        if (rest == NULL || *rest != '\0')
            return false;
        seconds -= sign * (tm.tm_hour * 3600 + tm.tm_min * 60);
    } else if (strcmp(rest, "Z") != 0) {
        return false;
    }
    *ret = seconds * 1000;
    return seconds >= 0;
}

enum err
param_time(struct call *c, struct str name, int64_t *ret, struct error *e)
{
    struct str text;

    if (!http_query_get(c->http, name, &text))
        return ERR_OK;
    if (num_parse_i64(text, ret) ? *ret >= 0 : rfc3339_parse(&c->http->arena, text, ret))
        return ERR_OK;
    return fail(e, ERR_INVALID_REQUEST,
        "?%.*s= is a time: Unix milliseconds, or RFC 3339 (2026-11-22T04:28:00Z)", STR_ARG(name));
}

enum err
param_id(struct call *c, struct str name, struct id *ret, struct error *e)
{
    struct str text;

    if (http_query_get(c->http, name, &text) && !id_parse(text, ret))
        return fail(e, ERR_INVALID_REQUEST, "?%.*s= is an id", STR_ARG(name));
    return ERR_OK;
}

enum err
param_month(struct str text, int64_t *ret_from_ms, int64_t *ret_to_ms, struct error *e)
{
    struct tm tm = {.tm_mday = 1};
    int64_t year = 0, month = 0;

    if (text.n != 7 || text.p[4] != '-' || !num_parse_i64(str_slice(text, 0, 4), &year) ||
        !num_parse_i64(str_slice(text, 5, 7), &month) || year < 1970 || month < 1 || month > 12)
        return fail(e, ERR_INVALID_REQUEST, "a month is written as in 2026-11");
    tm.tm_year = (int)year - 1900;
    tm.tm_mon = (int)month - 1;
    *ret_from_ms = (int64_t)timegm(&tm) * 1000;
    tm = (struct tm){.tm_year = (int)year - 1900, .tm_mon = (int)month, .tm_mday = 1};
    *ret_to_ms = (int64_t)timegm(&tm) * 1000;
    return ERR_OK;
}
