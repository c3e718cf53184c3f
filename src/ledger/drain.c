#include "ledger/drain.h"

#include "base/log.h"
#include "store/ledger_row.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    BATCH_MAX = 1024, /* rows of a transaction: while it runs, other writers wait */
    PASS_EVERY_MS = 100,
    BACK_OFF_FIRST_MS = 200,
    BACK_OFF_MAX_MS = 3000, /* also how late the drain may notice that the store is back */
};

/* A slot that is done. Call ids begin with the time: their order is that of the openings. */
struct ended {
    uint8_t org_id[16];
    uint8_t call_id[16];
    uint32_t attempt;
    uint32_t slot;
};

struct drain {
    struct drain_options o;
    struct recorder_file file;
    pthread_t thread;
    pthread_mutex_t passing; /* held while slots are booked and freed */
    pthread_mutex_t lock;    /* guards what follows */
    pthread_cond_t stop;
    bool stopping;
    struct drain_status status;
    int64_t looked_ms;         /* when the last pass began */
    int64_t oldest_ms;         /* opening of the oldest call it could not book; 0: it booked all */
    struct counters *counters; /* NULL: not there yet */
    drain_unsure_fn *unsure;
    void *unsure_ctx;
    /* Who holds passing: */
    int64_t synced_ms;
    bool written;    /* a slot may have been since then: only one that is not free is */
    uint32_t wanted; /* slots; towards fewer it goes when the last lanes are free */
    bool shrinking;
    struct ended *ended; /* room for every slot */
    size_t ended_n;
    struct ledger_entry batch[BATCH_MAX];
    uint32_t batch_slots[BATCH_MAX];
    size_t batch_n;
};

static enum err
book_new(struct store_tx *tx, void *ctx, struct error *e)
{
    const struct drain *d = ctx;

    return ledger_row_append_all(tx, d->batch, d->batch_n, false, e);
}

static enum err
book_missing(struct store_tx *tx, void *ctx, struct error *e)
{
    const struct drain *d = ctx;

    return ledger_row_append_all(tx, d->batch, d->batch_n, true, e);
}

static int
compare_ended(const void *a, const void *b)
{
    const struct ended *x = a, *y = b;
    int order = memcmp(x->call_id, y->call_id, sizeof(x->call_id));

    return order != 0 ? order : (x->attempt > y->attempt) - (x->attempt < y->attempt);
}

/* Calls of one org together, each org's in the order of their openings. */
static int
compare_by_org(const void *a, const void *b)
{
    const struct ended *x = a, *y = b;
    int order = memcmp(x->org_id, y->org_id, sizeof(x->org_id));

    return order != 0 ? order : compare_ended(a, b);
}

/*
 * Books the batch, durably, then frees its slots: dying in between books nothing twice. That is the
 * only way a call can be there already, so each is looked for only when the store says that one is.
 */
static enum err
flush(struct drain *d, size_t *booked, struct error *e)
{
    uint64_t recovered = 0;
    enum err err;

    err = store_tx_durable(d->o.store, book_new, d, e);
    if (err == ERR_CONFLICT)
        err = store_tx_durable(d->o.store, book_missing, d, e);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < d->batch_n; i++) {
        recovered += d->batch[i].state == LEDGER_RECOVERED;
        recorder_slot_free(&d->file.recorder, d->batch_slots[i]);
        if (d->o.booked != NULL)
            d->o.booked(d->o.booked_ctx, &d->batch[i]);
    }
    pthread_mutex_lock(&d->lock);
    d->status.booked += d->batch_n;
    d->status.recovered += recovered;
    pthread_mutex_unlock(&d->lock);
    *booked += d->batch_n;
    d->batch_n = 0;
    return ERR_OK;
}

/*
 * Lanes whose worker is dead: their open slots are finished. A living worker holds its lane's lock.
 */
static void
reap(struct drain *d, uint32_t lane)
{
    uint32_t n;

    if (!recorder_file_lock(&d->file, lane))
        return;
    n = recorder_lane_reap(&d->file.recorder, lane);
    recorder_file_unlock(&d->file, lane);
    if (n > 0)
        log_warn("ledger", "a gateway worker died: %u calls of lane %u are booked as recovered", n,
            lane);
}

