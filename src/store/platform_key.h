/* The platform's own vendor keys, sealed. Several per provider, picked by weight. Of no org. */
#ifndef STORE_PLATFORM_KEY_H
#define STORE_PLATFORM_KEY_H

#include "store/store.h"

struct platform_key {
    struct id id;
    struct str provider; /* the registry's provider name */
    int64_t weight;      /* 1 .. 1000 */
    struct str sealed;
    int64_t key_id;         /* which key of the keyring sealed it */
    int64_t version;        /* 1; part of what the sealed bytes are bound to */
    struct str fingerprint; /* keyed: tells whether a tenant stored the platform's key */
    int64_t created_ms;
    int64_t retired_ms; /* 0: in use */
};

/* ERR_CONFLICT when the key it is sealed with was retired meanwhile. */
enum err platform_key_insert(
    struct store_tx *tx, const struct platform_key *k, struct error *e) MUST_CHECK;
/* Those in use, by provider, oldest first. */
enum err platform_key_list(struct store_tx *tx, struct arena *a, struct platform_key **ret,
    size_t *ret_n, struct error *e) MUST_CHECK;
/* ERR_NOT_FOUND when there is none in use with this id. */
enum err platform_key_set_weight(
    struct store_tx *tx, struct id key, int64_t weight, struct error *e) MUST_CHECK;
enum err platform_key_retire(
    struct store_tx *tx, struct id key, int64_t now_ms, struct error *e) MUST_CHECK;
/* Retires all of a provider's: before an insert it makes "set" of it. */
enum err platform_key_retire_provider(
    struct store_tx *tx, struct str provider, int64_t now_ms, struct error *e) MUST_CHECK;
/* Is a value with this fingerprint one of the platform's keys, in use or retired? */
enum err platform_key_has_fingerprint(
    struct store_tx *tx, struct str fingerprint, bool *ret, struct error *e) MUST_CHECK;

#endif
