#include "daemon/leases.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <stdlib.h>

enum {
    AT_ONCE = 64,
    RENEW_MS = 1000,       /* how often the other nodes are looked at */
    ASK_AGAIN_MS = 2000,   /* for one budget, when something changed here */
    ASK_ANYWAY_MS = 10000, /* others may have given something back */
    WISH_MS = 10 * 1000,   /* a refused call comes again within that time */
    TURN_MS = 2500,        /* before what it was granted for it goes to another node's */
    RECENT_MS = 15 * 1000, /* who was not heard for so long is not waited for */
    /* A period in which some clock may not have begun: two that are off, each to its side. */
    YOUNG_MS = 2 * BUDGET_LEASE_CLOCK_OFF_MS + 1000,
    MARGIN_MS = 60 * 1000, /* for clocks that differ */
};

struct asked {
    struct budget_lease_ask ask;
    struct budget_slot *slot;
    struct lease *lease;
    int64_t held, elsewhere;
};

struct leases {
    struct store *store;
    int64_t away_ms;
    int64_t looked_ms;  /* monotonic; 0: not yet */
    int64_t renewed_ms; /* the last time that the store took it */
    bool reachable, told;
    struct arena arena; /* of others */
    struct budget_lease_others others;
    struct asked asked[AT_ONCE];
    size_t asked_n;
};

struct leases *
leases_new(struct store *s, int64_t away_ms)
{
    struct leases *l = store_is_shared(s) ? calloc(1, sizeof(*l)) : NULL;

    if (l == NULL)
        return NULL;
    l->store = s;
    l->away_ms = away_ms;
    l->reachable = true;
    /* What an earlier purserd was granted holds for so long, too. */
    l->renewed_ms = clock_monotonic_ms();
    arena_init(&l->arena);
    return l;
}

void
leases_free(struct leases *l)
{
    if (l != NULL)
        arena_done(&l->arena);
    free(l);
}

static enum err
renew_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct leases *l = ctx;

    /* We may go on for away_ms without the store, and the gateway as long without us. */
    return budget_lease_renew(tx, 2 * l->away_ms + MARGIN_MS, RECENT_MS, &l->arena, &l->others, e);
}

void
leases_begin(struct leases *l)
{
    int64_t now = clock_monotonic_ms();
    struct error e;

    if (l == NULL)
        return;
    l->others.lapsed = false;
    if (l->looked_ms != 0 && now - l->looked_ms < RENEW_MS)
        return;
    arena_done(&l->arena);
    arena_init(&l->arena);
    l->others = (struct budget_lease_others){.wanted = NULL};
    l->looked_ms = now;
    l->reachable = store_tx(l->store, renew_tx, l, &e) == ERR_OK;
    if (l->reachable)
        l->renewed_ms = now;
    else if (!l->told)
        log_warn("budget", "the shares of this node stay as they are until the store takes it: %s",
            e.text);
    l->told = !l->reachable;
}

/* Does another node wait for it, which goes before us if we wait, too? */
static bool
is_wanted(const struct leases *l, struct id budget, bool by_us)
{
    struct id self = store_node(l->store);

    for (size_t i = 0; i < l->others.wanted_n; i++) {
        const struct budget_lease_wanted *w = &l->others.wanted[i];

        if (id_equal(w->budget, budget) &&
            (!by_us || memcmp(w->node.b, self.b, sizeof(self.b)) < 0))
            return true;
    }
    return false;
}

static enum err
ask_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct leases *l = ctx;
    enum err err = ERR_OK;

    for (size_t i = 0; err == ERR_OK && i < l->asked_n; i++) {
        struct asked *x = &l->asked[i];

        err = budget_lease_settle(tx, &x->ask, &x->held, &x->elsewhere, e);
    }
    return err;
}

void
leases_end(struct leases *l)
{
    struct error e;

    if (l == NULL || l->asked_n == 0)
        return;
    if (store_tx(l->store, ask_tx, l, &e) == ERR_OK) {
        for (size_t i = 0; i < l->asked_n; i++) {
            struct asked *x = &l->asked[i];

            x->lease->known = true;
            if (x->held > x->ask.lease && x->lease->waits) {
                x->lease->waits = false;
                x->lease->granted_ms = clock_monotonic_ms();
            }
            budget_set_elsewhere(x->slot, x->ask.now_ms, x->elsewhere);
            budget_set_lease(x->slot, x->held);
        }
    } else {
        log_warn("budget", "no share of a budget can be had now: %s", e.text);
    }
    l->asked_n = 0;
}

/*
 * The store is asked for wished; what is above keep may have to be given up. It is taken from the
 * gateway first, and what it has committed by then is looked at afterwards: the store never hears of
 * less than what may be spent.
 */
