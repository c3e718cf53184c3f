/*
 * Growing bytes with a ceiling set at birth and a sticky error: append freely, look once at the
 * end.
 * The content is always NUL-terminated behind its length, so buf_cstr() works at system-call
 * borders.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/cleanup.h"
#include "base/error.h"

struct buf {
    char *p;
    size_t n;
    size_t capacity;
    size_t max;
    bool too_big;
};

void buf_init(struct buf *b, size_t max_bytes);
/* Frees; the buf can be initialised again. Wipe first (buf_wipe) what held a secret. */
void buf_done(struct buf *b);
void buf_wipe(struct buf *b);
void buf_clear(struct buf *b);
void buf_add(struct buf *b, struct str s);
void buf_add_char(struct buf *b, char c);
void buf_addf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);
/*
 * Room for n bytes at the end, for read(2); NULL when the ceiling is hit. Then buf_grown(b, used).
 */
char *buf_reserve(struct buf *b, size_t n);
void buf_grown(struct buf *b, size_t n);
/* False when an append did not fit (content is then cut, never half a call). */
static inline bool
buf_ok(const struct buf *b)
{
    return !b->too_big;
}
static inline struct str
buf_str(const struct buf *b)
{
    return (struct str){b->p == NULL ? "" : b->p, b->n};
}
static inline const char *
buf_cstr(const struct buf *b)
{
    return b->p == NULL ? "" : b->p;
}

#define AUTO_BUF __attribute__((cleanup(buf_done)))

#endif