/*
 * What a worker held in the counters and could not give back any more. A slot says first that it is
 * about to be settled: dying here settles nothing twice.
 */
static void
settle_left(struct drain *d, uint32_t slot, const struct ledger_entry *entry)
{
    const struct recorder *r = &d->file.recorder;
    struct counters *c = d->counters;
    struct recorder_hold h;
    struct id org;

    if (c == NULL || !recorder_slot_hold(r, slot, &h))
        return;
    memcpy(org.b, h.org_id, sizeof(org.b));
    if (h.counters_generation != c->header->generation) {
        /* These counters know it only as a sum that was held. */
        if (h.budgets_n > 0 && d->unsure != NULL)
            d->unsure(d->unsure_ctx, org);
        return;
    }
    if (h.counted == RECORDER_SETTLED)
        return;
    if (h.counted == RECORDER_RESERVED) {
        recorder_slot_mark(r, slot, RECORDER_SETTLING);
        budget_settle(c->budgets, h.budgets, h.budget_tags, h.budgets_n, h.reserved_nano,
            entry->cost_nano_usd);
        limit_leave(c->limits, h.limits, LIMITS_PER_CALL, clock_ms(), h.tokens);
    } else if (d->unsure != NULL) {
        d->unsure(d->unsure_ctx, org);
    }
    /* INTENT stays: it says that nothing was sent. */
    if (h.counted != RECORDER_INTENT)
        recorder_slot_mark(r, slot, RECORDER_SETTLED);
}

static void
take(struct drain *d, uint32_t slot)
{
    struct ledger_entry *entry = &d->batch[d->batch_n];
    char call[ID_TEXT_BYTES];
    struct id id;

    if (recorder_slot_read(&d->file.recorder, slot, entry)) {
        settle_left(d, slot, entry);
        d->batch_slots[d->batch_n++] = slot;
        return;
    }
    memcpy(id.b, entry->call_id, sizeof(id.b));
    id_text(id, call);
    log_error("ledger", "slot %u is damaged and cannot be booked: call=%s bound_nano_usd=%lld",
        slot, call, (long long)entry->bound_nano_usd);
    recorder_slot_free(&d->file.recorder, slot);
    pthread_mutex_lock(&d->lock);
    d->status.damaged++;
    pthread_mutex_unlock(&d->lock);
}

/* Eight states at a time: nearly all slots are free nearly always. */
static bool
eight_are_free(const struct recorder *r, uint32_t slot)
{
    uint64_t states;

    memcpy(&states, (const char *)r->states + slot, sizeof(states));
    return states == 0;
}

static void
note_ended(struct drain *d, uint32_t slot)
{
    const struct recorder_open *open = &recorder_slot_at(&d->file.recorder, slot)->open;
    struct ended *x = &d->ended[d->ended_n++];

    memcpy(x->org_id, open->org_id, sizeof(x->org_id));
    memcpy(x->call_id, open->call_id, sizeof(x->call_id));
    x->attempt = open->attempt;
    x->slot = slot;
}

/* Finds the slots that are done, reaping dead workers on the way. */
static void
look(struct drain *d)
{
    const struct recorder *r = &d->file.recorder;
    uint32_t per_lane = r->header->slots_per_lane;

    d->ended_n = 0;
    for (uint32_t slot = 0, reaped = UINT32_MAX; slot < r->slots_n; slot++) {
        enum recorder_slot_state state;

        if (slot % 8 == 0 && slot + 8 <= r->slots_n && eight_are_free(r, slot)) {
            slot += 7;
            continue;
        }
        state = recorder_slot_state(r, slot);
        d->written = d->written || state != RECORDER_FREE;
        if (state == RECORDER_OPEN && reaped != slot / per_lane) {
            reaped = slot / per_lane;
            reap(d, reaped);
            state = recorder_slot_state(r, slot);
        }
        if (state == RECORDER_DONE)
            note_ended(d, slot);
    }
    qsort(d->ended, d->ended_n, sizeof(d->ended[0]), compare_ended);
}

