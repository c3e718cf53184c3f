/* `purser doctor`: looks at what purser needs and at what it keeps, changes nothing. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "base/cleanup.h"
#include "base/error.h"
#include "daemon/settings.h"

#include <jansson.h>

enum doctor_verdict { DOCTOR_OK, DOCTOR_WARNING, DOCTOR_BROKEN };

struct doctor {
    const struct settings *settings;
    json_t *findings; /* [{check, verdict, found, do}] */
    int counts[DOCTOR_BROKEN + 1];
    bool served; /* a purserd holds the state directory */
};

/* Adds a finding. advice says what to type; NULL when nothing is wrong. */
void doctor_note(struct doctor *d, const char *check, enum doctor_verdict verdict,
    const char *advice, const char *format, ...) PRINTF_LIKE(5, 6);

/* The state directory, its keys and its store. */
void doctor_look_at_state(struct doctor *d);
/* This machine: nginx and the module, clock, disk, limits, users. */
void doctor_look_at_machine(struct doctor *d);

#endif
