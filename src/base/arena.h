/*
 * The memory of one request or one CLI run: everything decoded from JSON, HTTP or a row lives here
 * and is dropped at once. Never holds a secret's value. Dies when memory is gone: every size from
 * outside is bounded before it gets here.
 */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include "base/error.h"

struct arena {
    struct arena_block *head;
};

void arena_init(struct arena *a);
void arena_done(struct arena *a);
/* Zeroed and aligned for any type. Never NULL. */
void *arena_alloc(struct arena *a, size_t bytes);
/* n elements of size bytes; the product is checked. */
void *arena_array(struct arena *a, size_t n, size_t bytes);
/* A copy of s with a NUL behind it. */
struct str arena_dup(struct arena *a, struct str s);
char *arena_cstr(struct arena *a, struct str s);
struct str arena_printf(struct arena *a, const char *format, ...) PRINTF_LIKE(2, 3);
/* Upper-cased and trimmed copy: the form in which names of variables are stored. */
struct str arena_name(struct arena *a, struct str s);

#define AUTO_ARENA __attribute__((cleanup(arena_done)))

#endif
