/*
 * Open event streams (server-sent events): each is a request that goes on, on a listener of its own
 * (http_options.streams), in a thread that waits until its org has something new. Events are read
 * from the store, which is the truth; a commit on this node wakes those it concerns at once, what
 * other nodes wrote is found within two seconds.
 */
#ifndef API_STREAM_H
#define API_STREAM_H

#include "api/impl.h"

struct streams *streams_new(void);
/* Ends all; they answer their last bytes and return. NULL is fine, for both. */
void streams_close(struct streams *s);
void streams_free(struct streams *s);
/* An org has a new event; id zero: several have. Any thread. */
void streams_wake(void *streams, struct id org);

/*
 * Turns the request into a stream of the org's events (workspace zero: all of them) with numbers
 * above after; first is that of the oldest one there is: were some removed in between, it says so.
 * ERR_TOO_MANY_STREAMS when the org, or everybody together, has too many.
 */
enum err stream_open(
    struct call *c, struct id workspace, int64_t after, int64_t first, struct error *e) MUST_CHECK;
/* An event as people and programs see it, in streams and lists alike. */
struct event_row;
json_t *event_json(const struct event_row *ev);

#endif