static void
ask_for(struct leases *l, const struct budget_row *row, struct budget_slot *slot,
    struct lease *lease, int64_t wished, int64_t keep, bool wanted)
{
    int64_t now = clock_ms(), lowered = atomic_load(&slot->lease_nano);
    struct asked *x;

    if (l->asked_n == AT_ONCE)
        leases_end(l);
    x = &l->asked[l->asked_n++];
    if (keep < lowered) {
        lowered = keep;
        budget_set_lease(slot, lowered);
    }
    lease->asked_ms = clock_monotonic_ms();
    lease->settled = budget_settled(slot, now);
    lease->committed = budget_committed(slot, now);
    *x = (struct asked){.slot = slot,
        .lease = lease,
        .ask = {.budget = row,
            .now_ms = now,
            .lease = lowered,
            .committed = lease->committed,
            .settled = lease->settled,
            .wished = wished > lease->committed ? wished : lease->committed,
            .wanted = wanted,
            .recent_ms = lease->asked_ms - lease->since_ms < RECENT_MS ? RECENT_MS : 0}};
}

static void
ask(struct leases *l, const struct budget_row *row, struct budget_slot *slot, struct lease *lease,
    int64_t wished, bool wanted)
{
    ask_for(l, row, slot, lease, wished, wished, wanted);
}

struct standing {
    const struct budget_row *row;
    int64_t lease;
    bool stands;
};

static enum err
stands_tx(struct store_tx *tx, void *ctx, struct error *e)
{
    struct standing *s = ctx;

    return budget_lease_stands(tx, s->row, s->lease, &s->stands, e);
}

/*
 * What an earlier purserd was granted, or what was granted of another limit: where it still stands,
 * it is not taken from the gateway until the store is asked, for calls would be refused meanwhile.
 */
static bool
still_stands(struct leases *l, const struct budget_row *row, int64_t lease)
{
    struct standing s = {.row = row, .lease = lease};
    struct error e;

    return lease > 0 && store_read(l->store, stands_tx, &s, &e) == ERR_OK && s.stands;
}

void
leases_see(
    struct leases *l, const struct budget_row *row, struct budget_slot *slot, struct lease *lease)
{
    int64_t now = clock_ms(), committed, held, share = row->limit_nano_usd / BUDGET_LEASE_SHARE;
    int64_t period = budget_period_number(row->period, now), mono = clock_monotonic_ms();
    bool young, due, long_ago, has_wish, has_turn, by_us;

    if (l == NULL || !row->hard)
        return;
    if (lease->since_ms == 0)
        lease->since_ms = mono;
    if (l->others.lapsed || (!l->reachable && mono - l->renewed_ms > l->away_ms)) {
        budget_set_lease(slot, 0);
        lease->known = false;
    }
    if (!l->reachable)
        return;
    if (!lease->known)
        lease->known = still_stands(l, row, atomic_load(&slot->lease_nano));
    young =
        row->period != BUDGET_TOTAL && now - budget_period_start(row->period, period) < YOUNG_MS;
    due = mono - lease->asked_ms >= ASK_AGAIN_MS;
    long_ago = mono - lease->asked_ms >= ASK_ANYWAY_MS;
    if (atomic_exchange(&slot->wanted, 0) != 0) {
        lease->waits = true;
        lease->wish_ends_ms = mono + WISH_MS;
    }
    has_wish = mono < lease->wish_ends_ms;
    by_us = has_wish && lease->waits;
    held = atomic_load(&slot->lease_nano);
    committed = budget_committed(slot, now);
    has_turn = has_wish && mono - lease->granted_ms < TURN_MS;
    if (lease->known && !young && !has_turn && held > committed && is_wanted(l, row->id, by_us))
        ask(l, row, slot, lease, committed, by_us);
    else if (!lease->known)
        /* The limit may be another one: then the part that is held is not what it was. */
        ask_for(l, row, slot, lease,
            l->others.alone || by_us       ? row->limit_nano_usd
                : held > committed + share ? held
                                           : committed + share,
            committed, by_us);
    else if (by_us || (l->others.alone && held < row->limit_nano_usd && long_ago))
        ask(l, row, slot, lease, row->limit_nano_usd, by_us);
    else if (!due || l->others.alone)
        return;
    else if (held - committed > 2 * share && !young && !has_wish)
        ask(l, row, slot, lease, committed + share, false);
    else if (held - committed < share / 2 && (committed != lease->committed || long_ago))
        ask(l, row, slot, lease, committed + share, false);
    else if (budget_settled(slot, now) != lease->settled)
        ask(l, row, slot, lease, held, false);
}
