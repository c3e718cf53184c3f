/* The files of a runtime: what is made in an agent's HOME because variables alone do not steer it. */
#include "core/envfile.h"
#include "registry/loader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { FILES_MAX = 16, PATH_MAX_BYTES = 200 };

static enum err
read_path(struct loader *l, const struct yaml_node *map, struct str *ret, struct error *e)
{
    const struct yaml_node *node = NULL;
    struct str path = STR(""), rest;
    enum err err = yaml_get_text(&l->doc, map, STR("path"), YAML_REQUIRED, &path, e);

    if (err != ERR_OK)
        return err;
    node = yaml_find(map, STR("path"));
    err = loader_text(l, node, false, &path, e);
    if (err != ERR_OK)
        return err;
    if (str_equal(str_slice(path, 0, str_find_char(path, '/')), STR(".purser")))
        return yaml_fail(&l->doc, node, e,
            "\"%.*s\" is below .purser, where purser keeps files of its own", STR_ARG(path));
    rest = path;
    for (;;) {
        size_t slash = str_find_char(rest, '/');
        struct str part = str_slice(rest, 0, slash);

        if (part.n == 0 || str_equal(part, STR(".")) || str_equal(part, STR("..")) ||
            path.n > PATH_MAX_BYTES)
            return yaml_fail(&l->doc, node, e,
                "\"%.*s\" is no path below HOME (relative, without \"..\", at most %d bytes)",
                STR_ARG(path), PATH_MAX_BYTES);
        if (slash == rest.n)
            break;
        rest = str_slice(rest, slash + 1, rest.n);
    }
    *ret = path;
    return ERR_OK;
}

/* Every line with references we know, and not more pieces than a plan takes. */
static enum err
check_content(struct loader *l, const struct yaml_node *list, struct error *e)
{
    size_t parts = 0;

    for (const struct yaml_node *node = list->child; node != NULL; node = node->next) {
        struct str line = node->text, before;
        enum env_reference reference;
        enum env_scan found;
        bool quoted;

        while ((found = env_file_scan(&line, &before, &reference, &quoted)) == ENV_SCAN_REFERENCE)
            parts += 2;
        if (found == ENV_SCAN_UNKNOWN)
            return yaml_fail(&l->doc, node, e,
                "an unknown reference (there are ${model}, ${provider}, ${base_url}, "
                "${credential}, ${credential_env})");
        parts += 2;
    }
    if (parts > ENV_FILE_PARTS_MAX)
        return yaml_fail(&l->doc, list, e, "more than %d pieces of text", ENV_FILE_PARTS_MAX);
    return ERR_OK;
}

static const struct registry_provider *
find_arm(struct loader *l, const struct registry_runtime *rt, struct str name)
{
    const struct registry *r = block_registry(&l->block);

    for (uint32_t i = 0; i < rt->arms.n; i++) {
        const struct registry_provider *p = &l->providers[registry_arms(r, rt)[i].provider];

        if (str_equal(registry_str(r, p->name), name))
            return p;
    }
    return NULL;
}

/* Whom the file is for: arms of this runtime, each with what the references need. */
static enum err
check_providers(struct loader *l, const struct yaml_node *list, const struct registry_runtime *rt,
    const struct registry_file *file, struct error *e)
{
    bool needs_url = env_file_refers(block_registry(&l->block), file, ENV_REF_BASE_URL);

    for (const struct yaml_node *node = list->child; node != NULL; node = node->next) {
        const struct registry_provider *p = find_arm(l, rt, node->text);

        if (p == NULL)
            return yaml_fail(&l->doc, node, e, "provider \"%.*s\" is no arm of this runtime",
                STR_ARG(node->text));
        if (needs_url && !p->is_platform && !p->endpoint[rt->dialect].present)
            return yaml_fail(&l->doc, node, e,
                "provider \"%.*s\" has no endpoint for ${base_url} in this runtime's dialect",
                STR_ARG(node->text));
    }
    return ERR_OK;
}

