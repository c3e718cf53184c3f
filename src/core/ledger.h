/*
 * A ledger entry: one attempt that may have reached a vendor, as it is booked. The recorder's slots
 * decode into it, the store keeps it. Plain data; ids are 16 raw bytes (UUIDv7).
 */
#ifndef CORE_LEDGER_H
#define CORE_LEDGER_H

#include "core/dialect.h"
#include "core/price.h"
#include "core/usage.h"

#include <stdint.h>

enum ledger_state {
    LEDGER_SETTLED,     /* answered in full */
    LEDGER_ABORTED,     /* the client left */
    LEDGER_INTERRUPTED, /* sent, and the vendor died, timed out or told no usage */
    LEDGER_FAILED, /* zero: refused by us, never sent, or answered with a vendor's error status */
    LEDGER_RECOVERED, /* found open after a crash */
    LEDGER_STATE_COUNT
};

enum ledger_certainty {
    LEDGER_EXACT,
    LEDGER_ESTIMATED, /* by what: enum ledger_estimate */
    LEDGER_BOUND,     /* nothing was seen: the most it can have cost */
    LEDGER_CERTAINTY_COUNT
};

/* What an estimated cost rests on. */
enum ledger_estimate {
    LEDGER_ESTIMATE_NONE,        /* nothing is estimated */
    LEDGER_ESTIMATE_TEXT,        /* the input is exact, the output is that of the text that came */
    LEDGER_ESTIMATE_ASKED_MODEL, /* the vendor bills by a model of its choice, and named none that
                                    has a price: that of the model asked for */
    LEDGER_ESTIMATE_COUNT
};

enum ledger_kind { LEDGER_CALL, LEDGER_CORRECTION, LEDGER_KIND_COUNT };

struct str ledger_state_name(enum ledger_state s);
struct str ledger_certainty_name(enum ledger_certainty c);
struct str ledger_estimate_name(enum ledger_estimate s); /* "", "text", "asked_model" */
struct str ledger_kind_name(enum ledger_kind k);

enum { LEDGER_MODEL_MAX = 95, LEDGER_PROVIDER_MAX = 39 };

struct ledger_entry {
    uint8_t call_id[16];
    uint8_t org_id[16];
    uint8_t workspace_id[16];
    uint8_t token_id[16];
    uint8_t decision_id[16];
    uint8_t key_id[16];
    uint32_t attempt; /* 1, 2 ... */
    enum ledger_kind kind;
    enum ledger_state state;
    enum ledger_certainty certainty;
    enum ledger_estimate estimate;
    enum dialect dialect;
    int vendor_status; /* 0: no answer */
    int64_t opened_ms;
    int64_t first_byte_ms; /* 0: none */
    int64_t closed_ms;     /* 0: unknown (recovered) */
    struct usage usage;
    struct price price; /* the row that priced it */
    int64_t bound_nano_usd;
    int64_t cost_nano_usd;
    uint8_t registry_fingerprint[32];
    char provider[LEDGER_PROVIDER_MAX + 1];
    char model_asked[LEDGER_MODEL_MAX + 1];    /* the platform id */
    char model_vendor[LEDGER_MODEL_MAX + 1];   /* what the vendor was asked for */
    char model_answered[LEDGER_MODEL_MAX + 1]; /* what it said it was; may be empty */
};

#endif
