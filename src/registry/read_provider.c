#include "core/envplan.h"
#include "registry/loader.h"
#include "registry/registry_json.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum err
loader_text(const struct loader *l, const struct yaml_node *node, bool spaces, struct str *ret,
    struct error *e)
{
    struct str text = STR("");
    enum err err = yaml_text(&l->doc, node, &text, e);

    if (err != ERR_OK)
        return err;
    if (text.n > LOADER_TEXT_MAX)
        return yaml_fail(&l->doc, node, e, "longer than %d characters", LOADER_TEXT_MAX);
    if (str_trim(text).n != text.n)
        return yaml_fail(&l->doc, node, e, "\"%.*s\" has white space around it", STR_ARG(text));
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];

        if (c < ' ' || c == 0x7f || (c == ' ' && !spaces))
            return yaml_fail(&l->doc, node, e, "a space or control character inside a text");
    }
    *ret = text;
    return ERR_OK;
}

enum err
loader_check_slug(
    const struct loader *l, const struct yaml_node *node, struct str name, struct error *e)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_')
            return yaml_fail(&l->doc, node, e,
                "the name \"%.*s\" may hold only a-z, 0-9, '-', '_' and '.'", STR_ARG(name));
    }
    if (name.n > 64)
        return yaml_fail(&l->doc, node, e, "a name of more than 64 characters");
    return ERR_OK;
}

bool
loader_find_provider(const struct loader *l, struct str name, uint32_t *ret)
{
    for (size_t i = 0; i < l->providers_n; i++) {
        struct rstr candidate = l->providers[i].name;

        if (str_equal((struct str){l->block.p + candidate.off, candidate.n}, name)) {
            *ret = (uint32_t)i;
            return true;
        }
    }
    return false;
}

struct str
loader_nearest_provider(const struct loader *l, struct str name)
{
    struct str *names = arena_array(l->doc.arena, l->providers_n, sizeof(*names));

    for (size_t i = 0; i < l->providers_n; i++) {
        struct rstr candidate = l->providers[i].name;

        names[i] = (struct str){l->block.p + candidate.off, candidate.n};
    }
    return yaml_nearest(name, names, l->providers_n);
}

static bool
is_upper_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        if (str_upper_char(name.p[i]) != name.p[i])
            return false;
    }
    return env_name_is_valid(name);
}

enum list_of { LIST_OF_NAMES, LIST_OF_IDS, LIST_OF_WORDS };

static enum err
read_list(struct loader *l, const struct yaml_node *list, enum list_of what, struct rlist *ret,
    struct error *e)
{
    struct str *texts;
    struct rstr *strings;
    size_t n = 0;

    if (list->n > LOADER_LIST_MAX)
        return yaml_fail(&l->doc, list, e, "more than %d entries", LOADER_LIST_MAX);
    texts = arena_array(l->doc.arena, list->n, sizeof(*texts));
    strings = arena_array(l->doc.arena, list->n, sizeof(*strings));
    for (const struct yaml_node *node = list->child; node != NULL; node = node->next) {
        enum err err = loader_text(l, node, what == LIST_OF_WORDS, &texts[n], e);

        if (err != ERR_OK)
            return err;
        if (what == LIST_OF_NAMES && !is_upper_name(texts[n]))
            return yaml_fail(&l->doc, node, e,
                "\"%.*s\" is not a name of a variable (A-Z, 0-9 and '_')", STR_ARG(texts[n]));
        for (size_t i = 0; i < n && what != LIST_OF_WORDS; i++) {
            if (str_equal(texts[i], texts[n]))
                return yaml_fail(
                    &l->doc, node, e, "\"%.*s\" is in this list twice", STR_ARG(texts[n]));
        }
        strings[n] = block_add_str(&l->block, texts[n]);
        n++;
    }
    *ret = block_add_list(&l->block, strings, n, sizeof(*strings));
    return ERR_OK;
}

enum err
loader_read_names(struct loader *l, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, struct rlist *ret, struct error *e)
{
    const struct yaml_node *list = NULL;
    enum err err = yaml_get_node(&l->doc, map, key, presence, YAML_LIST, &list, e);

    if (err != ERR_OK || list == NULL)
        return err;
    if (presence == YAML_REQUIRED && list->n == 0)
        return yaml_fail(&l->doc, list, e, "\"%.*s\" must not be empty", STR_ARG(key));
    return read_list(l, list, LIST_OF_NAMES, ret, e);
}

