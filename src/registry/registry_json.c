#include "registry/registry_json.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "core/lifecycle.h"

#include <sodium.h>

static const struct str kind_names[PROVIDER_KIND_COUNT] = {
    [PROVIDER_API_KEY] = STR_INIT("api-key"),
    [PROVIDER_SUBSCRIPTION] = STR_INIT("subscription"),
    [PROVIDER_PLATFORM] = STR_INIT("platform"),
    [PROVIDER_KEYLESS] = STR_INIT("keyless"),
    [PROVIDER_NO_KEY] = STR_INIT("no-key"),
};

struct str
registry_kind_name(enum provider_kind kind)
{
    return kind_names[kind];
}

static json_t *
text(struct str s)
{
    return json_stringn(s.n == 0 ? "" : s.p, s.n);
}

static json_t *
rtext(const struct registry *r, struct rstr s)
{
    return text(registry_str(r, s));
}

static json_t *
texts(const struct registry *r, struct rlist list)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < list.n; i++)
        json_array_append_new(array, rtext(r, registry_strs(r, list)[i]));
    return array;
}

/* A number that was given: what says nothing is left out, and changes no fingerprint. */
static void
set_number(json_t *object, const char *key, int64_t value)
{
    if (value != 0)
        json_object_set_new(object, key, json_integer((json_int_t)value));
}

json_t *
registry_json_prices(const struct registry *r, struct rlist list)
{
    const struct price *rows = (const struct price *)(const void *)((const char *)r + list.off);
    json_t *array = json_array();

    for (uint32_t i = 0; i < list.n; i++) {
        json_t *row = json_pack("{sI sI sI sI sI sI sI}", "from_ms", (json_int_t)rows[i].from_ms,
            "above_tokens", (json_int_t)rows[i].above_tokens, "input", (json_int_t)rows[i].input,
            "output", (json_int_t)rows[i].output, "cache_read", (json_int_t)rows[i].cache_read,
            "cache_write_5m", (json_int_t)rows[i].cache_write_5m, "cache_write_1h",
            (json_int_t)rows[i].cache_write_1h);

        set_number(row, "web_search", rows[i].web_search);
        json_array_append_new(array, row);
    }
    return array;
}

static json_t *
endpoints(const struct registry *r, const struct registry_provider *p)
{
    json_t *object = json_object();

    for (int d = 0; d < DIALECT_COUNT; d++) {
        const struct registry_endpoint *endpoint = &p->endpoint[d];

        if (endpoint->present)
            json_object_set_new(object, dialect_name((enum dialect)d).p,
                json_pack("{so so}", "base_url", rtext(r, endpoint->base_url), "header",
                    text(auth_header_name((enum auth_header)endpoint->header))));
    }
    return object;
}

static json_t *
vendor_models(const struct registry *r, const struct registry_provider *p)
{
    const struct registry_vendor_model *models = registry_vendor_models(r, p);
    json_t *array = json_array();

    for (uint32_t i = 0; i < p->models.n; i++) {
        json_t *model = json_pack("{so sI so}", "id", rtext(r, models[i].id), "max_output",
            (json_int_t)models[i].max_output, "prices", registry_json_prices(r, models[i].prices));

        set_number(model, "max_prompt", models[i].max_prompt);
        json_array_append_new(array, model);
    }
    return array;
}

static json_t *
verify(const struct registry *r, const struct registry_provider *p)
{
    if (!p->verify.present)
        return json_null();
    return json_pack("{so so}", "endpoint", text(dialect_name((enum dialect)p->verify.dialect)),
        "path", rtext(r, p->verify.path));
}

/* Only what differs from the gateway's own habits. */
static void
add_routing(json_t *object, const struct registry_provider *p)
{
    json_t *timeouts = json_object(), *drain = json_object();

    set_number(timeouts, "connect_ms", p->connect_ms);
    set_number(timeouts, "first_byte_ms", p->first_byte_ms);
    set_number(timeouts, "idle_ms", p->idle_ms);
    set_number(drain, "drain_ms", p->drain_ms);
    set_number(drain, "max_nano_usd", p->drain_nano_usd);
    set_number(object, "bills_answered_model", p->bills_answered);
    if (json_object_size(timeouts) > 0)
        json_object_set(object, "timeouts", timeouts);
    if (json_object_size(drain) > 0)
        json_object_set(object, "on_client_abort", drain);
    json_decref(timeouts);
    json_decref(drain);
}

json_t *
registry_json_provider(const struct registry *r, const struct registry_provider *p)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", rtext(r, p->name));
    json_object_set_new(object, "display_name", rtext(r, p->display_name));
    json_object_set_new(object, "kind", text(kind_names[p->kind]));
    json_object_set_new(object, "auth_env", texts(r, p->auth_env));
    json_object_set_new(object, "auth_token_env", texts(r, p->inject_env));
    json_object_set_new(object, "base_url_env", texts(r, p->base_url_env));
    json_object_set_new(object, "other_env", texts(r, p->other_env));
    if (p->key_prefixes.n > 0)
        json_object_set_new(object, "key_prefixes", texts(r, p->key_prefixes));
    json_object_set_new(object, "model_prefix_match", rtext(r, p->pattern));
    json_object_set_new(object, "upstream_vendor", rtext(r, p->upstream_vendor));
    json_object_set_new(object, "endpoints", endpoints(r, p));
    json_object_set_new(object, "verify", verify(r, p));
    json_object_set_new(object, "models", vendor_models(r, p));
    add_routing(object, p);
    return object;
}

