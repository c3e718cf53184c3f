/*
 * The one type that may hold a secret's value: locked memory, left out of core dumps, wiped when it
 * goes, and impossible to print by accident. secret_expose() is the only way in, and easy to grep
 * for.
 */
#ifndef VAULT_SECRET_H
#define VAULT_SECRET_H

#include "base/error.h"

struct secret;

/* A copy of s. ERR_OUT_OF_MEMORY when no locked memory is left. */
enum err secret_new(struct str s, struct secret **ret, struct error *e) MUST_CHECK;
/* n bytes of room, zeroed, to be filled through secret_room(). */
enum err secret_new_room(size_t n, struct secret **ret, struct error *e) MUST_CHECK;
char *secret_room(struct secret *s);
/* Wipes and frees; NULL is fine. */
void secret_free(struct secret *s);
/* A view of the value: never store it, never log it. */
struct str secret_expose(const struct secret *s);
size_t secret_bytes(const struct secret *s);

/* True when the system refused to lock some of the memory (RLIMIT_MEMLOCK): say so once, go on. */
bool secret_memory_is_unlocked(void);

static inline void
secret_cleanup(struct secret **s)
{
    secret_free(*s);
}
#define AUTO_SECRET __attribute__((cleanup(secret_cleanup)))

#endif
