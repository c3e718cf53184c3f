/*
 * Replaces secrets in a stream of output by "[NAME]", whatever pieces the stream comes in: the
 * result is the same for every split. What may yet turn out to be a secret is held back until more
 * comes or the stream ends; that is at most the longest secret less one byte. Overlapping secrets
 * go completely. A secret that was encoded, or printed with other bytes in between, is not
 * recognised.
 */
#ifndef LAUNCH_SCRUB_H
#define LAUNCH_SCRUB_H

#include "vault/secret.h"

/* Shorter values would tear holes into ordinary words, and guard nothing. */
enum { SCRUB_MIN_BYTES = 8 };

struct scrub;

/* A secret of the agent: borrowed during scrub_new() only. */
struct scrub_word {
    struct str name;
    struct str value;
};

typedef void scrub_out_fn(void *ctx, struct str piece);

/* Words below SCRUB_MIN_BYTES are left out. Values are copied into locked memory. */
enum err scrub_new(
    const struct scrub_word *words, size_t n, struct scrub **ret, struct error *e) MUST_CHECK;
/* Wipes and frees; NULL is fine. */
void scrub_free(struct scrub *s);
void scrub_feed(struct scrub *s, struct str in, scrub_out_fn *out, void *ctx);
/* The stream ended: gives what is held back. A beginning of a secret that is long enough goes too.
 */
void scrub_end(struct scrub *s, scrub_out_fn *out, void *ctx);

#endif
