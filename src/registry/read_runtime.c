#include "core/envplan.h"
#include "core/lifecycle.h"
#include "registry/loader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { START_TIMEOUT_MAX_S = 86400 };

static void
remember_ids(struct loader *l, uint32_t runtime, uint32_t arm, const struct yaml_node *models)
{
    for (const struct yaml_node *n = models->child; n != NULL; n = n->next) {
        if (l->ids_n == l->ids_max) {
            size_t max = l->ids_max == 0 ? 256 : l->ids_max * 2;
            struct listed_id *grown = arena_array(l->doc.arena, max, sizeof(*grown));

            if (l->ids_n > 0)
                memcpy(grown, l->ids, l->ids_n * sizeof(*grown));
            l->ids = grown;
            l->ids_max = max;
        }
        l->ids[l->ids_n++] = (struct listed_id){runtime, arm, n};
    }
}

static enum err
read_arm(struct loader *l, const struct yaml_node *map, struct registry_arm *arms, uint32_t arm,
    struct error *e)
{
    static const struct str fields[] = {STR_INIT("name"), STR_INIT("models")};
    struct str name = STR(""), near;
    enum err err = yaml_check_map(&l->doc, map, "an arm", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("name"), YAML_REQUIRED, &name, e);
    if (err != ERR_OK)
        return err;
    if (!loader_find_provider(l, name, &arms[arm].provider)) {
        near = loader_nearest_provider(l, name);
        return yaml_fail(&l->doc, yaml_find(map, STR("name")), e,
            near.n > 0 ? "there is no provider \"%.*s\" (did you mean \"%.*s\"?)"
                       : "there is no provider \"%.*s\"%.*s",
            STR_ARG(name), STR_ARG(near));
    }
    for (uint32_t i = 0; i < arm; i++) {
        if (arms[i].provider == arms[arm].provider)
            return yaml_fail(&l->doc, yaml_find(map, STR("name")), e,
                "provider \"%.*s\" is in this runtime twice", STR_ARG(name));
    }
    err = loader_read_texts(l, map, STR("models"), false, &arms[arm].models, e);
    if (err == ERR_OK && yaml_find(map, STR("models")) != NULL)
        remember_ids(l, (uint32_t)l->runtimes_n, arm, yaml_find(map, STR("models")));
    return err;
}

static enum err
read_arms(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    const struct yaml_node *list = NULL;
    struct registry_arm arms[DERIVE_ARMS_MAX] = {0};
    uint32_t n = 0;
    enum err err =
        yaml_get_node(&l->doc, map, STR("providers"), YAML_REQUIRED, YAML_LIST, &list, e);

    if (err != ERR_OK)
        return err;
    if (list->n == 0 || list->n > DERIVE_ARMS_MAX)
        return yaml_fail(
            &l->doc, list, e, "a runtime has between 1 and %d providers", DERIVE_ARMS_MAX);
    for (const struct yaml_node *node = list->child; node != NULL; node = node->next, n++) {
        err = read_arm(l, node, arms, n, e);
        if (err != ERR_OK)
            return err;
    }
    rt->arms = block_add_list(&l->block, arms, n, sizeof(arms[0]));
    return ERR_OK;
}

/* base_env: a map of names to values, kept as a list NAME, value, NAME, value ... */
static enum err
read_base_env(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    const struct yaml_node *env = NULL;
    struct rstr *pairs;
    size_t n = 0;
    enum err err = yaml_get_node(&l->doc, map, STR("base_env"), YAML_OPTIONAL, YAML_MAP, &env, e);

    if (err != ERR_OK || env == NULL)
        return err;
    pairs = arena_array(l->doc.arena, env->n * 2, sizeof(*pairs));
    for (const struct yaml_node *node = env->child; node != NULL; node = node->next) {
        struct str value = STR("");

        if (!env_name_is_valid(node->key) || env_name_is_reserved(node->key))
            return yaml_fail(
                &l->doc, node, e, "\"%.*s\" is not a name this may set", STR_ARG(node->key));
        err = loader_text(l, node, true, &value, e);
        if (err != ERR_OK)
            return err;
        pairs[n++] = block_add_str(&l->block, node->key);
        pairs[n++] = block_add_str(&l->block, value);
    }
    rt->base_env = block_add_list(&l->block, pairs, n, sizeof(*pairs));
    return ERR_OK;
}

