/* The recorder: whatever a slot holds is read without harm, and what was written is read again. */
#include "base/error.h"
#include "core/recorder.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { COUNT_MASK = 0x3fffffff };

static void
check_garbage(const struct recorder *r, const uint8_t *data, size_t n)
{
    struct recorder_hold hold;
    struct ledger_entry entry;

    memset(recorder_slot_at(r, 0), 0, RECORDER_SLOT_BYTES);
    memcpy(recorder_slot_at(r, 0), data, n < RECORDER_SLOT_BYTES ? n : RECORDER_SLOT_BYTES);
    (void)recorder_slot_read(r, 0, &entry);
    if (recorder_slot_hold(r, 0, &hold))
        ENSURE(hold.budgets_n <= BUDGETS_PER_CALL_MAX && hold.counted <= RECORDER_SETTLED);
    ENSURE(entry.dialect < DIALECT_COUNT && memchr(entry.provider, '\0', sizeof(entry.provider)) &&
        memchr(entry.model_answered, '\0', sizeof(entry.model_answered)));
}

static void
check_round(const struct recorder *r, const uint8_t *data, size_t n)
{
    struct recorder_open open = {0};
    struct recorder_progress progress = {0};
    struct recorder_hold hold;
    struct ledger_entry entry;

    memcpy(&open, data, n < sizeof(open) ? n : sizeof(open));
    if (n > sizeof(open))
        memcpy(&progress, data + sizeof(open),
            n - sizeof(open) < sizeof(progress) ? n - sizeof(open) : sizeof(progress));
    /* As the meter makes them: the worker writes nothing else. */
    progress.counts = (struct usage){progress.counts.input & COUNT_MASK,
        progress.counts.output & COUNT_MASK, progress.counts.cache_read & COUNT_MASK, 0, 0, 0};
    open.budgets_n %= BUDGETS_PER_CALL_MAX + 1;
    recorder_slot_open(r, 0, &open);
    recorder_slot_progress(r, 0, &progress);
    ENSURE(recorder_slot_hold(r, 0, &hold) && hold.budgets_n == open.budgets_n &&
        memcmp(hold.budgets, open.budgets, sizeof(hold.budgets)) == 0);
    recorder_slot_close(r, 0, &progress);
    ENSURE(recorder_slot_state(r, 0) == RECORDER_DONE && recorder_slot_read(r, 0, &entry));
    ENSURE(memcmp(entry.call_id, open.call_id, sizeof(open.call_id)) == 0 &&
        entry.opened_ms == open.opened_ms && entry.bound_nano_usd == open.bound_nano_usd);
}

/* A header may say anything: what is attached lies within what there is. */
static void
check_header(void *memory, size_t bytes, const uint8_t *data, size_t n)
{
    static const size_t skipped = offsetof(struct recorder_header, lanes);
    struct recorder_header kept;
    struct recorder r;

    memcpy(&kept, memory, sizeof(kept));
    memcpy((char *)memory + skipped, data, n < 8 ? n : 8);
    if (recorder_attach(memory, bytes, &r))
        ENSURE(r.slots_n > 0 && (char *)recorder_slot_at(&r, r.slots_n) <= (char *)memory + bytes &&
            (char *)r.states + r.slots_n <= r.slots);
    memcpy(memory, &kept, sizeof(kept));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const uint8_t node[16];
    size_t bytes = recorder_bytes(1, 8);
    void *memory = calloc(1, bytes);
    struct recorder r;

    ENSURE(memory != NULL);
    recorder_format(memory, 1, 8, node);
    ENSURE(recorder_attach(memory, bytes, &r));
    check_header(memory, bytes, data, n);
    check_garbage(&r, data, n);
    check_round(&r, data, n);
    free(memory);
    return 0;
}
