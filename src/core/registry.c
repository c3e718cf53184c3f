#include "core/registry.h"

const struct registry_provider *
registry_provider_find(const struct registry *r, struct str name)
{
    for (uint32_t i = 0; i < r->providers.n; i++) {
        const struct registry_provider *p = registry_provider_at(r, i);

        if (str_equal(registry_str(r, p->name), name))
            return p;
    }
    return NULL;
}

const struct registry_runtime *
registry_runtime_find(const struct registry *r, struct str name)
{
    for (uint32_t i = 0; i < r->runtimes.n; i++) {
        const struct registry_runtime *rt = registry_runtime_at(r, i);

        if (str_equal(registry_str(r, rt->name), name))
            return rt;
    }
    return NULL;
}

bool
registry_target_at(const struct registry *r, const struct registry_platform_model *m, uint32_t n,
    struct registry_target *ret)
{
    const struct registry_target *fallbacks =
        (const struct registry_target *)(const void *)((const char *)r + m->fallbacks.off);

    if (n > m->fallbacks.n)
        return false;
    *ret = n > 0 ? fallbacks[n - 1]
                 : (struct registry_target){
                       m->provider, m->vendor_model, m->max_output, m->max_prompt, m->prices};
    return true;
}

const struct registry_platform_model *
registry_platform_model_find(const struct registry *r, struct str id)
{
    for (uint32_t i = 0; i < r->platform_models.n; i++) {
        const struct registry_platform_model *m = registry_platform_model_at(r, i);

        if (str_equal(registry_str(r, m->id), id))
            return m;
    }
    return NULL;
}

static const struct registry_vendor_model *
vendor_model_exact(const struct registry *r, const struct registry_provider *p, struct str id)
{
    const struct registry_vendor_model *models = registry_vendor_models(r, p);

    for (uint32_t i = 0; i < p->models.n; i++) {
        if (str_equal(registry_str(r, models[i].id), id))
            return &models[i];
    }
    return NULL;
}

/* "claude-haiku-4-5-20251001" -> "claude-haiku-4-5"; anything else as it is. */
static struct str
cut_date(struct str id)
{
    enum { DATE_CHARS = 9 };

    if (id.n <= DATE_CHARS || id.p[id.n - DATE_CHARS] != '-')
        return id;
    for (size_t i = id.n - DATE_CHARS + 1; i < id.n; i++) {
        if (id.p[i] < '0' || id.p[i] > '9')
            return id;
    }
    return str_slice(id, 0, id.n - DATE_CHARS);
}

const struct registry_vendor_model *
registry_vendor_model_find(
    const struct registry *r, const struct registry_provider *p, struct str id)
{
    const struct registry_vendor_model *m = vendor_model_exact(r, p, id);
    struct str undated = cut_date(id);

    return m != NULL || undated.n == id.n ? m : vendor_model_exact(r, p, undated);
}

bool
registry_list_has_name(const struct registry *r, struct rlist list, struct str name)
{
    const struct rstr *names = registry_strs(r, list);

    for (uint32_t i = 0; i < list.n; i++) {
        if (str_equal_name(registry_str(r, names[i]), name))
            return true;
    }
    return false;
}

bool
registry_is_vendor_key(const struct registry *r, struct str name)
{
    return registry_list_has_name(r, r->bypass_names, name);
}

bool
registry_is_base_url(const struct registry *r, struct str name)
{
    return registry_list_has_name(r, r->bypass_urls, name);
}

bool
registry_is_auth_name(const struct registry *r, struct str name)
{
    for (uint32_t i = 0; i < r->providers.n; i++) {
        if (registry_list_has_name(r, registry_provider_at(r, i)->auth_env, name))
            return true;
    }
    return false;
}

void
registry_fingerprint_hex(const struct registry *r, char ret[static 65])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof(r->fingerprint); i++) {
        ret[2 * i] = digits[r->fingerprint[i] >> 4];
        ret[2 * i + 1] = digits[r->fingerprint[i] & 15];
    }
    ret[64] = '\0';
}
