/* From gathered inputs to the environment plan: what the gateway and the platform can do right now.
 */
#ifndef API_PLAN_H
#define API_PLAN_H

#include "api/gather.h"

/* The facts stay beside the plan: its texts (registry/explain.h) are made from both. */
struct plan {
    struct env_plan_facts facts;
    struct env_plan env;
    struct str *platform_keys; /* the providers that the platform has keys for */
    size_t platform_keys_n;
    const char *verified; /* what api/verify.h found of the credential; NULL: nobody looked */
};

/* The plan of this workspace as it would start now. Lives in arena, and points into g. */
void plan_make(struct api *a, const struct api_registry *registry, struct arena *arena,
    const struct gathered *g, struct plan *ret);
/* A refused plan as an error: its code, and the sentence that names the way out. ERR_OK: it is not. */
enum err plan_refusal(const struct plan *p, struct error *e) MUST_CHECK;

/* Appends the decision's and the plan's warnings, each {code, text}, to list. */
void plan_warnings(const struct gathered *g, const struct plan *p, json_t *list);

/* Is there a platform key for the vendor that serves this platform model? */
bool plan_platform_key_present(
    const struct registry *r, struct str model, const struct str *keys, size_t keys_n);

/* The private home of a workspace's agent. */
struct str plan_home(const struct api *a, struct arena *arena, struct id workspace);
/* external, kimi, kimi-cli: the agent runs somewhere else; nothing is started here. */
bool plan_runtime_is_external(struct str runtime);
/* A JSON array of strings, as the store keeps them, read into the arena. Garbled: empty. */
struct str *plan_list(struct arena *arena, struct str json, size_t *ret_n);

#endif
