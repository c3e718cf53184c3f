/*
 * The flight recorder: a preallocated file that the gateway's workers write and purserd drains.
 * A slot is open, with its bound, before the first byte of an attempt goes upstream, and is freed
 * only after its row is durable in the store. No process needs another to be alive.
 *
 * Layout: a header page, one state byte for each slot (dense, so that a look over all of them is
 * cheap), then the slots, lane by lane. Behind the states there is room for those of the most lanes
 * there may be: the file grows and shrinks at its end, by whole lanes, and nothing in it moves.
 *
 * A worker owns a lane by an open-file-description lock on a byte that stands for the lane; purserd
 * reaps the open slots of a lane only while it holds that lock. A worker gives a lane back when none
 * of its calls there is open any more, so no lane is kept from the others for nothing.
 *
 * This header works on memory that somebody else mapped; it does no I/O. A slot is written by one
 * worker thread; its content is published by the release-store of its state byte. What changes
 * during the call is written alternately to two copies, each with a sequence number and a checksum,
 * so that a writer may die at any instruction and one whole copy is left.
 */
#ifndef CORE_RECORDER_H
#define CORE_RECORDER_H

#include "core/budget.h"
#include "core/ledger.h"
#include "core/limit.h"

#include <stdatomic.h>
#include <stddef.h>

enum {
    RECORDER_VERSION = 4,
    RECORDER_SLOT_BYTES = 1536,
    RECORDER_HEADER_BYTES = 4096,
    /* The lock of lane i is on byte RECORDER_LOCK_OFF + i of the file, whatever stands there. */
    RECORDER_LOCK_OFF = 1024,
    /* Shared by all who have it open to write to it: the file must stay the one with the name. */
    RECORDER_USE_OFF = RECORDER_LOCK_OFF - 1,
    RECORDER_LANES_MAX = 4096,
    RECORDER_TIERS_MAX = 4,
    RECORDER_BILLED_MAX = 2,
    RECORDER_BILLED_TIERS_MAX = 2,
};

enum recorder_slot_state { RECORDER_FREE, RECORDER_OPEN, RECORDER_DONE };

/* How an attempt ended, as far as the worker knows. */
enum recorder_end { RECORDER_RUNNING, RECORDER_ENDED, RECORDER_CLIENT_LEFT, RECORDER_NEVER_SENT };

/*
 * How far an attempt got with budgets and rate limits, so that after the death of its worker
 * everybody knows what was added to the counters. In INTENT and SETTLING that is not known: what
 * may have been reserved stays reserved until purserd's rebuild. No byte goes upstream in INTENT.
 */
enum recorder_counted {
    RECORDER_INTENT, /* about to reserve; also: nothing but the opening was written */
    RECORDER_RESERVED,
    RECORDER_SETTLING,
    RECORDER_SETTLED,
};

/*
 * The prices of another model that a vendor may answer with, and then bills. Its name is kept as a
 * number: the longest names would need more room than the prices.
 */
struct recorder_billed {
    uint64_t model; /* recorder_model_number() */
    uint32_t tiers_n;
    uint32_t unused;
    struct price tiers[RECORDER_BILLED_TIERS_MAX];
};

/* Written once, before the attempt. */
struct recorder_open {
    uint8_t call_id[16];
    uint8_t org_id[16];
    uint8_t workspace_id[16];
    uint8_t token_id[16];
    uint8_t decision_id[16];
    uint8_t key_id[16];
    uint8_t registry_fingerprint[32];
    int64_t opened_ms;
    int64_t bound_nano_usd;
    int64_t prompt_bound; /* the tokens of the bound */
    int64_t output_bound;
    int64_t searches_bound; /* above 0: the vendor may search, and reads more than the prompt */
    uint32_t attempt;
    uint8_t dialect;
    uint8_t tiers_n;
    uint8_t budgets_n;
    uint8_t bills_answered; /* the vendor bills the model that it names in its answer */
    struct price tiers[RECORDER_TIERS_MAX]; /* in force when it opened */
    struct recorder_billed billed[RECORDER_BILLED_MAX];
    char provider[LEDGER_PROVIDER_MAX + 1];
    char model_asked[64];
    char model_vendor[64];
    /* What it counts against: places in the counters file of that generation. */
    uint64_t counters_generation;
    struct budget_ref budgets[BUDGETS_PER_CALL_MAX];
    uint32_t limits[LIMITS_PER_CALL];
};

/* Written as usage comes in, and once more at the end. */
struct recorder_progress {
    struct usage counts;
    uint64_t text_bytes;
    int64_t first_byte_ms;
    int64_t closed_ms;
    int32_t vendor_status; /* 0: no answer yet */
    uint32_t flags;        /* enum usage_flag */
    uint32_t end;          /* enum recorder_end */
    uint32_t seq;
    uint32_t counted; /* enum recorder_counted */
    uint32_t unused;
    int64_t reserved_nano; /* what is held in each budget now */
    uint16_t budget_tags[BUDGETS_PER_CALL_MAX];
    char model_answered[LEDGER_MODEL_MAX + 1];
    uint64_t checksum;
};

struct recorder_slot {
    uint64_t open_checksum;
    struct recorder_open open;
    struct recorder_progress progress[2];
};

struct recorder_header {
    char magic[8]; /* "PSRRECD\0" */
    uint32_t version;
    uint32_t slot_bytes;
    _Atomic uint32_t lanes; /* purserd changes it: the file is long enough for them before */
    uint32_t slots_per_lane;
    uint8_t node_id[16];
};

struct recorder {
    struct recorder_header *header;
    _Atomic uint8_t *states; /* enum recorder_slot_state, one a slot */
    char *slots;
    uint32_t slots_n; /* of all lanes when it was attached; slot i is of lane i / slots_per_lane */
};