static json_t *
arms(const struct registry *r, const struct registry_runtime *rt)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        const struct registry_arm *arm = &registry_arms(r, rt)[i];

        json_array_append_new(array,
            json_pack("{so so}", "name", rtext(r, registry_provider_at(r, arm->provider)->name),
                "models", texts(r, arm->models)));
    }
    return array;
}

static json_t *
files(const struct registry *r, const struct registry_runtime *rt)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < rt->files.n; i++) {
        const struct registry_file *file = &registry_files(r, rt)[i];

        json_array_append_new(array,
            json_pack("{so so sb so}", "path", rtext(r, file->path), "for",
                texts(r, file->providers), "refreshed", (int)file->refreshed, "content",
                texts(r, file->content)));
    }
    return array;
}

/* As add_routing(): what the registry leaves to us is left out. */
static void
add_care(json_t *object, const struct registry_runtime *rt)
{
    struct str ready = workspace_readiness_name((enum workspace_readiness)rt->readiness);
    struct str restart = workspace_restart_name((enum workspace_restart)rt->restart);

    if (ready.n > 0)
        json_object_set_new(object, "readiness", text(ready));
    if (restart.n > 0)
        json_object_set_new(object, "restart", text(restart));
    set_number(object, "start_timeout", rt->start_timeout_ms / 1000);
}

json_t *
registry_json_runtime(const struct registry *r, const struct registry_runtime *rt)
{
    json_t *object = json_object();

    json_object_set_new(object, "name", rtext(r, rt->name));
    json_object_set_new(object, "dialect", text(dialect_name((enum dialect)rt->dialect)));
    json_object_set_new(object, "anthropic_native", json_boolean(rt->anthropic_native));
    json_object_set_new(object, "command", texts(r, rt->command));
    json_object_set_new(object, "base_env", texts(r, rt->base_env));
    json_object_set_new(object, "required_env", texts(r, rt->required_env));
    json_object_set_new(object, "precedence", texts(r, rt->precedence));
    json_object_set_new(object, "model_env", texts(r, rt->model_env));
    json_object_set_new(object, "platform_model_env", texts(r, rt->platform_model_env));
    json_object_set_new(object, "files", files(r, rt));
    add_care(object, rt);
    json_object_set_new(object, "providers", arms(r, rt));
    return object;
}

static json_t *
target(const struct registry *r, const struct registry_target *t)
{
    json_t *object = json_pack("{so so sI so}", "provider",
        rtext(r, registry_provider_at(r, t->provider)->name), "model", rtext(r, t->vendor_model),
        "max_output", (json_int_t)t->max_output, "prices", registry_json_prices(r, t->prices));

    set_number(object, "max_prompt", t->max_prompt);
    return object;
}

json_t *
registry_json_platform_model(const struct registry *r, const struct registry_platform_model *m)
{
    struct registry_target t;
    json_t *object, *fallbacks = json_array();

    (void)registry_target_at(r, m, 0, &t);
    object = target(r, &t);
    json_object_set_new(object, "id", rtext(r, m->id));
    for (uint32_t i = 1; registry_target_at(r, m, i, &t); i++)
        json_array_append_new(fallbacks, target(r, &t));
    if (json_array_size(fallbacks) > 0)
        json_object_set(object, "fallbacks", fallbacks);
    json_decref(fallbacks);
    return object;
}

json_t *
registry_json(const struct registry *r)
{
    json_t *providers = json_array();
    json_t *runtimes = json_array();
    json_t *menu = json_array();

    for (uint32_t i = 0; i < r->providers.n; i++)
        json_array_append_new(providers, registry_json_provider(r, registry_provider_at(r, i)));
    for (uint32_t i = 0; i < r->runtimes.n; i++)
        json_array_append_new(runtimes, registry_json_runtime(r, registry_runtime_at(r, i)));
    for (uint32_t i = 0; i < r->platform_models.n; i++)
        json_array_append_new(
            menu, registry_json_platform_model(r, registry_platform_model_at(r, i)));
    return json_pack("{si so so so so so so so}", "schema_version", 1, "providers", providers,
        "runtimes", runtimes, "platform_models", menu, "other_vendor_keys", texts(r, r->extra_keys),
        "other_redirects", texts(r, r->extra_redirects), "vendor_keys", texts(r, r->bypass_names),
        "redirects", texts(r, r->bypass_urls));
}

char *
registry_canonical(const struct registry *r)
{
    json_t *json = registry_json(r);
    char *dump = json == NULL ? NULL : json_dumps(json, JSON_SORT_KEYS | JSON_COMPACT);

    /* Names are ASCII; a text that is not UTF-8 cannot come out of the YAML reader. */
    ENSURE(dump != NULL);
    json_decref(json);
    return dump;
}

void
registry_fingerprint_set(struct registry *r)
{
    AUTO_FREE char *canonical = registry_canonical(r);

    crypto_hash_sha256(r->fingerprint, (const unsigned char *)canonical, strlen(canonical));
}