/* UUIDv7: the first 48 bits are the Unix time in milliseconds. */
static int64_t
opened_ms(const struct ended *x)
{
    int64_t ms = 0;

    for (int i = 0; i < 6; i++)
        ms = ms << 8 | x->call_id[i];
    return ms;
}

/* oldest_ms: when the oldest call was opened that a pass has left; 0: it left none. */
static void
note_left(struct drain *d, int64_t looked_ms, int64_t oldest_ms)
{
    pthread_mutex_lock(&d->lock);
    d->looked_ms = looked_ms;
    d->oldest_ms = oldest_ms;
    pthread_mutex_unlock(&d->lock);
}

static enum err
pass(struct drain *d, size_t *ret_booked, struct error *e)
{
    int64_t looked_ms = clock_ms(), oldest_ms = 0;
    enum err err = ERR_OK;

    look(d);
    *ret_booked = 0;
    for (size_t from = 0, n; from < d->ended_n && err == ERR_OK; from += n) {
        n = d->ended_n - from < BATCH_MAX ? d->ended_n - from : BATCH_MAX;
        oldest_ms = opened_ms(&d->ended[from]);
        qsort(&d->ended[from], n, sizeof(d->ended[0]), compare_by_org);
        d->batch_n = 0;
        for (size_t i = from; i < from + n; i++)
            take(d, d->ended[i].slot);
        if (d->batch_n > 0)
            err = flush(d, ret_booked, e);
    }
    note_left(d, looked_ms, err == ERR_OK ? 0 : oldest_ms);
    return err;
}

/* Towards the wanted size. Called by who holds passing: nobody else reads slots. */
static enum err
resize(struct drain *d, struct error *e)
{
    struct recorder_file f = d->file;
    bool reached = false;
    enum err err = recorder_file_resize(&f, d->wanted, &reached, e);

    d->shrinking = err == ERR_OK && !reached;
    if (f.recorder.slots_n > d->file.recorder.slots_n) {
        d->ended = realloc(d->ended, f.recorder.slots_n * sizeof(*d->ended));
        ENSURE(d->ended != NULL);
    }
    pthread_mutex_lock(&d->lock);
    d->file = f;
    d->status.slots = f.recorder.slots_n;
    pthread_mutex_unlock(&d->lock);
    return err;
}

enum err
drain_resize(struct drain *d, uint32_t slots, struct error *e)
{
    enum err err;

    pthread_mutex_lock(&d->passing);
    d->wanted = slots;
    err = resize(d, e);
    pthread_mutex_unlock(&d->passing);
    return err;
}

enum err
drain_pass(struct drain *d, size_t *ret_booked, struct error *e)
{
    struct error ignored;
    size_t booked = 0;
    enum err err;

    pthread_mutex_lock(&d->passing);
    err = pass(d, &booked, e);
    if (d->shrinking && resize(d, &ignored) != ERR_OK)
        log_warn("ledger", "%s", ignored.text);
    pthread_mutex_unlock(&d->passing);
    if (err == ERR_OK && ret_booked != NULL)
        *ret_booked = booked;
    return err;
}

const struct recorder *
drain_pause(struct drain *d)
{
    pthread_mutex_lock(&d->passing);
    return &d->file.recorder;
}

void
drain_resume(struct drain *d)
{
    pthread_mutex_unlock(&d->passing);
}

void
drain_set_counters(struct drain *d, struct counters *counters, drain_unsure_fn *unsure, void *ctx)
{
    pthread_mutex_lock(&d->passing);
    d->counters = counters;
    d->unsure = unsure;
    d->unsure_ctx = ctx;
    pthread_mutex_unlock(&d->passing);
}

/* What a power cut can take is what the workers wrote since the last of these. */
static void
sync_now_and_then(struct drain *d)
{
    int64_t now = clock_monotonic_ms();

    if (d->o.sync_ms == 0 || !d->written || now - d->synced_ms < d->o.sync_ms)
        return;
    d->synced_ms = now;
    d->written = false;
    if (msync(d->file.recorder.header, d->file.bytes, MS_SYNC) == -1)
        log_error("ledger", "the recorder could not be brought to the disk");
}

