/*
 * What the fake vendor delivered: the truth a ledger is held against.
 *
 * "Delivered" is what a vendor would bill and could prove: a count is delivered when the last byte
 * of the event that carries it was accepted by the socket. It may still be lost when the peer dies
 * with bytes unread. So every call also tells `generated_output` (what a real vendor had generated
 * by then, whether or not a usage event said so) and, once ended, `bytes_acked` against
 * `bytes_sent`: what the peer's kernel confirmed. A ledger is right when a completed call's row
 * equals `usage`, and when a broken call's row has the exact input if the head was delivered and
 * an output no smaller than what `usage` says.
 */
#ifndef SIM_TRUTH_H
#define SIM_TRUTH_H

#include "sim/ask.h"
#include "sim/sim.h"

enum sim_outcome {
    SIM_OPEN,
    SIM_COMPLETED, /* answered, to the last byte */
    SIM_ABORTED,   /* the peer left before that */
    SIM_DIED,      /* we hung up, as asked */
    SIM_REFUSED,   /* answered with an error status or an error event */
};

struct sim_call {
    uint64_t id;
    int64_t began_ms, ended_ms;
    enum sim_kind kind;
    enum sim_outcome outcome;
    int status, key; /* key: index from sim_truth_key; -1: none or unknown */
    bool stream, head_delivered, usage_delivered;
    char model[SIM_MODEL_MAX + 1];
    struct sim_tokens usage;  /* delivered so far */
    int64_t generated_output; /* tokens in the content delivered so far */
    int64_t events;           /* content deltas delivered */
    uint64_t request_bytes, bytes_sent;
    int64_t bytes_acked;  /* what the peer's kernel confirmed of a call that broke; -1: not asked */
    char *path, *headers; /* malloc'd; "name: value" lines, credentials' values hidden */
};

struct sim_truth;

struct sim_truth *sim_truth_new(const struct sim_options *o);
void sim_truth_free(struct sim_truth *t);

/* Index of the key's line, -1 when the key is not good. */
int sim_truth_key(struct sim_truth *t, struct str key);
/* Fills *c; the caller holds it while the call lasts. */
void sim_truth_begin(struct sim_truth *t, struct sim_call *c, const struct sim_head *h,
    const struct sim_ask *a, int key, size_t request_bytes);
/* Books the call and takes path and headers over. */
void sim_truth_end(struct sim_truth *t, struct sim_call *c, enum sim_outcome outcome);
void sim_truth_reset(struct sim_truth *t);

/* The JSON of /__sim/stats; open lists the calls that have not ended. */
void sim_truth_stats(
    struct sim_truth *t, struct sim_call *const *open, size_t open_n, struct buf *ret);

#endif
