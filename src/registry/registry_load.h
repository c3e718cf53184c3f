/*
 * Loading the registry: registry/providers.yaml (or a file that replaces it) -> one immutable block
 * for core, plus the compiled patterns that core asks for through registry_match().
 *
 * Loading is strict: unknown fields, doubled names, bad patterns, negative prices, platform ids
 * without upstream or price, and ids that do not derive to the provider they are listed under are
 * refused with "file:line: reason" and, where one is near, a "did you mean" (ERR_REGISTRY_INVALID).
 *
 * A loaded set never changes. Any number of threads may read it and call registry_match() at once;
 * whoever replaces it frees it only after its last reader is done.
 */
#ifndef REGISTRY_REGISTRY_LOAD_H
#define REGISTRY_REGISTRY_LOAD_H

#include "base/error.h"
#include "core/registry.h"

/* The block and its compiled patterns. */
struct registry_set;

/* The registry this binary was built with. */
enum err registry_load_embedded(struct registry_set **ret, struct error *e) MUST_CHECK;
/* At most 1 MiB; a file that cannot be read is ERR_REGISTRY_INVALID too. */
enum err registry_load_file(
    const char *path, struct registry_set **ret, struct error *e) MUST_CHECK;
/* name stands for the file in error texts. */
enum err registry_load_bytes(
    const char *name, struct str yaml, struct registry_set **ret, struct error *e) MUST_CHECK;
/* path NULL or empty: the embedded one. What every --registry FILE and the setting go through. */
enum err registry_load(const char *path, struct registry_set **ret, struct error *e) MUST_CHECK;
void registry_free(struct registry_set *set);

/* Valid until registry_free(). */
const struct registry *registry_block(const struct registry_set *set);

/* The registry_match_fn to give to core, with the set as ctx. A match that hits its limits is "no".
 */
bool registry_match(void *set, uint32_t pattern_id, struct str model);

/* The YAML text this binary was built with, for `purser registry show --source`. */
struct str registry_embedded_source(void);

static inline void
cleanup_registry(struct registry_set **set)
{
    registry_free(*set);
}
#define AUTO_REGISTRY __attribute__((cleanup(cleanup_registry)))

#endif
