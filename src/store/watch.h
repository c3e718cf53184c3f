/*
 * What others change in the store. Writers tell it inside their transaction; a purserd follows with
 * a thread of its own: by the engine's notices, at once, and by looking every now and then, so that
 * it also works where no notice comes (SQLite, a pooler in between). What is told is a hint: look at
 * the store for what holds now.
 */
#ifndef STORE_WATCH_H
#define STORE_WATCH_H

#include "store/store.h"

enum store_change {
    STORE_CHANGE_ANY,           /* something was missed: look at everything */
    STORE_CHANGE_TOKEN,         /* key: the digest as hexadecimal */
    STORE_CHANGE_PLATFORM_KEYS, /* key: empty */
    STORE_CHANGE_BUDGETS, /* budgets or limits; or key: an org of which a call was corrected */
    STORE_CHANGE_WISH,    /* something is wanted of a workspace's agent; key: its id */
    STORE_CHANGE_EVENT,   /* an org has a new event; key: its id */
    STORE_CHANGE_COUNT
};

/* Tells the other purserds when (and only if) the transaction commits. */
enum err store_notify(
    struct store_tx *tx, enum store_change change, struct str key, struct error *e) MUST_CHECK;
/*
 * Only a hint, for those who find it out by themselves soon: a lost one is not missed, and where
 * nobody listens it costs nothing.
 */
enum err store_hint(
    struct store_tx *tx, enum store_change change, struct str key, struct error *e) MUST_CHECK;
/* Of one token: made, revoked, extended or deleted. */
enum err store_notify_token(struct store_tx *tx, const uint8_t digest[static TOKEN_DIGEST_BYTES],
    struct error *e) MUST_CHECK;

/*
 * Not called for what this store object's own transactions told. key is valid during the call.
 * False: it could not be done now; STORE_CHANGE_ANY follows at the next look.
 */
typedef bool store_change_fn(void *ctx, enum store_change change, struct str key);

struct store_watch_options {
    int64_t poll_ms; /* how often it looks for what no notice told */
    bool deaf;       /* tests: no notices */
    store_change_fn *fn;
    void *ctx;
};

struct store_watch;

/*
 * Calls fn with STORE_CHANGE_ANY first, then for each change, always from the same thread; says that
 * this node lives (nodes.last_seen_ms) every ten seconds. Survives the loss of the store. s must
 * have been opened with store_open_node().
 */
void store_watch_start(
    struct store *s, const struct store_watch_options *o, struct store_watch **ret);
/* Waits for a call under way. NULL is fine. */
void store_watch_stop(struct store_watch *w);

#endif
