#include "core/recorder.h"

static const char magic[8] = "PSRRECD";

static size_t
states_bytes(size_t slots)
{
    return (slots + RECORDER_HEADER_BYTES - 1) / RECORDER_HEADER_BYTES * RECORDER_HEADER_BYTES;
}

size_t
recorder_bytes(uint32_t lanes, uint32_t slots_per_lane)
{
    size_t slots = (size_t)lanes * slots_per_lane;

    if (lanes == 0 || lanes > RECORDER_LANES_MAX || slots_per_lane == 0 || slots_per_lane > 1 << 20)
        return 0;
    return RECORDER_HEADER_BYTES + states_bytes(slots) + slots * RECORDER_SLOT_BYTES;
}

void
recorder_format(
    void *memory, uint32_t lanes, uint32_t slots_per_lane, const uint8_t node_id[static 16])
{
    struct recorder_header *h = memory;

    h->version = RECORDER_VERSION;
    h->slot_bytes = RECORDER_SLOT_BYTES;
    h->lanes = lanes;
    h->slots_per_lane = slots_per_lane;
    memcpy(h->node_id, node_id, sizeof(h->node_id));
    memcpy(h->magic, magic, sizeof(h->magic));
}

bool
recorder_attach(void *memory, size_t bytes, struct recorder *ret)
{
    struct recorder_header *h = memory;

    if (bytes < RECORDER_HEADER_BYTES || memcmp(h->magic, magic, sizeof(magic)) != 0 ||
        h->version != RECORDER_VERSION || h->slot_bytes != RECORDER_SLOT_BYTES ||
        recorder_bytes(h->lanes, h->slots_per_lane) != bytes)
        return false;
    ret->header = h;
    ret->slots_n = h->lanes * h->slots_per_lane;
    ret->states = (_Atomic uint8_t *)memory + RECORDER_HEADER_BYTES;
    ret->slots = (char *)memory + RECORDER_HEADER_BYTES + states_bytes(ret->slots_n);
    return true;
}

/*
 * Not against an attacker: it tells a whole record from a torn one, cheaply. n is a multiple of 8.
 */
static uint64_t
checksum(const void *p, size_t n)
{
    uint64_t sum = n;

    for (size_t at = 0; at < n; at += sizeof(uint64_t)) {
        uint64_t word;

        memcpy(&word, (const char *)p + at, sizeof(word));
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        sum ^= sum >> 29;
    }
    return sum;
}

static uint64_t
progress_checksum(const struct recorder_progress *p)
{
    return checksum(p, offsetof(struct recorder_progress, checksum));
}

uint32_t
recorder_lane_free_slot(const struct recorder *r, uint32_t lane)
{
    uint32_t per_lane = r->header->slots_per_lane, first = lane * per_lane;
    const char *states = (const char *)r->states + first;
    const char *free_one = memchr(states, RECORDER_FREE, per_lane);

    if (free_one == NULL)
        return RECORDER_NO_SLOT;
    /* purserd is done with the slot before it says so. */
    atomic_thread_fence(memory_order_acquire);
    return first + (uint32_t)(free_one - states);
}

static void
publish(const struct recorder *r, uint32_t slot, enum recorder_slot_state state)
{
    atomic_store_explicit(&r->states[slot], (uint8_t)state, memory_order_release);
}

void
recorder_slot_open(const struct recorder *r, uint32_t i, const struct recorder_open *open)
{
    struct recorder_slot *slot = recorder_slot_at(r, i);

    memcpy(&slot->open, open, sizeof(*open));
    slot->open_checksum = checksum(&slot->open, sizeof(slot->open));
    memset(slot->progress, 0, sizeof(slot->progress));
    publish(r, i, RECORDER_OPEN);
}

void
recorder_slot_progress(const struct recorder *r, uint32_t i, struct recorder_progress *p)
{
    struct recorder_slot *slot = recorder_slot_at(r, i);

    p->seq++;
    p->checksum = progress_checksum(p);
    memcpy(&slot->progress[p->seq & 1], p, sizeof(*p));
    /* The next progress overwrites the other copy: keep the two in this order. */
    atomic_signal_fence(memory_order_seq_cst);
}

void
recorder_slot_close(const struct recorder *r, uint32_t i, struct recorder_progress *p)
{
    recorder_slot_progress(r, i, p);
    publish(r, i, RECORDER_DONE);
}

void
recorder_slot_free(const struct recorder *r, uint32_t i)
{
    publish(r, i, RECORDER_FREE);
}

/*
 * The newest whole copy; an empty one when nothing was written yet. When something was and no copy
 * is whole, the attempt may have been sent: RESERVED. A copy may be overwritten while it is read, so
 * it is checked where it cannot change any more.
 */
