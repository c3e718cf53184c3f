/*
 * Errors are a small code plus a sentence for people. The struct is the caller's, usually on its
 * stack: no ownership, and it works when memory is gone. Business outcomes (a refusal, a verdict)
 * are data, never an enum err inside core.
 *
 * Every function that returns enum err leaves its ret_ outputs untouched on failure and fills *e.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include "core/str.h"

#include <stdarg.h>

enum err {
    ERR_OK = 0,
#define X(name, status, exit_code) ERR_##name,
#include "base/error.def"
#undef X
    ERR_COUNT
};

struct error {
    enum err code;
    char text[400]; /* always UTF-8: bytes of anything else become '?' */
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, first) __attribute__((format(printf, fmt, first)))

/* "NOT_FOUND"; "OK" for ERR_OK. Never NULL. */
const char *err_name(enum err code);
int err_http_status(enum err code);
int err_exit_code(enum err code);
/* The code with that name, ERR_OK when there is none. */
enum err err_from_name(struct str name);

/* Sets code and sentence, returns the code: return fail(e, ERR_NOT_FOUND, "...", ...); */
enum err fail(struct error *e, enum err code, const char *format, ...) PRINTF_LIKE(3, 4);
/* Adds errno's text behind the sentence. */
enum err fail_errno(struct error *e, enum err code, const char *format, ...) PRINTF_LIKE(3, 4);
/* Puts context in front of the sentence that is there; returns the code that is there. */
enum err wrap(struct error *e, const char *format, ...) PRINTF_LIKE(2, 3);

/* Our own mistakes. Stays in release builds: stopping is better than spending somebody's money. */
_Noreturn void bug(const char *file, int line, const char *what);
#define ENSURE(condition)                                                                          \
    do {                                                                                           \
        if (!(condition))                                                                          \
            bug(__FILE__, __LINE__, #condition);                                                   \
    } while (0)

#endif
