/*
 * Checkpoints: once a minute the heads of this node's chains that moved are signed with the node's
 * key (STATE/node-key, Ed25519) and stored. Who kept a checkpoint elsewhere can tell later whether
 * entries were cut off or a chain was computed anew.
 */
#ifndef DAEMON_CHECKPOINTS_H
#define DAEMON_CHECKPOINTS_H

#include "store/anchor_row.h"

struct checkpoints;

enum err checkpoints_open(struct store *s, const char *key_path, int64_t every_ms,
    struct checkpoints **ret, struct error *e) MUST_CHECK;
/* Signs once more. NULL is fine. */
void checkpoints_close(struct checkpoints *c);

/* One round: signs what is due. *ret_n: how many. */
enum err checkpoints_sign(struct checkpoints *c, size_t *ret_n, struct error *e) MUST_CHECK;

/* Signs where a chain begins, with the same key. Safe for threads. */
void checkpoints_sign_anchor(const struct checkpoints *c, struct anchor_row *anchor);
void checkpoints_public_key(const struct checkpoints *c, uint8_t ret[static CHECKPOINT_KEY_BYTES]);

#endif
