/*
 * The audit trail that the audit commands read: of a server, or (--state, --store) of a store without
 * one.
 */
#ifndef CLI_AUDIT_TRAIL_H
#define CLI_AUDIT_TRAIL_H

#include "base/ids.h"
#include "cli/session.h"
#include "store/store.h"

/* Zero-initialised. */
struct trail {
    struct session session;
    const char *state;
    const char *url; /* of a store, instead of a state directory */
    struct store *store;
    char workspace[ID_TEXT_BYTES]; /* empty: all of the org, or of every org */
};

void trail_done(struct trail *t);
#define AUTO_TRAIL __attribute__((cleanup(trail_done)))

/* The rows that every subcommand has. */
#define TRAIL_OPTIONS(t)                                                                           \
    {"state", "DIR", "offline: read the store of this state directory (or of PURSER_STORE)",       \
        .text = &(t).state},                                                                       \
        {"store", "URL", "offline: read this store (postgresql://...)", .text = &(t).url},         \
        CLIENT_OPTIONS((t).session.options)

/* workspace may be NULL. False: return t->session.exit_code. */
bool trail_begin(struct trail *t, const struct command_line *line, int argc, char **argv,
    const char **workspace);
bool trail_is_offline(const struct trail *t);

/* Calls each with every record, newest first; false ends it. */
typedef bool trail_record_fn(void *ctx, json_t *record);
enum err trail_each(struct trail *t, trail_record_fn *each, void *ctx, struct error *e) MUST_CHECK;

/* A text of what is shown; "" when it is not there. */
const char *trail_text(const json_t *o, const char *field);

#endif
