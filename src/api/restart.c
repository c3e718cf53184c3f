#include "api/restart.h"

#include "api/agent.h"

enum { RESTART_DELAY_MS = 2000 };

void
restart_soon(struct api *a, struct id org, struct id workspace)
{
    later_put(a, LATER_RESTART, org, workspace, (struct id){0}, RESTART_DELAY_MS);
}

void
restart_due(struct api *a, const struct later_entry *entry)
{
    struct agent_request q = {.caller = GATHER_RESTART,
        .org = entry->org,
        .workspace = entry->workspace,
        .changed_ms = entry->asked_ms,
        .automatic = true};

    agent_act_later(a, &q, agent_restart, "restart: its model or secrets changed");
}
