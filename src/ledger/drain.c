#include "ledger/drain.h"

#include "base/log.h"
#include "store/ledger_row.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { BATCH_MAX = 256, PASS_EVERY_MS = 100, STORE_AWAY_MS = 1000 };

struct drain {
    struct drain_options o;
    struct recorder_file file;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t stop;
    bool stopping;
    struct drain_status status;
    /* The thread's own. */
    int64_t synced_ms;
    struct finished {
        struct ledger_entry entry;
        uint32_t slot;
    } batch[BATCH_MAX];
    size_t batch_n;
};

static enum err
book_batch(struct store_tx *tx, void *ctx, struct error *e)
{
    struct drain *d = ctx;

    for (size_t i = 0; i < d->batch_n; i++) {
        enum err err = ledger_row_append(tx, &d->batch[i].entry, NULL, e);

        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* Call ids begin with the time: rows stand in the order in which the calls were opened. */
static int
compare_finished(const void *a, const void *b)
{
    const struct finished *x = a, *y = b;

    return memcmp(x->entry.call_id, y->entry.call_id, sizeof(x->entry.call_id));
}

/* Books the batch, durably, then frees its slots: dying in between books nothing twice. */
static enum err
flush(struct drain *d, size_t *booked, struct error *e)
{
    uint64_t recovered = 0;
    enum err err;

    qsort(d->batch, d->batch_n, sizeof(d->batch[0]), compare_finished);
    err = store_tx_durable(d->o.store, book_batch, d, e);
    if (err != ERR_OK)
        return err;
    for (size_t i = 0; i < d->batch_n; i++) {
        recovered += d->batch[i].entry.state == LEDGER_RECOVERED;
        recorder_slot_free(&d->file.recorder, d->batch[i].slot);
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

static void
take(struct drain *d, uint32_t slot)
{
    struct ledger_entry *entry = &d->batch[d->batch_n].entry;
    char call[ID_TEXT_BYTES];
    struct id id;

    if (recorder_slot_read(&d->file.recorder, slot, entry)) {
        d->batch[d->batch_n++].slot = slot;
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

enum err
drain_pass(struct drain *d, size_t *ret_booked, struct error *e)
{
    const struct recorder *r = &d->file.recorder;
    uint32_t per_lane = r->header->slots_per_lane, used = 0;
    size_t booked = 0;
    enum err err = ERR_OK;

    d->batch_n = 0;
    for (uint32_t slot = 0, reaped = UINT32_MAX; slot < r->slots_n && err == ERR_OK; slot++) {
        enum recorder_slot_state state;

        if (slot % 8 == 0 && slot + 8 <= r->slots_n && eight_are_free(r, slot)) {
            slot += 7;
            continue;
        }
        state = recorder_slot_state(r, slot);
        if (state == RECORDER_OPEN && reaped != slot / per_lane) {
            reaped = slot / per_lane;
            reap(d, reaped);
            state = recorder_slot_state(r, slot);
        }
        used += state != RECORDER_FREE;
        if (state == RECORDER_DONE)
            take(d, slot);
        if (d->batch_n == BATCH_MAX)
            err = flush(d, &booked, e);
    }
    if (err == ERR_OK && d->batch_n > 0)
        err = flush(d, &booked, e);
    pthread_mutex_lock(&d->lock);
    d->status.used = used - (uint32_t)(booked < used ? booked : used);
    pthread_mutex_unlock(&d->lock);
    if (err == ERR_OK && ret_booked != NULL)
        *ret_booked = booked;
    return err;
}

/* What a power cut can take is what the workers wrote since the last of these. */
static void
sync_now_and_then(struct drain *d)
{
    int64_t now = clock_monotonic_ms();

    if (d->o.sync_ms == 0 || now - d->synced_ms < d->o.sync_ms)
        return;
    d->synced_ms = now;
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

static void *
drain_main(void *arg)
{
    struct drain *d = arg;

    for (;;) {
        struct timespec until;
        struct error e;
        enum err err = drain_pass(d, NULL, &e);
        int64_t pause_ms = err == ERR_OK ? PASS_EVERY_MS : STORE_AWAY_MS;
        bool stopping;

        note_outcome(d, err, &e);
        sync_now_and_then(d);
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += pause_ms % 1000 * 1000000;
        until.tv_sec += pause_ms / 1000 + until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_mutex_lock(&d->lock);
        while (!d->stopping && pthread_cond_timedwait(&d->stop, &d->lock, &until) == 0)
            continue;
        stopping = d->stopping;
        pthread_mutex_unlock(&d->lock);
        if (stopping)
            return NULL;
    }
}

enum err
drain_start(const struct drain_options *o, struct drain **ret, struct error *e)
{
    struct drain *d = calloc(1, sizeof(*d));
    enum err err;

    ENSURE(d != NULL);
    d->o = *o;
    err = recorder_file_open(&o->recorder, &d->file, e);
    if (err != ERR_OK) {
        free(d);
        return err;
    }
    d->status.slots = d->file.recorder.slots_n;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->stop, NULL);
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
    free(d);
}

struct drain_status
drain_status(struct drain *d)
{
    struct drain_status status;

    pthread_mutex_lock(&d->lock);
    status = d->status;
    pthread_mutex_unlock(&d->lock);
    return status;
}
