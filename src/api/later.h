/*
 * What is to be done for a workspace a little later: a queue by time, and a few threads that work
 * it off. One entry per kind and workspace: who puts another one replaces it. What an entry does is
 * decided anew when its time comes; it is a reminder, not an order. Nothing here survives purserd:
 * what must, stands in the store, and agent_recover() puts it here again.
 */
#ifndef API_LATER_H
#define API_LATER_H

#include "api/impl.h"

enum later_kind {
    LATER_START,   /* it is to be started (again) */
    LATER_RESTART, /* its model or secrets changed */
    LATER_READY,   /* it may have lived long enough to be online */
    LATER_TIMEOUT, /* its start may have taken too long */
    LATER_SETTLE,  /* what runs is not what is wanted */
    LATER_SWEEP,   /* look for those that were not heard; of no workspace */
    LATER_KIND_COUNT
};

struct later_entry {
    enum later_kind kind;
    struct id org;
    struct id workspace;
    struct id start;  /* READY, TIMEOUT: of this start and no other */
    int64_t asked_ms; /* Unix; set by later_put() */
    int64_t at_ms;    /* monotonic */
};

typedef void later_fn(struct api *a, const struct later_entry *entry);

/* Takes entries from now on; nothing is done before later_run(). */
struct later *later_new(struct api *a);
enum err later_run(struct later *l, struct error *e) MUST_CHECK;
/* Forgets what is due and waits for what is being done. NULL is fine, for both. */
void later_stop(struct later *l);
void later_free(struct later *l);
/* After delay_ms, which may be 0. */
void later_put(struct api *a, enum later_kind kind, struct id org, struct id workspace,
    struct id start, int64_t delay_ms);

#endif