static void
note_outcome(struct drain *d, enum err err, const struct error *e)
{
    bool was;

    pthread_mutex_lock(&d->lock);
    was = d->status.store_failing;
    d->status.store_failing = err != ERR_OK;
    pthread_mutex_unlock(&d->lock);
    if (err != ERR_OK && !was)
        log_error(
            "ledger", "calls wait in the recorder, the store does not take them: %s", e->text);
    if (err == ERR_OK && was)
        log_info("ledger", "the store takes calls again");
}

/* False: the drain is to end. */
static bool
rest(struct drain *d, int64_t ms)
{
    const struct timespec until = clock_deadline(ms);
    bool stopping;

    pthread_mutex_lock(&d->lock);
    while (!d->stopping && clock_wait(&d->stop, &d->lock, &until) == 0)
        continue;
    stopping = d->stopping;
    pthread_mutex_unlock(&d->lock);
    return !stopping;
}

static void *
drain_main(void *arg)
{
    struct drain *d = arg;
    int64_t back_off_ms = BACK_OFF_FIRST_MS, pause_ms;

    do {
        struct error e;
        enum err err = drain_pass(d, NULL, &e);

        note_outcome(d, err, &e);
        sync_now_and_then(d);
        pause_ms = err == ERR_OK ? PASS_EVERY_MS : back_off_ms;
        back_off_ms = err == ERR_OK ? BACK_OFF_FIRST_MS : back_off_ms * 2;
        if (back_off_ms > BACK_OFF_MAX_MS)
            back_off_ms = BACK_OFF_MAX_MS;
    } while (rest(d, pause_ms));
    return NULL;
}

enum err
drain_start(const struct drain_options *o, struct drain **ret, struct error *e)
{
    struct drain *d = calloc(1, sizeof(*d));
    struct error small;
    enum err err;

    ENSURE(d != NULL);
    d->o = *o;
    d->wanted = o->recorder.slots;
    err = recorder_file_open(&o->recorder, &d->file, e);
    if (err != ERR_OK) {
        free(d);
        return err;
    }
    d->status.slots = d->file.recorder.slots_n;
    d->ended = calloc(d->file.recorder.slots_n, sizeof(*d->ended));
    ENSURE(d->ended != NULL);
    pthread_mutex_init(&d->passing, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->stop, NULL);
    if (resize(d, &small) != ERR_OK)
        log_warn("ledger", "the recorder keeps its size: %s", small.text);
    ENSURE(pthread_create(&d->thread, NULL, drain_main, d) == 0);
    *ret = d;
    return ERR_OK;
}

void
drain_stop(struct drain *d)
{
    struct error e;

    if (d == NULL)
        return;
    pthread_mutex_lock(&d->lock);
    d->stopping = true;
    pthread_cond_broadcast(&d->stop);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    if (drain_pass(d, NULL, &e) != ERR_OK)
        log_warn("ledger", "calls stay in the recorder until the next start: %s", e.text);
    recorder_file_close(&d->file);
    free(d->ended);
    free(d);
}

/* Counted now: a pass may take seconds after an outage, and calls go on meanwhile. */
static void
count_slots(const struct recorder *r, struct drain_status *ret)
{
    for (uint32_t slot = 0; slot < r->slots_n; slot++) {
        if (slot % 8 == 0 && slot + 8 <= r->slots_n && eight_are_free(r, slot)) {
            slot += 7;
            continue;
        }
        ret->used += recorder_slot_state(r, slot) != RECORDER_FREE;
        ret->waiting += recorder_slot_state(r, slot) == RECORDER_DONE;
    }
}

struct drain_status
drain_status(struct drain *d)
{
    struct drain_status status;
    struct recorder recorder;
    int64_t since;

    pthread_mutex_lock(&d->lock);
    recorder = d->file.recorder;
    status = d->status;
    since = d->oldest_ms > 0 ? d->oldest_ms : d->looked_ms;
    pthread_mutex_unlock(&d->lock);
    count_slots(&recorder, &status);
    if (status.waiting > 0 && clock_ms() > since)
        status.lag_ms = clock_ms() - since;
    return status;
}
