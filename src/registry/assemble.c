#include "registry/loader.h"

#include "base/cleanup.h"
#include "core/policy.h"
#include "core/recorder.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct str
text_of(struct loader *l, struct rstr s)
{
    return registry_str(block_registry(&l->block), s);
}

static bool
find_upstream(struct loader *l, struct str vendor, uint32_t *ret)
{
    for (size_t i = 0; i < l->providers_n && vendor.n > 0; i++) {
        if (str_equal(text_of(l, l->providers[i].upstream_vendor), vendor)) {
            *ret = (uint32_t)i;
            return true;
        }
    }
    return false;
}

/* An upstream vendor before the first '/', or failing that before the first ':'; the rest not
 * empty. */
static bool
cut_route(struct loader *l, struct str id, uint32_t *ret_provider, struct str *ret_model)
{
    static const char separators[] = {'/', ':'};

    for (size_t i = 0; i < COUNT(separators); i++) {
        size_t at = str_find_char(id, separators[i]);

        if (at + 1 < id.n && find_upstream(l, str_slice(id, 0, at), ret_provider)) {
            *ret_model = str_slice(id, at + 1, id.n);
            return true;
        }
    }
    return false;
}

static enum err
read_route(struct loader *l, const struct yaml_node *map, uint32_t *ret_provider,
    struct str *ret_model, struct error *e)
{
    static const struct str fields[] = {STR_INIT("provider"), STR_INIT("model")};
    struct str provider = STR("");
    enum err err = yaml_check_map(&l->doc, map, "a route", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("provider"), YAML_REQUIRED, &provider, e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("model"), YAML_REQUIRED, ret_model, e);
    if (err == ERR_OK)
        err = loader_text(l, yaml_find(map, STR("model")), false, ret_model, e);
    if (err != ERR_OK)
        return err;
    if (!loader_find_provider(l, provider, ret_provider) || l->providers[*ret_provider].is_platform)
        return yaml_fail(&l->doc, yaml_find(map, STR("provider")), e,
            "there is no provider \"%.*s\" to route to", STR_ARG(provider));
    return ERR_OK;
}

/* Of one date no more rows than a call in flight can hold; more would refuse every call. */
static enum err
check_rows(struct loader *l, const struct yaml_node *id, const struct registry_vendor_model *model,
    size_t tiers_max, struct error *e)
{
    const struct price *rows =
        (const struct price *)(const void *)((const char *)block_registry(&l->block) +
            model->prices.off);
    struct str name = text_of(l, model->id);
    size_t tiers = 0;

    if (model->prices.n > POLICY_PRICES_MAX)
        return yaml_fail(&l->doc, id, e,
            "platform id \"%.*s\": model \"%.*s\" has more than %d prices", STR_ARG(id->text),
            STR_ARG(name), POLICY_PRICES_MAX);
    for (uint32_t i = 0; i < model->prices.n; i++) {
        tiers = i > 0 && rows[i].from_ms == rows[i - 1].from_ms ? tiers + 1 : 1;
        if (tiers > tiers_max)
            return yaml_fail(&l->doc, id, e,
                "platform id \"%.*s\": model \"%.*s\" has more than %zu prices of one date",
                STR_ARG(id->text), STR_ARG(name), tiers_max);
    }
    return ERR_OK;
}

/* What the vendor may bill instead of the model that it is asked for. */
static enum err
check_billed(struct loader *l, const struct yaml_node *id, const struct registry_provider *p,
    const struct registry_vendor_model *asked, struct error *e)
{
    const struct registry_vendor_model *models =
        registry_vendor_models(block_registry(&l->block), p);
    enum err err = ERR_OK;

    if (!p->bills_answered)
        return ERR_OK;
    if (p->models.n > POLICY_BILLED_MAX + 1)
        return yaml_fail(&l->doc, id, e,
            "platform id \"%.*s\": provider \"%.*s\" bills the model it answers with "
            "(bills_answered_model), so it may list at most %d models",
            STR_ARG(id->text), STR_ARG(text_of(l, p->name)), POLICY_BILLED_MAX + 1);
    for (uint32_t i = 0; i < p->models.n && err == ERR_OK; i++) {
        if (&models[i] != asked)
            err = check_rows(l, id, &models[i], RECORDER_BILLED_TIERS_MAX, e);
    }
    return err;
}

/* A target without price or maximum of output cannot be offered. */
static enum err
price_target(struct loader *l, const struct yaml_node *id, struct str vendor_model,
    struct registry_target *t, struct error *e)
{
    struct str provider = text_of(l, l->providers[t->provider].name);
    const struct registry_vendor_model *model = registry_vendor_model_find(
        block_registry(&l->block), &l->providers[t->provider], vendor_model);

