#include "ledger/tally.h"

#include "store/budget_lease.h"

#include <time.h>

enum { TRIES = 200, PAUSE_NS = 100000 };

struct tally {
    const struct recorder *recorder;
    const struct counters *counters;
    const struct budget_row *budget;
    uint32_t slot;
    bool here_only; /* other nodes have leases of their own */
    int64_t now_ms;
    int64_t booked; /* by the ledger */
    int64_t done, open;
    bool unsure;
    bool strangers; /* among those that are open */
};

static enum err
booked_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct tally *t = ctx;

    if (t->here_only)
        return budget_row_spent_here(tx, t->budget, t->now_ms, &t->booked, e);
    return budget_row_spent(tx, t->budget, t->now_ms, &t->booked, e);
}

static bool
is_now(const struct tally *t, int64_t opened_ms)
{
    enum budget_period p = t->budget->period;

    return budget_period_number(p, opened_ms) == budget_period_number(p, t->now_ms);
}

/* Does the call count in this budget's sums by itself? In the period of that tag. */
static bool
refers(const struct tally *t, const struct recorder_hold *h, uint16_t *ret_tag)
{
    const struct budget_slot *b = &t->counters->budgets[t->slot];

    if (h->counters_generation != t->counters->header->generation)
        return false;
    for (unsigned i = 0; i < h->budgets_n; i++) {
        if (h->budgets[i].slot != t->slot || h->budgets[i].serial != atomic_load(&b->serial))
            continue;
        *ret_tag = h->budget_tags[i];
        return true;
    }
    return false;
}

static bool
is_of_budget(const struct tally *t, const struct recorder_hold *h)
{
    const struct budget_row *b = t->budget;

    return memcmp(h->org_id, b->org.b, sizeof(b->org.b)) == 0 &&
        (id_is_zero(b->workspace) ||
            memcmp(h->workspace_id, b->workspace.b, sizeof(b->workspace.b)) == 0);
}

/*
 * A call that began before the budget had its place, or in counters that were lost since: it gives
 * nothing back by itself, and holds its bound until it has ended and the sums are added up again.
 */
static bool
is_stranger(const struct tally *t, const struct recorder_hold *h)
{
    return is_now(t, h->opened_ms) && is_of_budget(t, h);
}

static void
add_slot(struct tally *t, uint32_t i)
{
    struct recorder_hold h;
    struct ledger_entry en;
    uint16_t tag = 0;
    bool counts;

    if (recorder_slot_state(t->recorder, i) == RECORDER_FREE)
        return;
    if (!recorder_slot_hold(t->recorder, i, &h)) {
        /* Rewritten just now, or damaged for good: that one is never booked. */
        t->unsure = t->unsure || recorder_slot_state(t->recorder, i) == RECORDER_OPEN;
        return;
    }
    counts = refers(t, &h, &tag);
    if (h.state == RECORDER_DONE) {
        if (!is_now(t, h.opened_ms) || !recorder_slot_read(t->recorder, i, &en) ||
            !is_of_budget(t, &h))
            return;
        /* The drain is about to settle it. */
        t->unsure = t->unsure || (counts && h.counted != RECORDER_SETTLED);
        t->done += en.cost_nano_usd;
    } else if (counts && h.counted != RECORDER_RESERVED) {
        t->unsure = true;
    } else if (counts && tag == budget_tag(t->budget->period, t->now_ms)) {
        t->open += h.reserved_nano;
    } else if (!counts && is_stranger(t, &h)) {
        t->open += h.reserved_nano;
        t->strangers = true;
    }
}

static void
add_slots(struct tally *t)
{
    t->done = t->open = 0;
    for (uint32_t i = 0; i < t->recorder->slots_n && !t->unsure; i++)
        add_slot(t, i);
}

/*
 * Twice the same: of two equal calls the second may begin as the first ends, and be seen besides it;
 * the sums are then as they were.
 */
static bool
try_once(struct tally *t)
{
    struct budget_slot *b = &t->counters->budgets[t->slot];
    struct budget_seen seen = budget_look(b);
    int64_t done, open;

    t->unsure = t->strangers = false;
    add_slots(t);
    done = t->done;
    open = t->open;
    add_slots(t);
    return !t->unsure && done == t->done && open == t->open &&
        budget_set(b, seen, t->now_ms, t->booked + done + open, t->booked + done);
}

enum err
tally_budget(struct store *s, const struct recorder *r, struct counters *c,
    const struct budget_row *b, uint32_t slot, enum tally_outcome *ret, struct error *e)
{
    struct tally t = {.recorder = r,
        .counters = c,
        .budget = b,
        .slot = slot,
        .here_only = b->hard && store_is_shared(s),
        .now_ms = clock_ms()};
    const struct timespec pause = {.tv_nsec = PAUSE_NS};
    bool done = false;
    enum err err = store_read(s, booked_tx, &t, e);

    if (err != ERR_OK)
        return err;
    for (int i = 0; i < TRIES && !done; i++) {
        if (i > 0)
            nanosleep(&pause, NULL);
        done = try_once(&t);
    }
    *ret = !done ? TALLY_FAILED : t.strangers ? TALLY_AGAIN : TALLY_DONE;
    return ERR_OK;
}

/* -1: not known just now. */
static int32_t
open_calls(const struct recorder *r, const struct counters *c, uint32_t limit)
{
    int32_t n = 0;

    for (uint32_t i = 0; i < r->slots_n; i++) {
        struct recorder_hold h;
        bool refers_to = false;

        if (recorder_slot_state(r, i) == RECORDER_FREE || !recorder_slot_hold(r, i, &h) ||
            h.counters_generation != c->header->generation)
            continue;
        for (int k = 0; k < LIMITS_PER_CALL; k++)
            refers_to = refers_to || h.limits[k] == limit;
        if (!refers_to || h.counted == RECORDER_SETTLED)
            continue;
        if (h.counted != RECORDER_RESERVED)
            return -1;
        n++;
    }
    return n;
}

void
tally_concurrent(const struct recorder *r, struct counters *c)
{
    for (uint32_t i = 0; i < c->header->limits_n && atomic_load(&c->limits[i].serial) != 0; i++) {
        int32_t looked = limit_look(&c->limits[i]), counted;

        if (looked == 0)
            continue;
        counted = open_calls(r, c, i);
        if (counted >= 0 && counted != looked)
            (void)limit_set(&c->limits[i], looked, counted);
    }
}
