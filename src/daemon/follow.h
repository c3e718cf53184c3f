/*
 * What the other purserds on this store change reaches this node's gateway: any node may be asked,
 * so every live usage token is published on all of them, budgets hold on all of them, events are told
 * by all of them, and what is wanted of an agent comes to the node on which it runs.
 */
#ifndef DAEMON_FOLLOW_H
#define DAEMON_FOLLOW_H

#include "api/api.h"
#include "daemon/budgets.h"
#include "edge/edge.h"
#include "store/store.h"

struct follow;

/* Two threads that run until follow_stop(): one for tokens, one for the platform's keys. */
struct follow *follow_start(
    struct store *store, struct edge *edge, struct budgets *budgets, struct api *api);
/* Waits for what is under way. NULL is fine. */
void follow_stop(struct follow *f);

#endif