enum err
loader_read_texts(struct loader *l, const struct yaml_node *map, struct str key, bool spaces,
    struct rlist *ret, struct error *e)
{
    const struct yaml_node *list = NULL;
    enum err err = yaml_get_node(&l->doc, map, key, YAML_OPTIONAL, YAML_LIST, &list, e);

    if (err != ERR_OK || list == NULL)
        return err;
    return read_list(l, list, spaces ? LIST_OF_WORDS : LIST_OF_IDS, ret, e);
}

/*
 * https, or http on this machine (self-hosted servers and tests); a host; no query, no trailing
 * slash. One convention for all: the Anthropic base is without /v1, the OpenAI base is with it.
 */
static const char *
base_url_problem(struct str url, enum dialect dialect)
{
    struct str rest, host, path;
    size_t slash;

    if (str_starts_with(url, STR("https://")))
        rest = str_slice(url, sizeof("https://") - 1, url.n);
    else if (str_starts_with(url, STR("http://")))
        rest = str_slice(url, sizeof("http://") - 1, url.n);
    else
        return "must begin with https:// (or http:// for a server on this machine)";
    slash = str_find_char(rest, '/');
    host = str_slice(rest, 0, slash);
    path = str_slice(rest, slash, rest.n);
    if (str_starts_with(url, STR("http://")) && !str_starts_with(host, STR("localhost")) &&
        !str_starts_with(host, STR("127.")))
        return "plain http is only for a server on this machine";
    for (size_t i = 0; i < host.n; i++) {
        char c = host.p[i];

        if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != ':')
            return "has a host with unusual characters";
    }
    if (host.n == 0 || host.p[0] == '.' || host.p[0] == '-')
        return "has no host";
    if (str_find_char(url, '?') != url.n || str_find_char(url, '#') != url.n)
        return "must have no query";
    if (str_ends_with(url, STR("/")))
        return "must not end with a slash";
    if (dialect == DIALECT_ANTHROPIC)
        return str_ends_with(path, STR("/v1")) || str_ends_with(path, STR("/messages"))
            ? "must be without /v1: /v1/messages is appended"
            : NULL;
    if (path.n == 0 || str_ends_with(path, STR("/chat/completions")) ||
        str_ends_with(path, STR("/responses")))
        return "must be with its /v1: /chat/completions or /responses is appended";
    return NULL;
}

static enum err
read_endpoint(struct loader *l, const struct yaml_node *node, enum dialect dialect,
    struct registry_endpoint *ret, struct error *e)
{
    static const struct str fields[] = {STR_INIT("base_url"), STR_INIT("header")};
    struct str url = STR(""), header_text = STR("");
    enum auth_header header;
    const char *problem;
    enum err err = yaml_check_map(&l->doc, node, "an endpoint", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, node, STR("base_url"), YAML_REQUIRED, &url, e);
    if (err == ERR_OK)
        err = loader_text(l, yaml_find(node, STR("base_url")), false, &url, e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, node, STR("header"), YAML_REQUIRED, &header_text, e);
    if (err != ERR_OK)
        return err;
    if (!auth_header_from_name(header_text, &header))
        return yaml_fail(&l->doc, yaml_find(node, STR("header")), e,
            "unknown header \"%.*s\" (none, x-api-key, bearer, api-key, x-goog-api-key, "
            "oauth-bearer)",
            STR_ARG(header_text));
    problem = base_url_problem(url, dialect);
    if (problem != NULL)
        return yaml_fail(&l->doc, yaml_find(node, STR("base_url")), e, "base_url \"%.*s\" %s",
            STR_ARG(url), problem);
    ret->present = 1;
    ret->header = header;
    ret->base_url = block_add_str(&l->block, url);
    return ERR_OK;
}

static enum err
read_endpoints(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    struct str names[DIALECT_COUNT];
    const struct yaml_node *endpoints = NULL;
    enum err err =
        yaml_get_node(&l->doc, map, STR("endpoints"), YAML_OPTIONAL, YAML_MAP, &endpoints, e);

    if (err != ERR_OK || endpoints == NULL)
        return err;
    for (int d = 0; d < DIALECT_COUNT; d++)
        names[d] = dialect_name((enum dialect)d);
    err = yaml_check_map(&l->doc, endpoints, "endpoints", names, COUNT(names), e);
    for (const struct yaml_node *n = endpoints->child; err == ERR_OK && n != NULL; n = n->next) {
        enum dialect d;

        ENSURE(dialect_from_name(n->key, &d));
        err = read_endpoint(l, n, d, &p->endpoint[d], e);
    }
    return err;
}

