/* What stands behind the '?' of a path: numbers, times and ids, each with a sentence when wrong. */
#ifndef API_PARAMS_H
#define API_PARAMS_H

#include "api/impl.h"

/* Absent leaves *ret as it is. ERR_INVALID_REQUEST. */
enum err param_number(struct call *c, struct str name, int64_t min, int64_t max, int64_t *ret,
    struct error *e) MUST_CHECK;
/* Unix milliseconds, or RFC 3339 as "2026-11-22T04:28:00Z". */
enum err param_time(struct call *c, struct str name, int64_t *ret, struct error *e) MUST_CHECK;
enum err param_id(struct call *c, struct str name, struct id *ret, struct error *e) MUST_CHECK;
/* "2026-11": the first millisecond of that month in UTC and of the next one. */
enum err param_month(
    struct str text, int64_t *ret_from_ms, int64_t *ret_to_ms, struct error *e) MUST_CHECK;

#endif
