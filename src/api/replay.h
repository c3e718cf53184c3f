/*
 * A recorded decision, made again from what its record says: with the registry of then, to see that
 * it was what the rules say; with another one, to see what would become of it. Reads what
 * api/decision.c writes.
 */
#ifndef API_REPLAY_H
#define API_REPLAY_H

#include "api/api.h"

#include <jansson.h>

/*
 * record is a decision record. *ret is a new reference: an array of sentences, one for each
 * difference between what was recorded and what comes out now; empty: none. The trace's steps are
 * compared only when the record names this very registry, since another one has other providers to
 * consider. Sentences for people are not compared.
 * ERR_INVALID_REQUEST: it is no record, or of a version that is not known here.
 */
enum err replay_record(
    const struct api_registry *registry, json_t *record, json_t **ret, struct error *e) MUST_CHECK;

#endif
