/* What agents say of themselves: POST /registry/register, /registry/heartbeat, update-card. */
#ifndef API_HEARTBEAT_H
#define API_HEARTBEAT_H

#include "api/impl.h"

/* As people see it; NULL-free: an agent that was never heard has nulls. Reads the store. */
enum err heartbeat_json(
    struct call *c, struct id workspace, json_t **ret, struct error *e) MUST_CHECK;

#endif