/* The call that tells whether a credential is good: an endpoint that is there, and a path below it. */
static enum err
read_verify(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    static const struct str fields[] = {STR_INIT("endpoint"), STR_INIT("path")};
    const struct yaml_node *verify = NULL;
    struct str endpoint = STR(""), path = STR("");
    enum dialect d;
    enum err err = yaml_get_node(&l->doc, map, STR("verify"), YAML_OPTIONAL, YAML_MAP, &verify, e);

    if (err != ERR_OK || verify == NULL)
        return err;
    err = yaml_check_map(&l->doc, verify, "verify", fields, COUNT(fields), e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, verify, STR("endpoint"), YAML_REQUIRED, &endpoint, e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, verify, STR("path"), YAML_REQUIRED, &path, e);
    if (err == ERR_OK)
        err = loader_text(l, yaml_find(verify, STR("path")), false, &path, e);
    if (err != ERR_OK)
        return err;
    if (!dialect_from_name(endpoint, &d) || !p->endpoint[d].present)
        return yaml_fail(&l->doc, yaml_find(verify, STR("endpoint")), e,
            "this provider has no endpoint \"%.*s\"", STR_ARG(endpoint));
    if (!str_starts_with(path, STR("/")))
        return yaml_fail(
            &l->doc, yaml_find(verify, STR("path")), e, "the path must begin with a slash");
    p->verify = (struct registry_verify){1, d, block_add_str(&l->block, path)};
    return ERR_OK;
}

static enum err
read_kind(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    struct str text = STR("");
    enum err err = yaml_get_text(&l->doc, map, STR("kind"), YAML_REQUIRED, &text, e);

    if (err != ERR_OK)
        return err;
    for (p->kind = 0; p->kind < PROVIDER_KIND_COUNT; p->kind++) {
        if (str_equal(text, registry_kind_name((enum provider_kind)p->kind)))
            break;
    }
    if (p->kind == PROVIDER_KIND_COUNT)
        return yaml_fail(&l->doc, yaml_find(map, STR("kind")), e,
            "unknown kind \"%.*s\" (api-key, subscription, platform, keyless, no-key)",
            STR_ARG(text));
    if (p->is_platform != (p->kind == PROVIDER_PLATFORM))
        return yaml_fail(&l->doc, yaml_find(map, STR("kind")), e,
            "kind platform belongs to the provider named \"platform\" and to no other");
    return ERR_OK;
}

static enum err
read_pattern(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    const struct str key = STR("model_prefix_match");
    struct str text = STR("");
    char reason[160];
    enum err err = yaml_get_text(&l->doc, map, key, YAML_OPTIONAL, &text, e);

    if (err != ERR_OK || text.n == 0)
        return err;
    if (!pattern_list_add(l->patterns, text, &p->pattern_id, reason))
        return yaml_fail(
            &l->doc, yaml_find(map, key), e, "bad pattern \"%.*s\": %s", STR_ARG(text), reason);
    p->pattern = block_add_str(&l->block, text);
    return ERR_OK;
}

static enum err
read_upstream_vendor(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    const struct yaml_node *node = yaml_find(map, STR("upstream_vendor"));
    struct str vendor = STR("");
    enum err err;

    if (node == NULL)
        return ERR_OK;
    err = loader_text(l, node, false, &vendor, e);
    if (err == ERR_OK)
        err = loader_check_slug(l, node, vendor, e);
    if (err != ERR_OK)
        return err;
    if (p->is_platform)
        return yaml_fail(&l->doc, node, e, "the platform is not an upstream of itself");
    for (size_t i = 0; i < l->providers_n; i++) {
        struct rstr other = l->providers[i].upstream_vendor;

        if (str_equal((struct str){l->block.p + other.off, other.n}, vendor))
            return yaml_fail(&l->doc, node, e,
                "upstream_vendor \"%.*s\" is declared by two providers", STR_ARG(vendor));
    }
    p->upstream_vendor = block_add_str(&l->block, vendor);
    return ERR_OK;
}

