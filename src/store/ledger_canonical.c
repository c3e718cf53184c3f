#include "store/chain.h"

/* Grows only at the end and with a new number: old rows must encode as they did. */
enum { LEDGER_CANONICAL_FIRST = 1, LEDGER_CANONICAL_VERSION = 2 };

/* Does it say anything that the first version could not? */
static bool
needs_new(const struct ledger_entry *entry)
{
    return entry->usage.web_searches != 0 || entry->price.web_search != 0 ||
        entry->estimate != LEDGER_ESTIMATE_NONE;
}

static void
add_id(struct buf *b, const uint8_t id[static 16])
{
    buf_add(b, (struct str){(const char *)id, 16});
}

static void
add_chars(struct buf *b, const char *text, size_t room)
{
    canonical_text(b, (struct str){text, strnlen(text, room)});
}

size_t
ledger_entry_canonical(const struct ledger_entry *entry, uint8_t ret[static LEDGER_CANONICAL_MAX])
{
    const int64_t numbers[] = {entry->attempt, entry->kind, entry->state, entry->certainty,
        entry->dialect, entry->vendor_status, entry->opened_ms, entry->first_byte_ms,
        entry->closed_ms, entry->usage.input, entry->usage.output, entry->usage.cache_read,
        entry->usage.cache_write_5m, entry->usage.cache_write_1h, entry->usage.reasoning,
        entry->price.from_ms, entry->price.above_tokens, entry->price.input, entry->price.output,
        entry->price.cache_read, entry->price.cache_write_5m, entry->price.cache_write_1h,
        entry->bound_nano_usd, entry->cost_nano_usd};
    AUTO_BUF struct buf b;

    buf_init(&b, LEDGER_CANONICAL_MAX);
    (void)buf_reserve(&b, LEDGER_CANONICAL_MAX); /* at once: this is done for every call */
    canonical_int(&b, needs_new(entry) ? LEDGER_CANONICAL_VERSION : LEDGER_CANONICAL_FIRST);
    add_id(&b, entry->call_id);
    add_id(&b, entry->org_id);
    add_id(&b, entry->workspace_id);
    add_id(&b, entry->token_id);
    add_id(&b, entry->decision_id);
    add_id(&b, entry->key_id);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        canonical_int(&b, numbers[i]);
    buf_add(&b, (struct str){(const char *)entry->registry_fingerprint, 32});
    add_chars(&b, entry->provider, sizeof(entry->provider));
    add_chars(&b, entry->model_asked, sizeof(entry->model_asked));
    add_chars(&b, entry->model_vendor, sizeof(entry->model_vendor));
    add_chars(&b, entry->model_answered, sizeof(entry->model_answered));
    if (needs_new(entry)) {
        canonical_int(&b, entry->usage.web_searches);
        canonical_int(&b, entry->price.web_search);
        canonical_int(&b, entry->estimate);
    }
    ENSURE(buf_ok(&b));
    memcpy(ret, b.p, b.n);
    return b.n;
}
