/*
 * `purser up --demo`: everything at once for somebody who has five minutes and no vendor key. The
 * built-in fake vendor runs inside `purser up`, every vendor's URL leads there, and a first agent
 * makes a first metered call, shown step by step.
 */
#ifndef CLI_DEMO_H
#define CLI_DEMO_H

#include "daemon/up.h"

struct demo;

struct demo_options {
    const struct settings *settings;
    const char *sim_listen; /* NULL: a free port of 127.0.0.1 */
    bool once;              /* end after the call */
};

/*
 * Starts the fake vendor with keys made for this run. ERR_CONFLICT when the state directory holds
 * something that is not a demo: its platform keys would be replaced.
 */
enum err demo_new(const struct demo_options *o, struct demo **ret, struct error *e) MUST_CHECK;
/* Stops the fake vendor; NULL is fine. */
void demo_free(struct demo *d);
const char *demo_vendor_url(const struct demo *d);

/* An up_serving_fn; ctx is the struct demo. */
enum err demo_run(void *ctx, struct up *u, bool *ret_stop, struct error *e);
/* The last line of `--once`: one JSON object on stdout. False when the demo did not come so far. */
bool demo_print_result(const struct demo *d);

#endif