    if (model == NULL)
        return yaml_fail(&l->doc, id, e,
            "platform id \"%.*s\" has no price: provider \"%.*s\" lists no model \"%.*s\"",
            STR_ARG(id->text), STR_ARG(provider), STR_ARG(vendor_model));
    if (model->max_output == 0)
        return yaml_fail(&l->doc, id, e,
            "platform id \"%.*s\" needs a max_output at provider \"%.*s\", model \"%.*s\"",
            STR_ARG(id->text), STR_ARG(provider), STR_ARG(vendor_model));
    if (check_rows(l, id, model, RECORDER_TIERS_MAX, e) != ERR_OK ||
        check_billed(l, id, &l->providers[t->provider], model, e) != ERR_OK)
        return e->code;
    t->max_output = model->max_output;
    t->max_prompt = model->max_prompt;
    t->prices = model->prices;
    t->vendor_model = block_add_str(&l->block, vendor_model);
    return ERR_OK;
}

/* An entry of "routes": one place, or a list of them in the order in which they are tried. */
static enum err
read_targets(struct loader *l, const struct yaml_node *id, const struct yaml_node *route,
    struct registry_target targets[static REGISTRY_TARGETS_MAX], size_t *ret_n, struct error *e)
{
    const struct yaml_node *node = route->kind == YAML_LIST ? route->child : route;

    if (route->kind == YAML_LIST && (route->n == 0 || route->n > REGISTRY_TARGETS_MAX))
        return yaml_fail(&l->doc, route, e, "a route of 1 to %d places", REGISTRY_TARGETS_MAX);
    for (; node != NULL; node = route->kind == YAML_LIST ? node->next : NULL) {
        struct registry_target *t = &targets[*ret_n];
        struct str vendor_model = STR("");
        enum err err = read_route(l, node, &t->provider, &vendor_model, e);

        if (err == ERR_OK)
            err = price_target(l, id, vendor_model, t, e);
        for (size_t i = 0; err == ERR_OK && i < *ret_n; i++) {
            if (targets[i].provider == t->provider &&
                str_equal(text_of(l, targets[i].vendor_model), vendor_model))
                err = yaml_fail(&l->doc, node, e, "the same place twice in one route");
        }
        if (err != ERR_OK)
            return err;
        (*ret_n)++;
    }
    return ERR_OK;
}

static enum err
resolve_platform_id(struct loader *l, const struct yaml_node *id, struct registry_platform_model *m,
    struct error *e)
{
    const struct yaml_node *route = l->routes == NULL ? NULL : yaml_find(l->routes, id->text);
    struct registry_target targets[REGISTRY_TARGETS_MAX] = {0};
    struct str vendor_model = STR("");
    size_t n = 0;
    enum err err;

    if (route != NULL) {
        err = read_targets(l, id, route, targets, &n, e);
    } else if (cut_route(l, id->text, &targets[0].provider, &vendor_model)) {
        n = 1;
        err = price_target(l, id, vendor_model, &targets[0], e);
    } else {
        err = yaml_fail(&l->doc, id, e,
            "platform id \"%.*s\" names no upstream: its prefix is no provider's upstream_vendor "
            "and \"routes\" has no entry for it",
            STR_ARG(id->text));
    }
    if (err != ERR_OK)
        return err;
    *m = (struct registry_platform_model){.id = block_add_str(&l->block, id->text),
        .provider = targets[0].provider,
        .vendor_model = targets[0].vendor_model,
        .max_output = targets[0].max_output,
        .max_prompt = targets[0].max_prompt,
        .prices = targets[0].prices};
    if (n > 1)
        m->fallbacks = block_add_list(&l->block, targets + 1, n - 1, sizeof(targets[0]));
    return ERR_OK;
}

static bool
is_platform_id(struct loader *l, const struct listed_id *id)
{
    struct registry *r = block_registry(&l->block);
    const struct registry_arm *arm = &registry_arms(r, &l->runtimes[id->runtime])[id->arm];

    return l->providers[arm->provider].is_platform;
}

/* The menu is the union of what the runtimes' platform arms list, in the order of the file. */
static enum err
assemble_menu(struct loader *l, struct error *e)
{
    struct registry_platform_model *menu = arena_array(l->doc.arena, l->ids_n, sizeof(*menu));
    struct rlist list;
    size_t n = 0;

    for (size_t i = 0; i < l->ids_n; i++) {
        bool known = !is_platform_id(l, &l->ids[i]);
        enum err err;

        for (size_t j = 0; j < n && !known; j++)
            known = str_equal(text_of(l, menu[j].id), l->ids[i].node->text);
        if (known)
            continue;
        err = resolve_platform_id(l, l->ids[i].node, &menu[n], e);
        if (err != ERR_OK)
            return err;
        n++;
    }
    list = block_add_list(&l->block, menu, n, sizeof(*menu));
    block_registry(&l->block)->platform_models = list;
    for (const struct yaml_node *route = l->routes == NULL ? NULL : l->routes->child; route != NULL;
         route = route->next) {
        if (registry_platform_model_find(block_registry(&l->block), route->key) == NULL)
            return yaml_fail(&l->doc, route, e,
                "route for \"%.*s\", which no runtime's platform arm lists", STR_ARG(route->key));
    }
    return ERR_OK;
}

/* A growing set of names, kept sorted. */
struct name_set {
    struct str *names;
    size_t n, max;
};