static enum err
read_one(struct loader *l, const struct yaml_node *map, const struct registry_runtime *rt,
    struct registry_file *ret, struct error *e)
{
    static const struct str fields[] = {
        STR_INIT("path"), STR_INIT("for"), STR_INIT("refreshed"), STR_INIT("content")};
    const struct yaml_node *providers = NULL, *content = NULL;
    struct str path = STR("");
    bool refreshed = false;
    enum err err = yaml_check_map(&l->doc, map, "a file", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = read_path(l, map, &path, e);
    if (err == ERR_OK)
        err = yaml_get_node(&l->doc, map, STR("for"), YAML_REQUIRED, YAML_LIST, &providers, e);
    if (err == ERR_OK)
        err = yaml_get_node(&l->doc, map, STR("content"), YAML_REQUIRED, YAML_LIST, &content, e);
    if (err == ERR_OK)
        err = yaml_get_bool(&l->doc, map, STR("refreshed"), YAML_OPTIONAL, &refreshed, e);
    if (err == ERR_OK)
        err = loader_read_texts(l, map, STR("for"), false, &ret->providers, e);
    if (err == ERR_OK)
        err = loader_read_texts(l, map, STR("content"), true, &ret->content, e);
    if (err == ERR_OK)
        err = check_content(l, content, e);
    if (err == ERR_OK)
        err = check_providers(l, providers, rt, ret, e);
    if (err != ERR_OK)
        return err;
    ret->path = block_add_str(&l->block, path);
    ret->refreshed = refreshed;
    return ERR_OK;
}

/* One arm gets at most so many files, and each path once. */
static enum err
check_arms(struct loader *l, const struct yaml_node *list, const struct registry_runtime *rt,
    const struct registry_file *files, uint32_t n, struct error *e)
{
    const struct registry *r = block_registry(&l->block);

    for (uint32_t a = 0; a < rt->arms.n; a++) {
        struct str arm = registry_str(r, l->providers[registry_arms(r, rt)[a].provider].name);
        size_t seen = 0;

        for (uint32_t i = 0; i < n; i++) {
            if (!registry_list_has_name(r, files[i].providers, arm))
                continue;
            for (uint32_t k = 0; k < i; k++) {
                if (registry_list_has_name(r, files[k].providers, arm) &&
                    str_equal(registry_str(r, files[k].path), registry_str(r, files[i].path)))
                    return yaml_fail(&l->doc, list, e,
                        "the file \"%.*s\" is there twice for provider \"%.*s\"",
                        STR_ARG(registry_str(r, files[i].path)), STR_ARG(arm));
            }
            if (++seen > ENV_FILES_MAX)
                return yaml_fail(&l->doc, list, e, "more than %d files for provider \"%.*s\"",
                    ENV_FILES_MAX, STR_ARG(arm));
        }
    }
    return ERR_OK;
}

enum err
loader_read_files(
    struct loader *l, const struct yaml_node *map, struct registry_runtime *rt, struct error *e)
{
    const struct yaml_node *list = NULL;
    struct registry_file files[FILES_MAX] = {0};
    uint32_t n = 0;
    enum err err = yaml_get_node(&l->doc, map, STR("files"), YAML_OPTIONAL, YAML_LIST, &list, e);

    if (err != ERR_OK || list == NULL)
        return err;
    if (list->n > FILES_MAX)
        return yaml_fail(&l->doc, list, e, "more than %d files", FILES_MAX);
    for (const struct yaml_node *node = list->child; node != NULL; node = node->next, n++) {
        err = read_one(l, node, rt, &files[n], e);
        if (err != ERR_OK)
            return err;
    }
    err = check_arms(l, list, rt, files, n, e);
    if (err == ERR_OK)
        rt->files = block_add_list(&l->block, files, n, sizeof(files[0]));
    return err;
}