static struct recorder_progress
newest_progress(const struct recorder_slot *slot)
{
    struct recorder_progress best = {0}, p;
    bool torn = false;

    for (int i = 0; i < 2; i++) {
        memcpy(&p, &slot->progress[i], sizeof(p));
        if (p.checksum != progress_checksum(&p))
            torn = torn || p.seq != 0 || p.checksum != 0;
        else if (p.seq > best.seq)
            best = p;
    }
    if (best.seq == 0 && torn)
        best.counted = RECORDER_RESERVED;
    return best;
}

static enum ledger_state
end_state(const struct recorder_progress *p)
{
    const unsigned exact = USAGE_INPUT_SEEN | USAGE_FINAL;

    if (p->vendor_status >= 400 || p->end == RECORDER_NEVER_SENT || p->counted == RECORDER_INTENT)
        return LEDGER_FAILED;
    if ((p->flags & USAGE_REFUSED) != 0 && (p->flags & USAGE_INPUT_SEEN) == 0)
        return LEDGER_FAILED;
    if (p->end == RECORDER_RUNNING)
        return LEDGER_RECOVERED;
    if (p->end == RECORDER_CLIENT_LEFT)
        return LEDGER_ABORTED;
    return (p->flags & USAGE_COMPLETE) != 0 && (p->flags & exact) == exact ? LEDGER_SETTLED
                                                                           : LEDGER_INTERRUPTED;
}

/* What the meter can have counted. Anything else was not written by it and is not added up. */
static bool
is_countable(const struct usage *u)
{
    const int64_t counts[] = {
        u->input, u->output, u->cache_read, u->cache_write_5m, u->cache_write_1h, u->reasoning};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i] < 0 || counts[i] > USAGE_COUNT_MAX)
            return false;
    }
    return true;
}

/* What an attempt that ended so is booked as. */
struct booking {
    struct usage usage;
    struct price price;
    enum ledger_certainty certainty;
    int64_t cost_nano_usd;
};

/* Usage, certainty and cost. The bound stands wherever nothing better is known. */
static struct booking
book(const struct recorder_open *open, const struct recorder_progress *p)
{
    const unsigned exact = USAGE_INPUT_SEEN | USAGE_FINAL;
    bool is_exact = (p->flags & exact) == exact;
    struct booking b = {.certainty = LEDGER_BOUND, .cost_nano_usd = open->bound_nano_usd};
    struct usage usage;
    const struct price *tier;
    int64_t cost;

    b.usage = (struct usage){.input = open->prompt_bound, .output = open->output_bound};
    if (open->tiers_n > 0 && open->tiers_n <= RECORDER_TIERS_MAX)
        b.price = open->tiers[0];
    if (end_state(p) == LEDGER_FAILED) {
        b.certainty = LEDGER_EXACT;
        b.cost_nano_usd = 0;
        b.usage = (struct usage){0};
        return b;
    }
    if ((p->flags & USAGE_INPUT_SEEN) == 0 || open->tiers_n > RECORDER_TIERS_MAX ||
        !is_countable(&p->counts))
        return b;
    usage = is_exact ? p->counts : usage_estimate(&p->counts, p->text_bytes);
    /*
     * The text may be richer in bytes than in tokens; beyond the bound only the vendor's own count
     * goes.
     */
    if (usage.output > open->output_bound)
        usage.output =
            p->counts.output > open->output_bound ? p->counts.output : open->output_bound;
    tier = price_find(open->tiers, open->tiers_n, open->opened_ms, usage_prompt_tokens(&usage));
    if (tier == NULL || !price_cost(tier, &usage, &cost))
        return b;
    b.certainty = is_exact ? LEDGER_EXACT : LEDGER_ESTIMATED;
    b.usage = usage;
    b.price = *tier;
    b.cost_nano_usd = cost;
    return b;
}

int64_t
recorder_cost(const struct recorder_open *open, const struct recorder_progress *p)
{
    return book(open, p).cost_nano_usd;
}

int64_t
recorder_remaining_bound(
    const struct recorder_open *open, const struct usage *counts, unsigned flags)
{
    struct usage most = *counts;
    const struct price *tier;
    int64_t cost;

    if ((flags & USAGE_INPUT_SEEN) == 0 || open->tiers_n > RECORDER_TIERS_MAX ||
        !is_countable(counts))
        return open->bound_nano_usd;
    if (most.output < open->output_bound)
        most.output = open->output_bound;
    tier = price_find(open->tiers, open->tiers_n, open->opened_ms, usage_prompt_tokens(&most));
    if (tier == NULL || !price_cost(tier, &most, &cost) || cost > open->bound_nano_usd)
        return open->bound_nano_usd;
    return cost;
}

static void
copy_text(char *to, size_t to_bytes, const char *from, size_t from_bytes)
{
    size_t n = 0;

    while (n < from_bytes && n < to_bytes - 1 && from[n] != '\0') {
        to[n] = from[n];
        n++;
    }
    to[n] = '\0';
}

