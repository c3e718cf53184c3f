/*
 * Seals anew, under the keyring's current key, whatever is still sealed under another one: in
 * batches, in a thread of its own, while everything else goes on. What is left to do is what the rows
 * say, so it goes on by itself after a stop at any moment.
 */
#ifndef API_RESEAL_H
#define API_RESEAL_H

#include "api/impl.h"

struct reseal;

struct reseal_status {
    bool running;
    int64_t done;       /* rows sealed anew since the last rotation, or since purserd started */
    int64_t unreadable; /* rows of the last round that do not open: they stay as they are */
    char trouble[200];  /* why it waits before it goes on; empty: it does not */
};

/* Looks at once whether something is left to do. */
enum err reseal_open(struct api *a, struct reseal **ret, struct error *e) MUST_CHECK;
/* Within the batch that is under way. NULL is fine. */
void reseal_close(struct reseal *r);
/* The current key changed: begin (again), and count from nought. NULL is fine. */
void reseal_begin(struct reseal *r);
void reseal_status(struct reseal *r, struct reseal_status *ret);

#endif