static enum err
read_identity(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    struct str name = STR(""), display_name = STR("");
    uint32_t other;
    enum err err = yaml_get_text(&l->doc, map, STR("name"), YAML_REQUIRED, &name, e);

    if (err == ERR_OK)
        err = loader_check_slug(l, yaml_find(map, STR("name")), name, e);
    if (err == ERR_OK)
        err = yaml_get_text(&l->doc, map, STR("display_name"), YAML_REQUIRED, &display_name, e);
    if (err == ERR_OK)
        err = loader_text(l, yaml_find(map, STR("display_name")), true, &display_name, e);
    if (err != ERR_OK)
        return err;
    if (loader_find_provider(l, name, &other))
        return yaml_fail(&l->doc, yaml_find(map, STR("name")), e, "provider \"%.*s\" is here twice",
            STR_ARG(name));
    p->is_platform = str_equal(name, STR("platform"));
    p->name = block_add_str(&l->block, name);
    p->display_name = block_add_str(&l->block, display_name);
    return ERR_OK;
}

static enum err
read_provider(
    struct loader *l, const struct yaml_node *map, struct registry_provider *p, struct error *e)
{
    static const struct str fields[] = {STR_INIT("name"), STR_INIT("display_name"),
        STR_INIT("kind"), STR_INIT("auth_env"), STR_INIT("auth_token_env"),
        STR_INIT("base_url_env"), STR_INIT("other_env"), STR_INIT("key_prefixes"),
        STR_INIT("model_prefix_match"), STR_INIT("upstream_vendor"), STR_INIT("endpoints"),
        STR_INIT("verify"), STR_INIT("models"), STR_INIT("timeouts"), STR_INIT("on_client_abort"),
        STR_INIT("bills_answered_model")};
    enum err err = yaml_check_map(&l->doc, map, "a provider", fields, COUNT(fields), e);

    if (err == ERR_OK)
        err = read_identity(l, map, p, e);
    if (err == ERR_OK)
        err = read_kind(l, map, p, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("auth_env"), YAML_REQUIRED, &p->auth_env, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("auth_token_env"), YAML_OPTIONAL, &p->inject_env, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("base_url_env"), YAML_OPTIONAL, &p->base_url_env, e);
    if (err == ERR_OK)
        err = loader_read_names(l, map, STR("other_env"), YAML_OPTIONAL, &p->other_env, e);
    if (err == ERR_OK)
        err = loader_read_texts(l, map, STR("key_prefixes"), false, &p->key_prefixes, e);
    if (err == ERR_OK)
        err = read_pattern(l, map, p, e);
    if (err == ERR_OK)
        err = read_upstream_vendor(l, map, p, e);
    if (err == ERR_OK)
        err = read_endpoints(l, map, p, e);
    if (err == ERR_OK)
        err = read_verify(l, map, p, e);
    if (err == ERR_OK)
        err = loader_read_routing(l, map, p, e);
    if (err == ERR_OK)
        err = loader_read_models(l, map, &p->models, e);
    return err;
}

enum err
loader_read_providers(struct loader *l, struct error *e)
{
    const struct yaml_node *list = NULL;
    struct registry *r;
    struct rlist keys = {0}, redirects = {0};
    enum err err =
        yaml_get_node(&l->doc, l->doc.root, STR("providers"), YAML_REQUIRED, YAML_LIST, &list, e);

    if (err != ERR_OK)
        return err;
    if (list->n == 0 || list->n > LOADER_PROVIDERS_MAX)
        return yaml_fail(&l->doc, list, e, "between 1 and %d providers", LOADER_PROVIDERS_MAX);
    l->providers = arena_array(l->doc.arena, list->n, sizeof(*l->providers));
    for (const struct yaml_node *n = list->child; n != NULL; n = n->next) {
        err = read_provider(l, n, &l->providers[l->providers_n], e);
        if (err != ERR_OK)
            return err;
        l->providers_n++;
    }
    err = loader_read_names(l, l->doc.root, STR("other_vendor_keys"), YAML_OPTIONAL, &keys, e);
    if (err == ERR_OK)
        err =
            loader_read_names(l, l->doc.root, STR("other_redirects"), YAML_OPTIONAL, &redirects, e);
    if (err != ERR_OK)
        return err;
    r = block_registry(&l->block);
    r->extra_keys = keys;
    r->extra_redirects = redirects;
    return ERR_OK;
}
