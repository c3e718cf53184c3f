#include "registry/block.h"

#include "base/cleanup.h"
#include "base/error.h"

enum { BLOCK_ALIGN = 8, BLOCK_FIRST_BYTES = 65536, BLOCK_BYTES_MAX = 64 * 1024 * 1024 };

/* Zeroed room; its offset. The file's own limits keep the block far below the maximum. */
static uint32_t
block_reserve(struct block *b, size_t bytes)
{
    uint32_t off = b->n;
    size_t rounded = (bytes + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    size_t wanted;

    ENSURE(bytes <= BLOCK_BYTES_MAX);
    wanted = off + rounded;
    ENSURE(wanted <= BLOCK_BYTES_MAX);
    if (wanted > b->capacity) {
        uint32_t capacity = b->capacity == 0 ? BLOCK_FIRST_BYTES : b->capacity;
        char *grown;

        while (capacity < wanted)
            capacity *= 2;
        grown = realloc(b->p, capacity);
        ENSURE(grown != NULL);
        b->p = grown;
        b->capacity = capacity;
    }
    memset(b->p + off, 0, rounded);
    b->n = (uint32_t)wanted;
    return off;
}

void
block_init(struct block *b)
{
    *b = (struct block){0};
    block_reserve(b, sizeof(struct registry));
}

void
block_done(struct block *b)
{
    free(b->p);
    *b = (struct block){0};
}

struct rstr
block_add_str(struct block *b, struct str s)
{
    return (struct rstr){block_add_list(b, s.p, s.n, 1).off, (uint32_t)s.n};
}

struct rlist
block_add_list(struct block *b, const void *elements, size_t n, size_t size)
{
    uint32_t off;

    ENSURE(n <= BLOCK_BYTES_MAX / size);
    off = block_reserve(b, n * size);
    if (n > 0)
        memcpy(b->p + off, elements, n * size);
    return (struct rlist){off, (uint32_t)n};
}

struct registry *
block_take(struct block *b)
{
    struct registry *r = block_registry(b);

    r->magic = REGISTRY_MAGIC;
    r->bytes = b->n;
    *b = (struct block){0};
    return r;
}
