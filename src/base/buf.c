#include "base/buf.h"

#include <sodium.h>

void
buf_init(struct buf *b, size_t max_bytes)
{
    *b = (struct buf){.max = max_bytes};
}

void
buf_done(struct buf *b)
{
    free(b->p);
    *b = (struct buf){.max = b->max};
}

void
buf_wipe(struct buf *b)
{
    if (b->p != NULL)
        sodium_memzero(b->p, b->capacity);
    b->n = 0;
}

void
buf_clear(struct buf *b)
{
    b->n = 0;
    b->too_big = false;
    if (b->p != NULL)
        b->p[0] = '\0';
}

char *
buf_reserve(struct buf *b, size_t n)
{
    size_t wanted;
    char *grown;

    if (b->too_big || n > b->max || b->n > b->max - n) {
        b->too_big = true;
        return NULL;
    }
    wanted = b->n + n + 1;
    if (wanted > b->capacity) {
        size_t capacity = b->capacity < 64 ? 64 : b->capacity;

        while (capacity < wanted)
            capacity *= 2;
        grown = realloc(b->p, capacity);
        ENSURE(grown != NULL);
        b->p = grown;
        b->capacity = capacity;
    }
    return b->p + b->n;
}

void
buf_grown(struct buf *b, size_t n)
{
    ENSURE(b->n + n < b->capacity);
    b->n += n;
    b->p[b->n] = '\0';
}

void
buf_add(struct buf *b, struct str s)
{
    char *room = buf_reserve(b, s.n);

    if (room == NULL)
        return;
    if (s.n > 0)
        memcpy(room, s.p, s.n);
    buf_grown(b, s.n);
}

void
buf_add_char(struct buf *b, char c)
{
    buf_add(b, (struct str){&c, 1});
}

void
buf_addf(struct buf *b, const char *format, ...)
{
    char small[512];
    char *room;
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(small, sizeof(small), format, args);
    ENSURE(n >= 0);
    if ((size_t)n < sizeof(small)) {
        buf_add(b, (struct str){small, (size_t)n});
    } else {
        room = buf_reserve(b, (size_t)n);
        if (room != NULL) {
            vsnprintf(room, (size_t)n + 1, format, again);
            buf_grown(b, (size_t)n);
        }
    }
    va_end(again);
    va_end(args);
}