uint32_t
recorder_lane_reap(const struct recorder *r, uint32_t lane)
{
    uint32_t first = lane * r->header->slots_per_lane, reaped = 0;

    for (uint32_t i = first; i < first + r->header->slots_per_lane; i++) {
        if (recorder_slot_state(r, i) == RECORDER_OPEN) {
            publish(r, i, RECORDER_DONE);
            reaped++;
        }
    }
    return reaped;
}

bool
recorder_slot_read(const struct recorder *r, uint32_t i, struct ledger_entry *ret)
{
    const struct recorder_slot *slot = recorder_slot_at(r, i);
    const struct recorder_open *open = &slot->open;
    struct recorder_progress p;
    struct ledger_entry entry = {.kind = LEDGER_CALL};
    struct booking booking;

    p = newest_progress(slot);
    memcpy(entry.call_id, open->call_id, sizeof(entry.call_id));
    memcpy(entry.org_id, open->org_id, sizeof(entry.org_id));
    memcpy(entry.workspace_id, open->workspace_id, sizeof(entry.workspace_id));
    memcpy(entry.token_id, open->token_id, sizeof(entry.token_id));
    memcpy(entry.decision_id, open->decision_id, sizeof(entry.decision_id));
    memcpy(entry.key_id, open->key_id, sizeof(entry.key_id));
    memcpy(
        entry.registry_fingerprint, open->registry_fingerprint, sizeof(entry.registry_fingerprint));
    copy_text(entry.provider, sizeof(entry.provider), open->provider, sizeof(open->provider));
    copy_text(
        entry.model_asked, sizeof(entry.model_asked), open->model_asked, sizeof(open->model_asked));
    copy_text(entry.model_vendor, sizeof(entry.model_vendor), open->model_vendor,
        sizeof(open->model_vendor));
    copy_text(entry.model_answered, sizeof(entry.model_answered), p.model_answered,
        sizeof(p.model_answered));
    entry.attempt = open->attempt;
    entry.dialect = open->dialect < DIALECT_COUNT ? (enum dialect)open->dialect : DIALECT_ANTHROPIC;
    entry.opened_ms = open->opened_ms;
    entry.first_byte_ms = p.first_byte_ms;
    entry.closed_ms = p.closed_ms;
    entry.vendor_status = p.vendor_status;
    entry.bound_nano_usd = open->bound_nano_usd;
    entry.state = end_state(&p);
    booking = book(open, &p);
    entry.usage = booking.usage;
    entry.price = booking.price;
    entry.certainty = booking.certainty;
    entry.cost_nano_usd = booking.cost_nano_usd;
    *ret = entry;
    return slot->open_checksum == checksum(open, sizeof(*open));
}

bool
recorder_slot_hold(const struct recorder *r, uint32_t i, struct recorder_hold *ret)
{
    const struct recorder_slot *slot = recorder_slot_at(r, i);
    struct recorder_hold hold = {.state = recorder_slot_state(r, i)};
    struct recorder_open open;
    struct recorder_progress p;
    uint64_t sum;

    if (hold.state == RECORDER_FREE)
        return false;
    memcpy(&open, &slot->open, sizeof(open));
    sum = slot->open_checksum;
    p = newest_progress(slot);
    atomic_thread_fence(memory_order_acquire);
    /* Closed, freed or opened anew meanwhile: this was half of two things. */
    if (recorder_slot_state(r, i) != hold.state || sum != checksum(&open, sizeof(open)) ||
        sum != slot->open_checksum || open.budgets_n > BUDGETS_PER_CALL_MAX)
        return false;
    hold.counted =
        p.counted <= RECORDER_SETTLED ? (enum recorder_counted)p.counted : RECORDER_RESERVED;
    hold.budgets_n = open.budgets_n;
    hold.counters_generation = open.counters_generation;
    memcpy(hold.budgets, open.budgets, sizeof(hold.budgets));
    memcpy(hold.budget_tags, p.budget_tags, sizeof(hold.budget_tags));
    memcpy(hold.limits, open.limits, sizeof(hold.limits));
    hold.opened_ms = open.opened_ms;
    hold.reserved_nano =
        p.counted == RECORDER_INTENT || p.seq == 0 ? open.bound_nano_usd : p.reserved_nano;
    if (is_countable(&p.counts))
        hold.tokens = usage_prompt_tokens(&p.counts) + p.counts.output;
    *ret = hold;
    return true;
}

void
recorder_slot_mark(const struct recorder *r, uint32_t i, enum recorder_counted counted)
{
    struct recorder_progress p = newest_progress(recorder_slot_at(r, i));

    p.counted = counted;
    recorder_slot_progress(r, i, &p);
}
