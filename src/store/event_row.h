/* What happened, for people and consoles that follow along. Numbered per org, without gaps. */
#ifndef STORE_EVENT_ROW_H
#define STORE_EVENT_ROW_H

#include "store/store.h"

struct event_row {
    struct id org;
    int64_t seq;         /* 1, 2 ... within the org; set by the store */
    struct id workspace; /* zero: the org's */
    struct str type;     /* "workspace.failed", "secret.set" ... */
    struct str json;     /* details; never a value of a secret */
    int64_t created_ms;
};

/* ret_seq may be NULL. */
enum err event_row_append(
    struct store_tx *tx, const struct event_row *ev, int64_t *ret_seq, struct error *e) MUST_CHECK;
/* At most max with seq > after, oldest first. workspace zero: all of the org's. */
enum err event_row_list(struct store_tx *tx, struct id org, struct id workspace, int64_t after,
    size_t max, struct arena *a, struct event_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* The last max ones, oldest of them first. */
enum err event_row_last(struct store_tx *tx, struct id org, struct id workspace, size_t max,
    struct arena *a, struct event_row **ret, size_t *ret_n, struct error *e) MUST_CHECK;
/* The number of the org's last event; 0: it has none. */
enum err event_row_head(
    struct store_tx *tx, struct id org, int64_t *ret, struct error *e) MUST_CHECK;
/* The number of the oldest one that is kept; one above the last one's when none is. */
enum err event_row_first(
    struct store_tx *tx, struct id org, int64_t *ret, struct error *e) MUST_CHECK;

#endif
