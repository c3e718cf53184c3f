/*
 * The policy as a file: made, replaced, grown and kept young. One writer: purserd. A new file takes
 * the old one's name before the old header says "superseded", so a worker that looks always finds
 * a whole one.
 */
#ifndef EDGE_POLICY_FILE_H
#define EDGE_POLICY_FILE_H

#include "base/ids.h"
#include "core/policy.h"
#include "edge/routes.h"

struct policy_file {
    char *path;
    uint32_t gid; /* group that may read; 0: none */
    int64_t max_age_ms;
    uint64_t counters_generation; /* whose places the tokens name; set before the first publish */
    struct policy policy;         /* mapped read-write; header NULL: none yet */
    size_t bytes;
    uint32_t used; /* token slots that are not empty */
};

void policy_file_init(struct policy_file *f, struct str path, uint32_t gid, int64_t max_age_ms);
/* Lets go of the mapping; the file stays. */
void policy_file_done(struct policy_file *f);

/*
 * Publishes a new file with these routes. The tokens of the one before are kept, also those that an
 * earlier purserd left behind: agents that run go on calling. Grants follow their models' names.
 */
enum err policy_file_replace(struct policy_file *f, const struct routes *routes,
    const uint8_t fingerprint[static 32], struct error *e) MUST_CHECK;
/* Puts a token; grows the file when it is getting full. */
enum err policy_file_put(
    struct policy_file *f, const struct policy_token *t, struct error *e) MUST_CHECK;
/* The digests of all live tokens, to be freed by the caller; returns how many. */
size_t policy_file_digests(const struct policy_file *f, uint8_t (**ret)[32]);
void policy_file_remove(struct policy_file *f, const uint8_t digest[static 32]);
/* Purserd lives: the policy is as young as now. */
void policy_file_confirm(struct policy_file *f, int64_t now_ms);

#endif
