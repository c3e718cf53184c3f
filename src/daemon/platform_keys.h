/* The platform's vendor keys on their way from store and vault to the gateway. */
#ifndef DAEMON_PLATFORM_KEYS_H
#define DAEMON_PLATFORM_KEYS_H

#include "edge/edge.h"
#include "store/store.h"
#include "vault/vault.h"

struct platform_keys {
    struct store *store;
    struct vault *vault;
};

/*
 * An edge_keys_fn; ctx is a struct platform_keys. One key that does not open fails all: never some.
 */
enum err platform_keys_fetch(void *ctx, struct edge_keys *into, struct error *e) MUST_CHECK;

#endif
