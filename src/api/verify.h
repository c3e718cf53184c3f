/*
 * Is a credential any good? A cheap authenticated call tells, to the registry's own URL of the
 * provider and to no other, before an agent finds out the hard way. The registry says which call;
 * a provider without one is not asked. Only a clear no (401, 403) counts: a vendor that is away or
 * in trouble refuses nobody. Answers are kept for a while by the value's fingerprint.
 */
#ifndef API_VERIFY_H
#define API_VERIFY_H

#include "api/plan.h"

enum verify_result {
    VERIFY_NOT_ASKED, /* off, nothing to ask, or the calls go to a URL of the workspace's own */
    VERIFY_GOOD,
    VERIFY_BAD,
    VERIFY_UNKNOWN, /* no clear answer */
    VERIFY_RESULT_COUNT
};

/* "not asked", "good", "bad", "unknown": what decision records hold. */
const char *verify_result_name(enum verify_result r);

struct verifier;
struct verifier *verifier_new(void);
void verifier_free(struct verifier *v); /* NULL is fine */

struct verify_outcome {
    enum verify_result result;
    /* With VERIFY_BAD: which, and the sentence with the way out. */
    struct str name;
    struct error problem;
};

/* Bounded to a few seconds; never inside a transaction. */

/* One value that is about to be stored as name, for the provider that the decision resolved. */
struct verify_outcome verify_value(struct api *a, const struct registry *r,
    const struct gathered *g, struct str name, struct str value);
/* The credential that the plan's agent is meant to use. Gathered with values. */
struct verify_outcome verify_plan(
    struct api *a, const struct registry *r, const struct gathered *g, const struct plan *p);

/* ERR_INVALID_BYOK_CREDENTIAL when it is bad and bad ones are refused. */
enum err verify_refusal(
    const struct api *a, const struct verify_outcome *o, struct error *e) MUST_CHECK;
/* [{code, text}] of an outcome that is only warned of; NULL: there is nothing to say. */
json_t *verify_warning(const struct api *a, const struct verify_outcome *o);

#endif
