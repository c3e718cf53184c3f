/*
 * The registry as JSON: for `purser registry show --json`, for `diff`, and as the canonical form
 * that the fingerprint is taken of (keys sorted, no spaces, rates in micro-USD).
 */
#ifndef REGISTRY_REGISTRY_JSON_H
#define REGISTRY_REGISTRY_JSON_H

#include "core/registry.h"

#include <jansson.h>

/* A new reference, the caller's. */
json_t *registry_json(const struct registry *r);
json_t *registry_json_provider(const struct registry *r, const struct registry_provider *p);
json_t *registry_json_runtime(const struct registry *r, const struct registry_runtime *rt);
json_t *registry_json_platform_model(
    const struct registry *r, const struct registry_platform_model *m);
json_t *registry_json_prices(const struct registry *r, struct rlist prices);

/* "api-key" ... */
struct str registry_kind_name(enum provider_kind kind);

/* The canonical text, malloc'd. */
char *registry_canonical(const struct registry *r);
/* SHA-256 of it, into r->fingerprint. */
void registry_fingerprint_set(struct registry *r);

#endif
