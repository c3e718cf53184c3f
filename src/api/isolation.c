#include "api/isolation.h"

#include "api/plan.h"

void
isolation_warn(const struct api *a, json_t *list)
{
    if (a->o.isolation == API_ISOLATION_NONE)
        json_array_append_new(
            list, json_pack("{s:s, s:s}", "code", "NO_ISOLATION", "text", ISOLATION_NONE_TEXT));
}

void
isolation_warn_of(const struct api *a, const struct workspace_row *w, json_t *list)
{
    AUTO_JSON json_t *launch = json_loadb(w->launch.p, w->launch.n, 0, NULL);

    if (!plan_runtime_is_external(w->runtime) && json_object_get(launch, "image") == NULL)
        isolation_warn(a, list);
}
