/* The store's object itself, for store.c, node.c and watch.c. Internal to this folder. */
#ifndef STORE_IMPL_H
#define STORE_IMPL_H

#include "store/db.h"
#include "store/store.h"

#include <pthread.h>

enum { STORE_POOL_SIZE = 8 };

struct store {
    const struct db_driver *driver;
    char *url; /* owned; target points into it */
    struct str target;
    struct id node;
    struct id instance; /* this object: who sent a notice */
    struct db_fault fault;
    store_event_fn *on_event; /* may be NULL */
    void *on_event_ctx;
    struct db
        *keeper; /* a purserd's: holds the mark of the served store; the watch's once it runs */

    pthread_mutex_t lock; /* guards the pool */
    pthread_cond_t freed;
    struct db *idle[STORE_POOL_SIZE];
    size_t idle_n;
    size_t open_n; /* idle and in use */

    pthread_mutex_t writer;       /* engines with one writer: held for each write transaction */
    pthread_mutex_t durable_lock; /* held while the durable connection is in use */
    struct db *durable;           /* NULL until first used */
};

/*
 * A new connection that marks the store as served. ERR_STATE_LOCKED while it is migrated or copied.
 */
enum err store_keeper_open(struct store *s, struct db **ret, struct error *e) MUST_CHECK;
/* A connection to a store that nobody serves; ERR_STATE_LOCKED names it by which otherwise. */
enum err store_open_alone(
    struct str url, const char *which, unsigned how, struct db **ret, struct error *e) MUST_CHECK;
/*
 * Finds or makes s->node and its row. node_file empty: the oldest row of the store. Otherwise the
 * id that is kept in that file; when there is none yet, an engine of one machine gives its oldest
 * row, one for many a new id.
 */
enum err node_claim(struct store *s, struct str node_file, struct error *e) MUST_CHECK;
/* The node lives now, also for those who had given it up and removed its row. */
enum err node_seen(struct store_tx *tx, struct id node, struct error *e) MUST_CHECK;
/*
 * This node's id is ours alone while the keeper's connection lives. ERR_STATE_LOCKED: another
 * purserd serves as the same node.
 */
enum err node_hold(struct store *s, struct error *e) MUST_CHECK;

#endif
