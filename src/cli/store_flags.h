/* Which store a command means that works on it directly: --store, or what the settings say. */
#ifndef CLI_STORE_FLAGS_H
#define CLI_STORE_FLAGS_H

#include "cli/serve_flags.h"
#include "store/store.h"

struct store_flags {
    const char *store, *state, *config;
    struct settings settings;
    bool loaded;
    struct str url; /* after store_flags_url() */
};

enum { STORE_FLAGS_OPTIONS = 3 };

/* Fills in --store, --state and --config; returns their number. */
size_t store_flags_options(struct store_flags *f, struct option *ret);
enum err store_flags_url(struct store_flags *f, struct error *e) MUST_CHECK;
void store_flags_done(struct store_flags *f);
#define AUTO_STORE_FLAGS __attribute__((cleanup(store_flags_done)))

#endif
