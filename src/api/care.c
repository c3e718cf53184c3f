#include "api/care.h"

enum { START_TIMEOUT_MS = 600 * 1000, START_TIMEOUT_MAX_S = 86400 };

static struct lifecycle_care
resolve(const struct api *a, const struct registry *r, const struct workspace_row *w)
{
    const struct registry_runtime *rt = registry_runtime_find(r, w->runtime);
    struct lifecycle_care hint = {0};
    struct lifecycle_care otherwise = {READINESS_PROCESS, RESTART_ON_FAILURE,
        a->o.start_timeout_ms == 0 ? START_TIMEOUT_MS : a->o.start_timeout_ms};

    if (rt != NULL)
        hint = (struct lifecycle_care){(enum workspace_readiness)rt->readiness,
            (enum workspace_restart)rt->restart, rt->start_timeout_ms};
    return lifecycle_care_of(&w->care, &hint, &otherwise);
}

struct lifecycle_care
care_of(struct api *a, const struct workspace_row *w)
{
    struct registry_ref *registry = api_registry_acquire(a);
    struct lifecycle_care care = resolve(a, registry->set.registry, w);

    api_registry_release(a, registry);
    return care;
}

void
care_json(const struct api *a, const struct registry *r, const struct workspace_row *w, json_t *j)
{
    struct lifecycle_care care = resolve(a, r, w);

    json_object_set_new(j, "readiness", json_str(workspace_readiness_name(care.readiness)));
    json_object_set_new(j, "restart", json_str(workspace_restart_name(care.restart)));
    json_object_set_new(j, "start_timeout", json_integer(care.start_timeout_ms / 1000));
}

/* A word; *ret_word stays empty for null. False: it is absent. */
static bool
take_word(const json_t *body, const char *field, struct str *ret_word)
{
    const json_t *v = json_object_get(body, field);

    /* What is no text is no word of ours either. */
    if (v != NULL && !json_is_null(v))
        *ret_word = json_is_string(v) && json_string_length(v) > 0
            ? (struct str){json_string_value(v), json_string_length(v)}
            : STR("?");
    return v != NULL;
}

static enum err
start_timeout_read(const json_t *body, struct lifecycle_care *care, struct error *e)
{
    const json_t *v = json_object_get(body, "start_timeout");
    int64_t seconds = json_integer_value(v);

    if (v == NULL)
        return ERR_OK;
    if (!json_is_null(v) && (!json_is_integer(v) || seconds < 1 || seconds > START_TIMEOUT_MAX_S)) {
        return fail(e, ERR_INVALID_REQUEST,
            "\"start_timeout\" is a number of seconds from 1 to %d, or null", START_TIMEOUT_MAX_S);
    }
    care->start_timeout_ms = seconds * 1000;
    return ERR_OK;
}

enum err
care_read(const json_t *body, struct lifecycle_care *care, struct error *e)
{
    struct str ready = STR(""), restart = STR("");

    if (take_word(body, "readiness", &ready) &&
        !workspace_readiness_from_name(ready, &care->readiness))
        return fail(e, ERR_INVALID_REQUEST, "\"readiness\" is process or register, or null");
    if (take_word(body, "restart", &restart) &&
        !workspace_restart_from_name(restart, &care->restart))
        return fail(e, ERR_INVALID_REQUEST, "\"restart\" is never, on-failure or always, or null");
    return start_timeout_read(body, care, e);
}
