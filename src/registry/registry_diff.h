/*
 * What a change of the registry means: for which (runtime, model) the payer, the provider or the
 * price becomes another one, and which names enter or leave the list of vendor keys.
 */
#ifndef REGISTRY_REGISTRY_DIFF_H
#define REGISTRY_REGISTRY_DIFF_H

#include "base/buf.h"
#include "registry/registry_load.h"

/*
 * Writes one line per difference in words and returns how many there are. at_ms: the moment that
 * prices are compared at.
 */
size_t registry_diff(
    struct buf *out, struct registry_set *from, struct registry_set *to, int64_t at_ms);

#endif
