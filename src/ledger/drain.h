/*
 * From the recorder to the ledger: a thread of purserd that turns finished slots into rows, exactly
 * once, and frees a slot only after its row is durable. While the store is away the slots wait; the
 * gateway goes on until the recorder is full.
 */
#ifndef LEDGER_DRAIN_H
#define LEDGER_DRAIN_H

#include "ledger/recorder_file.h"
#include "store/store.h"

struct drain;

struct drain_options {
    struct store *store;
    struct recorder_file_options recorder;
    int64_t sync_ms; /* how often what the workers wrote is brought to the disk; 0: never */
};

struct drain_status {
    uint32_t slots;                      /* in all */
    uint32_t used;                       /* not free */
    uint64_t booked, recovered, damaged; /* since drain_start() */
    bool store_failing;
};

/* Opens or makes the recorder and starts draining. */
enum err drain_start(const struct drain_options *o, struct drain **ret, struct error *e) MUST_CHECK;
/* A last pass, then the thread ends. NULL is fine. */
void drain_stop(struct drain *d);
struct drain_status drain_status(struct drain *d);

/*
 * One pass: books what is done now. Returns how many rows were booked; for tests and the last pass.
 * An error leaves every slot as it was.
 */
enum err drain_pass(struct drain *d, size_t *ret_booked, struct error *e) MUST_CHECK;

#endif