static void
name_set_add(struct arena *a, struct name_set *set, struct str name)
{
    size_t at = 0;

    while (at < set->n && str_compare(set->names[at], name) < 0)
        at++;
    if (at < set->n && str_equal(set->names[at], name))
        return;
    if (set->n == set->max) {
        size_t max = set->max == 0 ? 64 : set->max * 2;
        struct str *grown = arena_array(a, max, sizeof(*grown));

        if (set->n > 0)
            memcpy(grown, set->names, set->n * sizeof(*grown));
        set->names = grown;
        set->max = max;
    }
    memmove(&set->names[at + 1], &set->names[at], (set->n - at) * sizeof(set->names[0]));
    set->names[at] = arena_dup(a, name);
    set->n++;
}

static void
name_set_add_list(struct loader *l, struct name_set *set, struct rlist list)
{
    const struct registry *r = block_registry(&l->block);

    for (uint32_t i = 0; i < list.n; i++)
        name_set_add(l->doc.arena, set, registry_str(r, registry_strs(r, list)[i]));
}

static struct rlist
name_set_store(struct loader *l, const struct name_set *set)
{
    struct rstr *strings = arena_array(l->doc.arena, set->n, sizeof(*strings));

    for (size_t i = 0; i < set->n; i++)
        strings[i] = block_add_str(&l->block, set->names[i]);
    return block_add_list(&l->block, strings, set->n, sizeof(*strings));
}

/* Everybody's credential names and redirections, the platform's own excluded. */
static enum err
assemble_bypass(struct loader *l, struct error *e)
{
    struct registry *r = block_registry(&l->block);
    struct name_set all = {0}, credentials = {0}, urls = {0};
    struct rlist names_list, urls_list;

    for (size_t i = 0; i < l->providers_n; i++) {
        const struct registry_provider *p = &l->providers[i];

        if (p->is_platform)
            continue;
        name_set_add_list(l, &credentials, p->auth_env);
        name_set_add_list(l, &credentials, p->inject_env);
        name_set_add_list(l, &credentials, p->other_env);
        name_set_add_list(l, &urls, p->base_url_env);
    }
    name_set_add_list(l, &credentials, r->extra_keys);
    name_set_add_list(l, &urls, r->extra_redirects);
    for (size_t i = 0; i < credentials.n; i++)
        name_set_add(l->doc.arena, &all, credentials.names[i]);
    for (size_t i = 0; i < urls.n; i++) {
        size_t before = all.n;

        name_set_add(l->doc.arena, &all, urls.names[i]);
        if (all.n == before)
            return yaml_fail(&l->doc, NULL, e,
                "\"%.*s\" is a credential in one place and a base URL in another",
                STR_ARG(urls.names[i]));
    }
    names_list = name_set_store(l, &all);
    urls_list = name_set_store(l, &urls);
    r = block_registry(&l->block);
    r->bypass_names = names_list;
    r->bypass_urls = urls_list;
    return ERR_OK;
}

static bool
match(void *ctx, uint32_t id, struct str model)
{
    return pattern_list_match(ctx, id, model);
}

/* Does the id reach the arm that lists it when one of that arm's own auth names is present? */
static bool
reaches_its_arm(struct loader *l, const struct listed_id *id)
{
    const struct registry *r = block_registry(&l->block);
    const struct registry_runtime *rt = registry_runtime_at(r, id->runtime);
    const struct registry_provider *p =
        registry_provider_at(r, registry_arms(r, rt)[id->arm].provider);
    struct derive_input in = {.registry = r,
        .match = match,
        .match_ctx = l->patterns,
        .runtime = registry_str(r, rt->name),
        .model = id->node->text,
        .auth_names_n = 1};

    for (uint32_t i = 0; i < p->auth_env.n; i++) {
        struct str name = registry_str(r, registry_strs(r, p->auth_env)[i]);

        in.auth_names = &name;
        if (derive(&in, NULL).provider == p)
            return true;
    }
    return false;
}

static enum err
check_listed_ids(struct loader *l, struct error *e)
{
    for (size_t i = 0; i < l->ids_n; i++) {
        const struct listed_id *id = &l->ids[i];

        if (!reaches_its_arm(l, id)) {
            const struct registry *r = block_registry(&l->block);
            const struct registry_runtime *rt = registry_runtime_at(r, id->runtime);

            return yaml_fail(&l->doc, id->node, e,
                "\"%.*s\" on runtime \"%.*s\" does not derive to the provider it is listed under",
                STR_ARG(id->node->text), STR_ARG(registry_str(r, rt->name)));
        }
    }
    return ERR_OK;
}

enum err
loader_assemble(struct loader *l, struct error *e)
{
    struct rlist providers =
        block_add_list(&l->block, l->providers, l->providers_n, sizeof(*l->providers));
    struct rlist runtimes =
        block_add_list(&l->block, l->runtimes, l->runtimes_n, sizeof(*l->runtimes));
    enum err err;

    block_registry(&l->block)->providers = providers;
    block_registry(&l->block)->runtimes = runtimes;
    err = assemble_menu(l, e);
    if (err == ERR_OK)
        err = assemble_bypass(l, e);
    if (err == ERR_OK)
        err = check_listed_ids(l, e);
    return err;
}
