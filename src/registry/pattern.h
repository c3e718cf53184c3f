/*
 * The registry's compiled patterns (PCRE2): searched unanchored, bytewise, with limits on what a
 * match may cost. Immutable once built, so any number of threads may match at once.
 */
#ifndef REGISTRY_PATTERN_H
#define REGISTRY_PATTERN_H

#include "base/error.h"

#include <stdint.h>

struct pattern_list;

struct pattern_list *pattern_list_new(void);
void pattern_list_free(struct pattern_list *l);
/* Compiles and keeps; false with the reason and the offset in the pattern when it is bad. */
bool pattern_list_add(
    struct pattern_list *l, struct str pattern, uint32_t *ret_id, char reason[static 160]);
bool pattern_list_match(const struct pattern_list *l, uint32_t id, struct str subject);

#endif
