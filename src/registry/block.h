/*
 * Builds the registry's block: one growing piece of memory in which everything refers to everything
 * else by offset. Pointers into it are good only until the next call here.
 */
#ifndef REGISTRY_BLOCK_H
#define REGISTRY_BLOCK_H

#include "core/registry.h"

struct block {
    char *p;
    uint32_t n;
    uint32_t capacity;
};

/* Room for struct registry is made at once, at offset 0. */
void block_init(struct block *b);
void block_done(struct block *b);
struct rstr block_add_str(struct block *b, struct str s);
/* Copies n elements of size bytes each, aligned for any of the registry's structs. */
struct rlist block_add_list(struct block *b, const void *elements, size_t n, size_t size);
static inline struct registry *
block_registry(struct block *b)
{
    return (struct registry *)(void *)b->p;
}
/* Hands the finished block over (to free()), with magic and size filled in. */
struct registry *block_take(struct block *b);

#endif
