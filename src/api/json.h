/*
 * JSON in and out. json_wiping_init() makes jansson wipe whatever it frees, since any string of a
 * request may be a secret. Fields are read through typed functions which tell absent from null.
 */
#ifndef API_JSON_H
#define API_JSON_H

#include "base/arena.h"
#include "base/ids.h"

#include <jansson.h>

/* Any number of times, from one thread, before requests are served. */
void json_wiping_init(void);
void json_wiping_free(void *p);

/* The body as an object. ERR_INVALID_REQUEST for anything else, also for a key that stands twice.
 */
enum err json_object_parse(struct str body, json_t **ret, struct error *e) MUST_CHECK;

/* Absent and null leave *ret as it is. ERR_INVALID_REQUEST when the type is another one. */
enum err json_get_str(json_t *o, const char *name, struct str *ret, struct error *e) MUST_CHECK;
enum err json_get_bool(json_t *o, const char *name, bool *ret, struct error *e) MUST_CHECK;
enum err json_get_int(json_t *o, const char *name, int64_t *ret, struct error *e) MUST_CHECK;
enum err json_get_strs(json_t *o, const char *name, struct arena *a, struct str **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;

/* Values for answers; invalid UTF-8 comes out as '?' rather than as a failure. */
json_t *json_str(struct str s);
json_t *json_str_or_null(struct str s);
json_t *json_id(struct id id);
json_t *json_id_bytes(const uint8_t bytes[static 16]);
json_t *json_hex(const uint8_t *p, size_t n);
/* 0 becomes null: a time that is not known. */
json_t *json_ms(int64_t ms);

static inline void
json_cleanup(json_t **j)
{
    json_decref(*j);
}
#define AUTO_JSON __attribute__((cleanup(json_cleanup)))

#endif
