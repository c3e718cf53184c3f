/*
 * The counters as a file: made once, mapped by purserd and every worker. It outlives purserd, so a
 * restart finds the sums where they were. It is made as large as it may ever become, without the
 * space; the part in use is allocated before a place in it is named to anybody.
 *
 * Not safe for threads; its owner has the lock.
 */
#ifndef EDGE_COUNTERS_FILE_H
#define EDGE_COUNTERS_FILE_H

#include "base/ids.h"
#include "core/counters.h"

/* Where the slot of an id is. */
struct slot_map {
    struct slot_map_entry *entries;
    uint32_t capacity; /* a power of two, or 0 */
    uint32_t n;
};

/* One of the file's two arrays. */
struct slot_area {
    struct slot_map map;
    uint32_t used;      /* slots that were ever in use */
    uint32_t allocated; /* slots whose memory is there */
    uint32_t *free;     /* of the used ones, those that nobody uses */
    uint32_t free_n, free_capacity;
};

struct counters_file {
    int fd;
    size_t bytes;
    struct counters counters;
    struct slot_area budgets, limits;
};

/*
 * Takes over what an earlier purserd left, or makes a new file that the group gid may write (0:
 * only we).
 */
enum err counters_file_open(
    const char *path, uint32_t gid, struct counters_file *ret, struct error *e) MUST_CHECK;
/* Lets go of the mapping; the file stays. Fine after a failed open on zeroed memory. */
void counters_file_done(struct counters_file *f);

struct counters_budget {
    struct id id;
    enum budget_scope scope;
    enum budget_period period;
    bool hard;
    int64_t limit_nano;
    bool shared; /* with other nodes: see edge_budget */
};

/*
 * The place of a budget, with these numbers; a new one (*ret_new) begins with both sums at zero.
 * ERR_STATE_UNUSABLE when the file or the disk is full.
 */
enum err counters_file_budget(struct counters_file *f, const struct counters_budget *b,
    uint32_t *ret_slot, bool *ret_new, struct error *e) MUST_CHECK;
bool counters_file_budget_find(const struct counters_file *f, struct id id, uint32_t *ret_slot);
void counters_file_budget_drop(struct counters_file *f, struct id id);

/*
 * The place of a limit. One that was dropped is not used again while we run: calls that are open
 * go on counting in it.
 */
enum err counters_file_limit(struct counters_file *f, struct id id, uint32_t requests_per_min,
    uint32_t tokens_per_min, uint32_t concurrent, uint32_t *ret_slot, struct error *e) MUST_CHECK;
void counters_file_limit_drop(struct counters_file *f, struct id id);

#endif
