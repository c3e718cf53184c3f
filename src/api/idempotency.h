/*
 * Idempotency-Key on writes: a repeated request gets the first one's answer and has no second
 * effect, for a day. Answers that carry a credential are not kept; a repetition is told that it was
 * done
 * (409).
 */
#ifndef API_IDEMPOTENCY_H
#define API_IDEMPOTENCY_H

#include "api/impl.h"

/* Runs the call's handler, or answers from what is remembered. */
enum err idempotency_run(struct call *c, struct error *e) MUST_CHECK;

#endif