_Static_assert(sizeof(struct recorder_open) % 8 == 0, "checksums go by words of 8 bytes");
_Static_assert(offsetof(struct recorder_progress, checksum) % 8 == 0, "the same");
_Static_assert(sizeof(struct recorder_slot) <= RECORDER_SLOT_BYTES, "a slot fits its place");
_Static_assert(sizeof(struct recorder_header) <= RECORDER_HEADER_BYTES, "the header fits");

/* Bytes of a file with so many slots; 0 when the numbers make no sense. */
size_t recorder_bytes(uint32_t lanes, uint32_t slots_per_lane);
/* Writes the header into zeroed memory of recorder_bytes(). */
void recorder_format(
    void *memory, uint32_t lanes, uint32_t slots_per_lane, const uint8_t node_id[static 16]);
/* A recorder, of whatever version? */
bool recorder_header_is_one(const struct recorder_header *h);
/*
 * Bytes that the recorder with this header has at least; 0: it is none of this version. One that
 * grows is long enough before its header says so: read the header first, then the file's length.
 */
size_t recorder_header_bytes(const struct recorder_header *h);
/* How much to map, so that it may grow under the mapping: more than there is of the file. */
size_t recorder_map_bytes(const struct recorder_header *h);
/* False when the memory is not a recorder of this version, or not all of it. */
bool recorder_attach(void *memory, size_t bytes, struct recorder *ret);

static inline uint32_t
recorder_lanes(const struct recorder *r)
{
    return atomic_load_explicit(&r->header->lanes, memory_order_acquire);
}

/*
 * purserd: from here on there are so many. Of those that go it holds the locks, and their slots are
 * free; for those that come the file is long enough.
 */
void recorder_set_lanes(struct recorder *r, uint32_t lanes);
/* Has the lane no slot in this state? */
bool recorder_lane_has_none(
    const struct recorder *r, uint32_t lane, enum recorder_slot_state state);
/* Is every slot of it free? */
bool recorder_lane_is_free(const struct recorder *r, uint32_t lane);

static inline struct recorder_slot *
recorder_slot_at(const struct recorder *r, uint32_t slot)
{
    return (struct recorder_slot *)(void *)(r->slots + (size_t)slot * RECORDER_SLOT_BYTES);
}

static inline enum recorder_slot_state
recorder_slot_state(const struct recorder *r, uint32_t slot)
{
    return (enum recorder_slot_state)atomic_load_explicit(&r->states[slot], memory_order_acquire);
}

/*
 * Worker: the first free slot of the lane, RECORDER_NO_SLOT when it is full. Always the first: slots
 * just freed are still in the processor's caches, and few pages are written.
 */
#define RECORDER_NO_SLOT UINT32_MAX
uint32_t recorder_lane_free_slot(const struct recorder *r, uint32_t lane);
/* Worker: publishes an attempt in a free slot of its own lane. */
void recorder_slot_open(const struct recorder *r, uint32_t slot, const struct recorder_open *open);
/* Worker: writes down what was seen. seq and checksum are filled in here. */
void recorder_slot_progress(const struct recorder *r, uint32_t slot, struct recorder_progress *p);
/* Worker: the last progress, then the slot is purserd's. */
void recorder_slot_close(const struct recorder *r, uint32_t slot, struct recorder_progress *p);

/*
 * Whoever holds the lane's lock and is not its writer yet: the worker that owned it is dead, so its
 * open slots are done: what is in them is all there will ever be. Returns how many there were.
 */
uint32_t recorder_lane_reap(const struct recorder *r, uint32_t lane);

/*
 * What a slot holds in the counters, for purserd's rebuild and for settling what a dead worker left.
 */
struct recorder_hold {
    enum recorder_slot_state state;
    enum recorder_counted counted;
    uint8_t org_id[16];
    uint8_t workspace_id[16];
    unsigned budgets_n;
    uint64_t counters_generation;
    struct budget_ref budgets[BUDGETS_PER_CALL_MAX];
    uint16_t budget_tags[BUDGETS_PER_CALL_MAX];
    uint32_t limits[LIMITS_PER_CALL];
    int64_t opened_ms;
    int64_t reserved_nano; /* the bound while it is not known whether it was reserved */
    int64_t tokens;        /* of all kinds, as counted so far */
};

/* Any process, any time. False: free, damaged, or it was being rewritten just then. */
bool recorder_slot_hold(const struct recorder *r, uint32_t slot, struct recorder_hold *ret);

/* A model's name as struct recorder_billed keeps it; a trailing "-YYYYMMDD" makes no difference. */
uint64_t recorder_model_number(struct str name);

/*
 * The bound of a call that is half known: the exact input once it was seen, and the output that may
 * still come. What a reservation is shrunk to; never more than the bound of the opening. A call in
 * which the vendor may search keeps its bound to the end: what it finds becomes input.
 */
int64_t recorder_remaining_bound(
    const struct recorder_open *open, const struct usage *counts, unsigned flags);
/* What a call that ended so costs: what recorder_slot_read() will book. */
int64_t recorder_cost(const struct recorder_open *open, const struct recorder_progress *p);

/*
 * purserd: turns a slot that is done into the entry to book; a worker that died before the end makes
 * it "recovered", or "failed" when it died before anything can have been sent. False when the part
 * written at the opening is damaged (a power cut): *ret holds what is left of it and must not be
 * booked.
 */
bool recorder_slot_read(const struct recorder *r, uint32_t slot, struct ledger_entry *ret);
/* purserd: writes down in a slot that is done how far the counters got with it. */
void recorder_slot_mark(const struct recorder *r, uint32_t slot, enum recorder_counted counted);
/* purserd: after the entry's commit. */
void recorder_slot_free(const struct recorder *r, uint32_t slot);

#endif
