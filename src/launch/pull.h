/*
 * What a container engine says while it fetches an image: one JSON object a line, {"status", "id",
 * "progress"} or {"error"}, in whatever pieces it comes. The same for every split.
 */
#ifndef LAUNCH_PULL_H
#define LAUNCH_PULL_H

#include "base/buf.h"
#include "launch/engine.h"

struct pull {
    struct buf line;
    engine_progress_fn *progress; /* may be NULL */
    void *ctx;
    char problem[200]; /* the last one told; empty: none */
};

void pull_init(struct pull *p, engine_progress_fn *progress, void *ctx);
void pull_done(struct pull *p);
/* False when a line is longer than any engine writes; nothing more is to be fed then. */
bool pull_feed(struct pull *p, struct str bytes);
/* The answer ended: its last line may lack the line feed. */
void pull_end(struct pull *p);

#endif
