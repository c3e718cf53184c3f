#include "core/recorder.h"

static const char magic[8] = "PSRRECD";

/* Of the states there is room for those of the most lanes. */
static size_t
slots_off(uint32_t slots_per_lane)
{
    size_t states = (size_t)RECORDER_LANES_MAX * slots_per_lane;

    return RECORDER_HEADER_BYTES +
        (states + RECORDER_HEADER_BYTES - 1) / RECORDER_HEADER_BYTES * RECORDER_HEADER_BYTES;
}

size_t
recorder_bytes(uint32_t lanes, uint32_t slots_per_lane)
{
    if (lanes == 0 || lanes > RECORDER_LANES_MAX || slots_per_lane == 0 || slots_per_lane > 1 << 16)
        return 0;
    return slots_off(slots_per_lane) + (size_t)lanes * slots_per_lane * RECORDER_SLOT_BYTES;
}

void
recorder_format(
    void *memory, uint32_t lanes, uint32_t slots_per_lane, const uint8_t node_id[static 16])
{
    struct recorder_header *h = memory;

    h->version = RECORDER_VERSION;
    h->slot_bytes = RECORDER_SLOT_BYTES;
    atomic_store_explicit(&h->lanes, lanes, memory_order_relaxed);
    h->slots_per_lane = slots_per_lane;
    memcpy(h->node_id, node_id, sizeof(h->node_id));
    memcpy(h->magic, magic, sizeof(h->magic));
}

bool
recorder_header_is_one(const struct recorder_header *h)
{
    return memcmp(h->magic, magic, sizeof(magic)) == 0;
}

size_t
recorder_header_bytes(const struct recorder_header *h)
{
    if (!recorder_header_is_one(h) || h->version != RECORDER_VERSION ||
        h->slot_bytes != RECORDER_SLOT_BYTES)
        return 0;
    return recorder_bytes(atomic_load_explicit(&h->lanes, memory_order_acquire), h->slots_per_lane);
}

size_t
recorder_map_bytes(const struct recorder_header *h)
{
    return recorder_bytes(RECORDER_LANES_MAX, h->slots_per_lane);
}

bool
recorder_attach(void *memory, size_t bytes, struct recorder *ret)
{
    struct recorder_header *h = memory;
    size_t needed = bytes < RECORDER_HEADER_BYTES ? 0 : recorder_header_bytes(h);

    if (needed == 0 || needed > bytes)
        return false;
    ret->header = h;
    ret->slots_n = recorder_lanes(ret) * h->slots_per_lane;
    ret->states = (_Atomic uint8_t *)memory + RECORDER_HEADER_BYTES;
    ret->slots = (char *)memory + slots_off(h->slots_per_lane);
    return true;
}

void
recorder_set_lanes(struct recorder *r, uint32_t lanes)
{
    atomic_store_explicit(&r->header->lanes, lanes, memory_order_release);
    r->slots_n = lanes * r->header->slots_per_lane;
}

static const char *
lane_states(const struct recorder *r, uint32_t lane)
{
    return (const char *)r->states + (size_t)lane * r->header->slots_per_lane;
}

bool
recorder_lane_has_none(const struct recorder *r, uint32_t lane, enum recorder_slot_state state)
{
    return memchr(lane_states(r, lane), (int)state, r->header->slots_per_lane) == NULL;
}

bool
recorder_lane_is_free(const struct recorder *r, uint32_t lane)
{
    return recorder_lane_has_none(r, lane, RECORDER_OPEN) &&
        recorder_lane_has_none(r, lane, RECORDER_DONE);
}

static inline uint64_t
mix(uint64_t sum, const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    sum = (sum ^ word) * 0x9e3779b97f4a7c15;
    return sum ^ sum >> 29;
}

/*
 * Not against an attacker: it tells a whole record from a torn one, cheaply. n is a multiple of 8.
 */
static uint64_t
checksum(const void *p, size_t n)
{
    /* Two sums side by side: a multiplication need not wait for the one before. */
    uint64_t even = n, odd = 1;
    const char *at = p;

    for (; n >= 16; n -= 16, at += 16) {
        even = mix(even, at);
        odd = mix(odd, at + 8);
    }
    if (n > 0)
        even = mix(even, at);
    return mix(even, (const char *)&odd);
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
    const char *states = lane_states(r, lane);
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
    const int64_t counts[] = {u->input, u->output, u->cache_read, u->cache_write_5m,
        u->cache_write_1h, u->reasoning, u->web_searches};

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        if (counts[i] < 0 || counts[i] > USAGE_COUNT_MAX)
            return false;
    }
    return true;
}

uint64_t
recorder_model_number(struct str name)
{
    enum { DATE = sizeof("-YYYYMMDD") - 1 };
    uint64_t number = 0xcbf29ce484222325;
    size_t digits = 0;

    while (
        digits < name.n && name.p[name.n - 1 - digits] >= '0' && name.p[name.n - 1 - digits] <= '9')
        digits++;
    if (digits == DATE - 1 && name.n > DATE && name.p[name.n - DATE] == '-')
        name.n -= DATE;
    for (size_t i = 0; i < name.n; i++)
        number = (number ^ (unsigned char)name.p[i]) * 0x100000001b3;
    return number;
}

/* A list of prices as a slot holds it. */
struct sheet {
    const struct price *rows;
    size_t n;
};

static struct sheet
asked_sheet(const struct recorder_open *open)
{
    return (struct sheet){open->tiers, open->tiers_n <= RECORDER_TIERS_MAX ? open->tiers_n : 0};
}

