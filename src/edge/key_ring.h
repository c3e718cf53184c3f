/*
 * The platform's keys on their way from the vault to nginx's master: one message in locked memory,
 * handed to whoever connects to RUN/keys.sock and runs as us or as root.
 */
#ifndef EDGE_KEY_RING_H
#define EDGE_KEY_RING_H

#include "edge/edge.h"

/* What edge_keys_fn fills. */
struct edge_keys {
    struct secret *message; /* room of KEYWIRE_MAX_BYTES */
    size_t n;
    uint32_t keys_n;
};

enum err key_ring_new(struct edge_keys *ret, struct error *e) MUST_CHECK;
void key_ring_done(struct edge_keys *k);
/* Writes the message's header; call once after the last key. */
void key_ring_seal(struct edge_keys *k);
bool key_ring_has(const struct edge_keys *k, struct str provider);
bool key_ring_has_id(const struct edge_keys *k, struct id id);

/* Binds and listens; 0600, so that only we and root can connect. Returns the descriptor. */
enum err key_ring_listen(const char *path, int *ret_fd, struct error *e) MUST_CHECK;
/* Answers one waiting connection. False when the peer may not have keys or went away. */
bool key_ring_serve(int listen_fd, const struct edge_keys *k);

#endif
