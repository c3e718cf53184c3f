/*
 * From the recorder to the ledger: a thread of purserd that turns finished slots into rows, exactly
 * once, and frees a slot only after its row is durable. While the store is away the slots wait; the
 * gateway goes on until the recorder is full.
 */
#ifndef LEDGER_DRAIN_H
#define LEDGER_DRAIN_H

#include "core/counters.h"
#include "ledger/recorder_file.h"
#include "store/store.h"

struct drain;

/* An attempt was booked just now; called by the drain's thread, must not block. */
typedef void drain_booked_fn(void *ctx, const struct ledger_entry *entry);

struct drain_options {
    struct store *store;
    struct recorder_file_options recorder;
    int64_t sync_ms;         /* how often what the workers wrote is brought to the disk; 0: never */
    drain_booked_fn *booked; /* may be NULL */
    void *booked_ctx;
};

struct drain_status {
    uint32_t slots;                      /* in all */
    uint32_t used;                       /* not free */
    uint32_t waiting;                    /* of the used ones: ended, not booked yet */
    int64_t lag_ms;                      /* how long the oldest of those has waited; 0: none does */
    uint64_t booked, recovered, damaged; /* since drain_start() */
    bool store_failing;
};

/* Opens or makes the recorder and starts draining. */
enum err drain_start(const struct drain_options *o, struct drain **ret, struct error *e) MUST_CHECK;
/* A last pass, then the thread ends. NULL is fine. */
void drain_stop(struct drain *d);
struct drain_status drain_status(struct drain *d);
/*
 * Another size of the recorder, while workers write it: larger at once, or an error and it stays as
 * it is; smaller bit by bit as lanes at its end become free. It is asked for anew at each start.
 */
enum err drain_resize(struct drain *d, uint32_t slots, struct error *e) MUST_CHECK;

/*
 * The counters, once they are there. What a dead worker left reserved is settled in them from here
 * on. Where nobody can know what it had counted (it died in the act), unsure() is called once for
 * that call, by the drain's thread: the budgets of this org must be added up anew.
 */
typedef void drain_unsure_fn(void *ctx, struct id org);
void drain_set_counters(
    struct drain *d, struct counters *counters, drain_unsure_fn *unsure, void *ctx);

/* Between these two nothing is booked and no slot is freed: ledger and recorder can be added up. */
const struct recorder *drain_pause(struct drain *d);
void drain_resume(struct drain *d);

/*
 * One pass: books what is done now. Returns how many rows were booked; for tests and the last pass.
 * An error leaves every slot as it was.
 */
enum err drain_pass(struct drain *d, size_t *ret_booked, struct error *e) MUST_CHECK;

#endif
