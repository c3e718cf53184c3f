/*
 * How a workspace's agent is looked after: as its own fields say, then its runtime in the registry,
 * then the server.
 */
#ifndef API_CARE_H
#define API_CARE_H

#include "api/impl.h"
#include "store/workspace_row.h"

/* With the registry in force. Nothing is unset. */
struct lifecycle_care care_of(struct api *a, const struct workspace_row *w);
/* readiness, restart and start_timeout of an answer: what holds by this registry. */
void care_json(
    const struct api *a, const struct registry *r, const struct workspace_row *w, json_t *j);
/* The three fields of a body; null: unset. What is absent stays. */
enum err care_read(const json_t *body, struct lifecycle_care *care, struct error *e) MUST_CHECK;

#endif
