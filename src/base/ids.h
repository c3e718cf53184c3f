/* Ids (UUIDv7, 16 bytes or 36 characters) and credentials' text form (SPEC 8). */
#ifndef BASE_IDS_H
#define BASE_IDS_H

#include "base/error.h"

#include <pthread.h>
#include <stdint.h>
#include <time.h>

struct id {
    uint8_t b[16];
};

enum { ID_TEXT_BYTES = 37 }; /* 36 characters and a NUL */

struct id id_new(void); /* UUIDv7: time-ordered, random tail */
void id_text(struct id id, char ret[static ID_TEXT_BYTES]);
/* Lower-case hexadecimal UUID form only. */
bool id_parse(struct str text, struct id *ret);
bool id_equal(struct id a, struct id b);
bool id_is_zero(struct id id);

int64_t clock_ms(void);           /* Unix milliseconds */
int64_t clock_monotonic_ms(void); /* for intervals */
/* So many milliseconds from now, for clock_wait(). */
struct timespec clock_deadline(int64_t ms);
/*
 * Waits for cond, at most until then: 0, or ETIMEDOUT. It takes as long as was asked even when
 * somebody sets the machine's clock meanwhile.
 */
int clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
/* "2026-11-22T04:28:00.123Z" */
void clock_text(int64_t unix_ms, char ret[static 25]);

#endif
