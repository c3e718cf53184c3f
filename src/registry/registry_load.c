#include "registry/registry_load.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "registry/loader.h"
#include "registry/registry_json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { SCHEMA_VERSION = 1 };

struct registry_set {
    struct registry *block;
    struct pattern_list *patterns;
};

/* Made by the build from registry/providers.yaml. */
extern const char registry_embedded_yaml[];
extern const size_t registry_embedded_yaml_bytes;

static enum err
check_version(const struct loader *l, struct error *e)
{
    static const struct str fields[] = {STR_INIT("schema_version"), STR_INIT("providers"),
        STR_INIT("runtimes"), STR_INIT("routes"), STR_INIT("other_vendor_keys"),
        STR_INIT("other_redirects")};
    int64_t version = 0;
    enum err err;

    /* The version first: a newer file may well have fields that are unknown here. */
    if (l->doc.root->kind == YAML_MAP) {
        err = yaml_get_i64(&l->doc, l->doc.root, STR("schema_version"), YAML_REQUIRED, INT64_MIN,
            INT64_MAX, &version, e);
        if (err != ERR_OK)
            return err;
        if (version != SCHEMA_VERSION)
            return yaml_fail(&l->doc, yaml_find(l->doc.root, STR("schema_version")), e,
                "schema_version %lld is unknown; this purser reads version %d", (long long)version,
                SCHEMA_VERSION);
    }
    return yaml_check_map(&l->doc, l->doc.root, "the registry", fields, COUNT(fields), e);
}

static enum err
load(struct loader *l, struct str yaml, struct error *e)
{
    enum err err = yaml_parse(&l->doc, yaml, e);

    if (err == ERR_OK)
        err = check_version(l, e);
    if (err == ERR_OK)
        err = yaml_get_node(
            &l->doc, l->doc.root, STR("routes"), YAML_OPTIONAL, YAML_MAP, &l->routes, e);
    if (err == ERR_OK)
        err = loader_read_providers(l, e);
    if (err == ERR_OK)
        err = loader_read_runtimes(l, e);
    if (err == ERR_OK)
        err = loader_assemble(l, e);
    return err;
}

enum err
registry_load_bytes(const char *name, struct str yaml, struct registry_set **ret, struct error *e)
{
    AUTO_ARENA struct arena arena;
    struct loader l = {.doc = {.arena = &arena, .file = name, .code = ERR_REGISTRY_INVALID}};
    struct registry_set *set;
    enum err err;

    arena_init(&arena);
    block_init(&l.block);
    l.patterns = pattern_list_new();
    err = load(&l, yaml, e);
    if (err != ERR_OK) {
        block_done(&l.block);
        pattern_list_free(l.patterns);
        return err;
    }
    set = calloc(1, sizeof(*set));
    ENSURE(set != NULL);
    set->block = block_take(&l.block);
    set->patterns = l.patterns;
    registry_fingerprint_set(set->block);
    *ret = set;
    return ERR_OK;
}

enum err
registry_load_embedded(struct registry_set **ret, struct error *e)
{
    return registry_load_bytes("registry/providers.yaml", registry_embedded_source(), ret, e);
}

enum err
registry_load_file(const char *path, struct registry_set **ret, struct error *e)
{
    AUTO_FCLOSE FILE *file = fopen(path, "re");
    AUTO_BUF struct buf bytes;
    size_t n;

    buf_init(&bytes, YAML_BYTES_MAX + 1);
    if (file == NULL)
        return fail_errno(e, ERR_REGISTRY_INVALID, "%s: cannot be opened", path);
    do {
        char piece[4096];

        n = fread(piece, 1, sizeof(piece), file);
        buf_add(&bytes, (struct str){piece, n});
    } while (n > 0 && buf_ok(&bytes));
    if (ferror(file))
        return fail_errno(e, ERR_REGISTRY_INVALID, "%s: cannot be read", path);
    if (!buf_ok(&bytes))
        return fail(e, ERR_REGISTRY_INVALID, "%s: larger than %d bytes", path, YAML_BYTES_MAX);
    return registry_load_bytes(path, buf_str(&bytes), ret, e);
}

enum err
registry_load(const char *path, struct registry_set **ret, struct error *e)
{
    if (path == NULL || path[0] == '\0')
        return registry_load_embedded(ret, e);
    return registry_load_file(path, ret, e);
}

void
registry_free(struct registry_set *set)
{
    if (set == NULL)
        return;
    free(set->block);
    pattern_list_free(set->patterns);
    free(set);
}

const struct registry *
registry_block(const struct registry_set *set)
{
    return set->block;
}

bool
registry_match(void *set, uint32_t pattern_id, struct str model)
{
    return pattern_list_match(((const struct registry_set *)set)->patterns, pattern_id, model);
}

struct str
registry_embedded_source(void)
{
    return (struct str){registry_embedded_yaml, registry_embedded_yaml_bytes};
}
