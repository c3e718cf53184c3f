/*
 * Restarts that a changed model or secret asks for: put off by two seconds, so that a handful of
 * writes makes one restart. Only what runs is restarted.
 */
#ifndef API_RESTART_H
#define API_RESTART_H

#include "api/impl.h"

struct restarts;

enum err restarts_open(
    struct api *a, int64_t delay_ms, struct restarts **ret, struct error *e) MUST_CHECK;
/* Forgets what is still due and waits for a restart under way. NULL is fine. */
void restarts_close(struct restarts *r);
/* Does nothing before api_start() and after api_stop(). */
void restart_soon(struct api *a, struct id org, struct id workspace);

#endif