static struct sheet
billed_sheet(const struct recorder_billed *b)
{
    return (struct sheet){b->tiers, b->tiers_n <= RECORDER_BILLED_TIERS_MAX ? b->tiers_n : 0};
}

static struct str
text_in(const char *text, size_t room)
{
    const char *end = memchr(text, '\0', room);

    return (struct str){text, end == NULL ? room : (size_t)(end - text)};
}

/*
 * The prices of what the vendor says it answered with, where that is what it bills. False: it named
 * nothing that has a price here, and those of the model asked for stand in.
 */
static bool
find_sheet(const struct recorder_open *open, const struct recorder_progress *p, struct sheet *ret)
{
    struct str answered = text_in(p->model_answered, sizeof(p->model_answered));
    struct str vendor = text_in(open->model_vendor, sizeof(open->model_vendor));
    uint64_t number = recorder_model_number(answered);

    *ret = asked_sheet(open);
    if (!open->bills_answered || number == recorder_model_number(vendor))
        return true;
    for (size_t i = 0; i < RECORDER_BILLED_MAX; i++) {
        struct sheet sheet = billed_sheet(&open->billed[i]);

        if (sheet.n > 0 && open->billed[i].model == number) {
            *ret = sheet;
            return true;
        }
    }
    return false;
}

/* What an attempt that ended so is booked as. */
struct booking {
    struct usage usage;
    struct price price;
    enum ledger_certainty certainty;
    enum ledger_estimate estimate;
    int64_t cost_nano_usd;
};

/* Nothing better than the bound is known. */
static bool
only_bound_is_known(const struct recorder_open *open, const struct recorder_progress *p)
{
    if ((p->flags & USAGE_INPUT_SEEN) == 0 || !is_countable(&p->counts))
        return true;
    /* What a search found is input that nobody has told yet. */
    return open->searches_bound > 0 && (p->flags & USAGE_FINAL) == 0;
}

/* Usage, certainty and cost. The bound stands wherever nothing better is known. */
static struct booking
book(const struct recorder_open *open, const struct recorder_progress *p)
{
    const unsigned exact = USAGE_INPUT_SEEN | USAGE_FINAL;
    bool is_exact = (p->flags & exact) == exact, is_priced;
    struct booking b = {.certainty = LEDGER_BOUND, .cost_nano_usd = open->bound_nano_usd};
    struct usage usage;
    struct sheet sheet = asked_sheet(open);
    const struct price *tier;
    int64_t cost;

    b.usage = (struct usage){.input = open->prompt_bound,
        .output = open->output_bound,
        .web_searches = open->searches_bound};
    if (sheet.n > 0)
        b.price = sheet.rows[0];
    if (end_state(p) == LEDGER_FAILED) {
        b.certainty = LEDGER_EXACT;
        b.cost_nano_usd = 0;
        b.usage = (struct usage){0};
        return b;
    }
    if (only_bound_is_known(open, p))
        return b;
    usage = is_exact ? p->counts : usage_estimate(&p->counts, p->text_bytes);
    /*
     * The text may be richer in bytes than in tokens; beyond the bound only the vendor's own count
     * goes.
     */
    if (usage.output > open->output_bound)
        usage.output =
            p->counts.output > open->output_bound ? p->counts.output : open->output_bound;
    is_priced = find_sheet(open, p, &sheet);
    tier = price_find(sheet.rows, sheet.n, open->opened_ms, usage_prompt_tokens(&usage));
    if (tier == NULL || !price_cost(tier, &usage, &cost))
        return b;
    b.estimate = !is_exact ? LEDGER_ESTIMATE_TEXT
        : !is_priced       ? LEDGER_ESTIMATE_ASKED_MODEL
                           : LEDGER_ESTIMATE_NONE;
    b.certainty = b.estimate == LEDGER_ESTIMATE_NONE ? LEDGER_EXACT : LEDGER_ESTIMATED;
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

/* Raises *most to what the usage costs on this sheet; false when that cannot be said. */
static bool
raise_to(const struct sheet *sheet, int64_t at_ms, const struct usage *u, int64_t *most)
{
    const struct price *tier = price_find(sheet->rows, sheet->n, at_ms, usage_prompt_tokens(u));
    int64_t cost;

    if (tier == NULL || !price_cost(tier, u, &cost))
        return false;
    *most = cost > *most ? cost : *most;
    return true;
}

int64_t
recorder_remaining_bound(
    const struct recorder_open *open, const struct usage *counts, unsigned flags)
{
    struct usage most = *counts;
    struct sheet sheet = asked_sheet(open);
    int64_t cost = 0;
    bool known;

    if ((flags & USAGE_INPUT_SEEN) == 0 || open->searches_bound > 0 || !is_countable(counts))
        return open->bound_nano_usd;
    if (most.output < open->output_bound)
        most.output = open->output_bound;
    known = raise_to(&sheet, open->opened_ms, &most, &cost);
    for (size_t i = 0; i < RECORDER_BILLED_MAX && open->billed[i].tiers_n > 0; i++) {
        sheet = billed_sheet(&open->billed[i]);
        known = known && raise_to(&sheet, open->opened_ms, &most, &cost);
    }
    return known && cost <= open->bound_nano_usd ? cost : open->bound_nano_usd;
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
    entry.estimate = booking.estimate;
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
    memcpy(hold.org_id, open.org_id, sizeof(hold.org_id));
    memcpy(hold.workspace_id, open.workspace_id, sizeof(hold.workspace_id));
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
