#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    const char *name;
    int status;
    int exit_code;
} rows[ERR_COUNT] = {
    [ERR_OK] = {"OK", 200, 0},
#define X(name, status, exit_code) [ERR_##name] = {#name, status, exit_code},
#include "base/error.def"
#undef X
};

const char *
err_name(enum err code)
{
    return rows[code].name;
}

int
err_http_status(enum err code)
{
    return rows[code].status;
}

int
err_exit_code(enum err code)
{
    return rows[code].exit_code;
}

enum err
err_from_name(struct str name)
{
    for (int code = ERR_OK + 1; code < ERR_COUNT; code++) {
        if (str_equal(name, str_from_cstr(rows[code].name)))
            return (enum err)code;
    }
    return ERR_OK;
}

enum err
fail(struct error *e, enum err code, const char *format, ...)
{
    va_list args;

    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    return code;
}

enum err
fail_errno(struct error *e, enum err code, const char *format, ...)
{
    int saved = errno;
    size_t used;
    va_list args;

    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    used = strlen(e->text);
    snprintf(e->text + used, sizeof(e->text) - used, ": %s", strerror(saved));
    return code;
}

enum err
wrap(struct error *e, const char *format, ...)
{
    char inner[sizeof(e->text)];
    size_t used;
    va_list args;

    memcpy(inner, e->text, sizeof(inner));
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    used = strlen(e->text);
    snprintf(e->text + used, sizeof(e->text) - used, ": %s", inner);
    return e->code;
}

void
bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "BUG %s:%d: %s\n", file, line, what);
    abort();
}
