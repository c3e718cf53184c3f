#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES 16384

struct arena_block {
    struct arena_block *next;
    size_t used;
    size_t size;
    _Alignas(max_align_t) char bytes[];
};

void
arena_init(struct arena *a)
{
    a->head = NULL;
}

void
arena_done(struct arena *a)
{
    struct arena_block *block = a->head;

    while (block != NULL) {
        struct arena_block *next = block->next;

        free(block);
        block = next;
    }
    a->head = NULL;
}

void *
arena_alloc(struct arena *a, size_t bytes)
{
    const size_t align = _Alignof(max_align_t);
    struct arena_block *block = a->head;
    void *p;

    ENSURE(bytes < SIZE_MAX / 2);
    bytes = (bytes + align - 1) / align * align;
    if (block == NULL || block->size - block->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;

        block = malloc(sizeof(*block) + size);
        ENSURE(block != NULL);
        block->next = a->head;
        block->used = 0;
        block->size = size;
        a->head = block;
    }
    p = block->bytes + block->used;
    block->used += bytes;
    memset(p, 0, bytes);
    return p;
}

void *
arena_array(struct arena *a, size_t n, size_t bytes)
{
    size_t total;

    ENSURE(!__builtin_mul_overflow(n, bytes, &total));
    return arena_alloc(a, total);
}

char *
arena_cstr(struct arena *a, struct str s)
{
    char *copy = arena_alloc(a, s.n + 1);

    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

struct str
arena_dup(struct arena *a, struct str s)
{
    return (struct str){arena_cstr(a, s), s.n};
}

struct str
arena_printf(struct arena *a, const char *format, ...)
{
    va_list args, again;
    char *text;
    int n;

    ENSURE(format != NULL); /* also what gcc wants to know when it builds with sanitizers */
    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    ENSURE(n >= 0);
    text = arena_alloc(a, (size_t)n + 1);
    vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return (struct str){text, (size_t)n};
}

struct str
arena_name(struct arena *a, struct str s)
{
    char *copy;

    s = str_trim(s);
    copy = arena_cstr(a, s);
    for (size_t i = 0; i < s.n; i++)
        copy[i] = str_upper_char(copy[i]);
    return (struct str){copy, s.n};
}