static enum err
read_dialect(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    struct str text = STR("");
    enum dialect dialect;
    bool native = false;
    enum err err = yaml_get_text(&l->doc, map, STR("dialect"), YAML_REQUIRED, &text, e);

    if (err == ERR_OK)
        err = yaml_get_bool(&l->doc, map, STR("anthropic_native"), YAML_OPTIONAL, &native, e);
    if (err != ERR_OK)
        return err;
    if (!dialect_from_name(text, &dialect))
        return yaml_fail(&l->doc, yaml_find(map, STR("dialect")), e,
            "unknown dialect \"%.*s\" (anthropic, openai-chat, openai-responses)", STR_ARG(text));
    if (native != (dialect == DIALECT_ANTHROPIC))
        return yaml_fail(&l->doc, yaml_find(map, STR("dialect")), e,
            "anthropic_native and dialect anthropic belong together");
    rt->dialect = dialect;
    rt->anthropic_native = native;
    return ERR_OK;
}

/* How its agents are looked after; what is left out is unset. */
static enum err
read_care(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    struct str ready = STR(""), restart = STR("");
    enum workspace_readiness readiness = READINESS_UNSET;
    enum workspace_restart policy = RESTART_UNSET;
    int64_t seconds = 0;
    enum err err = yaml_get_text(&l->doc, map, STR("readiness"), YAML_OPTIONAL, &ready, e);

    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("restart"), YAML_OPTIONAL, &restart, e);
    if (err == ERR_OK)
        err = yaml_get_i64(
            &l->doc, map, STR("start_timeout"), YAML_OPTIONAL, 1, START_TIMEOUT_MAX_S, &seconds, e);
    if (err != ERR_OK)
        return err;
    if (!workspace_readiness_from_name(ready, &readiness))
        return yaml_fail(
            &l->doc, yaml_find(map, STR("readiness")), e, "readiness is process or register");
    if (!workspace_restart_from_name(restart, &policy))
        return yaml_fail(
            &l->doc, yaml_find(map, STR("restart")), e, "restart is never, on-failure or always");
    rt->readiness = readiness;
    rt->restart = policy;
    rt->start_timeout_ms = seconds * 1000;
    return ERR_OK;
}

static enum err
read_hints(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    enum err err = loader_read_texts(l, map, STR("command"), true, &rt->command, e);

    if (err == ERR_OK)
        err = read_base_env(l, map, rt, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("required_env"), YAML_OPTIONAL, &rt->required_env, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("precedence"), YAML_OPTIONAL, &rt->precedence, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("model_env"), YAML_OPTIONAL, &rt->model_env, e);
    if (err == ERR_OK)
        err = loader_read_names(
            l, map, STR("platform_model_env"), YAML_OPTIONAL, &rt->platform_model_env, e);
    return err == ERR_OK ? read_care(l, map, rt, e) : err;
}

static enum err
read_runtime(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    static const struct str fields[] = {STR_INIT("dialect"), STR_INIT("anthropic_native"),
        STR_INIT("command"), STR_INIT("base_env"), STR_INIT("required_env"), STR_INIT("precedence"),
        STR_INIT("model_env"), STR_INIT("platform_model_env"), STR_INIT("files"),
        STR_INIT("readiness"), STR_INIT("restart"), STR_INIT("start_timeout"),
        STR_INIT("providers")};
    enum err err = yaml_check_map(&l->doc, map, "a runtime", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = loader_check_slug(l, map, map->key, e);
    if (err == ERR_OK)
        err = read_dialect(l, map, rt, e);
    if (err == ERR_OK)
        err = read_hints(l, map, rt, e);
    if (err == ERR_OK)
        err = read_arms(l, map, rt, e);
    if (err == ERR_OK)
        err = loader_read_files(l, map, rt, e);
    if (err == ERR_OK)
        rt->name = block_add_str(&l->block, map->key);
    return err;
}

enum err
loader_read_runtimes(struct loader *l, struct error *e)
{
    const struct yaml_node *map = NULL;
    enum err err =
        yaml_get_node(&l->doc, l->doc.root, STR("runtimes"), YAML_REQUIRED, YAML_MAP, &map, e);

    if (err != ERR_OK)
        return err;
    if (map->n == 0 || map->n > LOADER_RUNTIMES_MAX)
        return yaml_fail(&l->doc, map, e, "between 1 and %d runtimes", LOADER_RUNTIMES_MAX);
    l->runtimes = arena_array(l->doc.arena, map->n, sizeof(*l->runtimes));
    for (const struct yaml_node *n = map->child; n != NULL; n = n->next) {
        err = read_runtime(l, n, &l->runtimes[l->runtimes_n], e);
        if (err != ERR_OK)
            return err;
        l->runtimes_n++;
    }
    return ERR_OK;
}
