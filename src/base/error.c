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

/* How many bytes the character at p has; 0 when it is none of UTF-8. A NUL ends the text. */
static size_t
character_bytes(const unsigned char *p)
{
    unsigned char low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 1)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4 || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return n;
}

/* A sentence may quote anything, and be cut within a character; a database takes UTF-8 only. */
static void
make_utf8(struct error *e)
{
    for (unsigned char *p = (unsigned char *)e->text; *p != '\0';) {
        size_t n = character_bytes(p);

        if (n == 0)
            *p = '?';
        p += n == 0 ? 1 : n;
    }
}

enum err
fail(struct error *e, enum err code, const char *format, ...)
{
    va_list args;

    e->code = code;
    va_start(args, format);
    vsnprintf(e->text, sizeof(e->text), format, args);
    va_end(args);
    make_utf8(e);
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
    make_utf8(e);
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
    make_utf8(e);
    return e->code;
}

void
bug(const char *file, int line, const char *what)
{
    fprintf(stderr, "BUG %s:%d: %s\n", file, line, what);
    abort();
}
