/*
 * One connection of the fake vendor: reads requests one after the other, answers each in steps.
 * The loop (server.c) tells it what happened to its socket and when its time has come.
 */
#ifndef SIM_CONN_H
#define SIM_CONN_H

#include "sim/truth.h"

enum { SIM_SCRATCH_BYTES = 256 * 1024 };

/* What the connections of one loop share. */
struct sim_shared {
    struct sim_truth *truth;
    char *scratch; /* SIM_SCRATCH_BYTES: most requests never need memory of their own */
    struct sim_conn *const *all; /* for stats */
    size_t all_n;
};

/* The last byte of a step, as an offset into out: with it the step is delivered. */
struct sim_mark {
    size_t end;
    int64_t step;
};

struct sim_conn {
    int fd;
    struct sim_shared *shared;
    bool dead;             /* to be closed and freed by the loop */
    bool readable;         /* there may be more to read */
    int64_t due_ms;        /* monotonic time to wake this connection; 0: not waiting */
    int64_t woken_ms;      /* when it was due last: delays add up without drift */
    size_t index, heap_at; /* the loop's: place among all, place among the waiting plus one */

    struct buf in; /* a request that has not come whole */
    struct sim_body body;
    bool continued;

    bool busy; /* a request is being answered */
    struct sim_ask ask;
    struct sim_call call;
    bool keep, chunked, whole; /* whole: not a stream */
    enum sim_outcome outcome;  /* once everything is out */
    int64_t step;              /* the next to render; -1: none */
    int64_t delayed_step;      /* the last step that had its delay */
    struct buf out;
    size_t out_at;
    struct sim_mark *marks;
    size_t marks_n, marks_at, marks_room;
    uint64_t sent_before; /* bytes of this connection's earlier answers */
};

struct sim_conn *sim_conn_new(int fd, struct sim_shared *shared);
/* Ends an open call as the peer's doing. */
void sim_conn_free(struct sim_conn *c);

/* Something happened. Afterwards look at dead and due_ms. */
void sim_conn_readable(struct sim_conn *c);
void sim_conn_writable(struct sim_conn *c);
void sim_conn_due(struct sim_conn *c);
void sim_conn_hangup(struct sim_conn *c);

#endif
