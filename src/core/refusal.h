/* What the gateway answers when it does not pass a call on, in the shape of the dialect called. */
#ifndef CORE_REFUSAL_H
#define CORE_REFUSAL_H

#include "core/dialect.h"

enum refusal {
    REFUSAL_NONE,
#define X(name, as, at, os, ot, oc, retry, text) REFUSAL_##name,
#include "core/refusal.def"
#undef X
    REFUSAL_COUNT
};

/* "MODEL_NOT_GRANTED" ... */
struct str refusal_name(enum refusal r);
/* The sentence that goes with it; "" for NONE. */
struct str refusal_text(enum refusal r);
int refusal_status(enum refusal r, enum dialect d);
bool refusal_may_retry(enum refusal r);

enum { REFUSAL_BODY_MAX = 1024 };

/*
 * Writes the JSON body and returns its length (at most REFUSAL_BODY_MAX). detail: a further
 * sentence
 * that stands in front of the refusal's own, may be empty; it is escaped and cut to what fits.
 */
size_t refusal_body(enum refusal r, enum dialect d, struct str detail, struct str request_id,
    char ret[static REFUSAL_BODY_MAX]);

#endif
