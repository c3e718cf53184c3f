/*
 * An agent in a container. The shim's child does not become the agent: it stays, makes the
 * container, hands command and environment to purser-init through a socket that only this container
 * has, and ends as the agent ends. So the shim watches, logs and stops it like any other child.
 * Nothing secret goes through the engine's API or its storage, and the agent's output comes to us,
 * not to the engine.
 */
#ifndef LAUNCH_CONTAINER_H
#define LAUNCH_CONTAINER_H

#include "launch/child.h"

enum { CONTAINER_NAME_BYTES = 8 + ID_TEXT_BYTES };

/* "purser-<workspace>" */
void container_name(struct id workspace, char ret[static CONTAINER_NAME_BYTES]);
/* In the shim's child: runs the container to its end. memory holds the order and is wiped. */
_Noreturn void container_run(
    const struct order *order, const struct child_pipes *pipes, struct secret *memory);
/* Nothing of the workspace's container is left when this returns ERR_OK. */
enum err container_remove(const char *engine, struct id workspace, struct error *e) MUST_CHECK;

#endif
