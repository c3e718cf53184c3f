/* Checked numbers: everything that comes from outside is parsed and added here. */
#ifndef CORE_NUM_H
#define CORE_NUM_H

#include "core/str.h"

#include <stdint.h>

/*
 * Decimal digits only, whole string, no sign. False (and *ret untouched) on anything else or
 * overflow.
 */
bool num_parse_u64(struct str s, uint64_t *ret);
/* As above with an optional leading '-'. */
bool num_parse_i64(struct str s, int64_t *ret);

static inline bool
num_add_i64(int64_t a, int64_t b, int64_t *ret)
{
    return !__builtin_add_overflow(a, b, ret);
}

static inline bool
num_mul_i64(int64_t a, int64_t b, int64_t *ret)
{
    return !__builtin_mul_overflow(a, b, ret);
}

#endif
