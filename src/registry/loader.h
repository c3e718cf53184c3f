/* What the parts of the loader share while one file is being read. Private to src/registry. */
#ifndef REGISTRY_LOADER_H
#define REGISTRY_LOADER_H

#include "base/yaml.h"
#include "core/derive.h"
#include "registry/block.h"
#include "registry/pattern.h"

enum {
    LOADER_PROVIDERS_MAX = 4000,
    LOADER_RUNTIMES_MAX = 500,
    LOADER_LIST_MAX = 4000, /* of names or ids in one list */
    LOADER_TEXT_MAX = 256,
    LOADER_PRICES_MAX = 64, /* rows of one model */
};

/* A model id as a runtime's arm lists it, to be checked once everything is read. */
struct listed_id {
    uint32_t runtime, arm;
    const struct yaml_node *node;
};

struct loader {
    struct yaml_doc doc;
    struct block block;
    struct pattern_list *patterns;
    struct registry_provider *providers;
    size_t providers_n;
    struct registry_runtime *runtimes;
    size_t runtimes_n;
    const struct yaml_node *routes; /* may be NULL */
    struct listed_id *ids;
    size_t ids_n, ids_max;
};

/* read_provider.c: providers, endpoints and the extra names. */
enum err loader_read_providers(struct loader *l, struct error *e) MUST_CHECK;
/* read_price.c: the price lists of one provider's models. */
enum err loader_read_models(struct loader *l, const struct yaml_node *provider, struct rlist *ret,
    struct error *e) MUST_CHECK;
/* Decimal USD -> micro-USD, exactly. False with more than six decimals. */
bool loader_parse_usd(struct str text, int64_t *ret);
/* read_routing.c: time-outs, what happens when a client leaves, which model is billed. */
enum err loader_read_routing(struct loader *l, const struct yaml_node *provider,
    struct registry_provider *p, struct error *e) MUST_CHECK;
/* read_runtime.c: runtimes, their arms and launch hints. */
enum err loader_read_runtimes(struct loader *l, struct error *e) MUST_CHECK;
/* read_file.c: the files of a runtime whose arms are read. */
enum err loader_read_files(struct loader *l, const struct yaml_node *map,
    struct registry_runtime *rt, struct error *e) MUST_CHECK;
/* assemble.c: the platform's menu and the bypass list, then the checks that need everything. */
enum err loader_assemble(struct loader *l, struct error *e) MUST_CHECK;

/* A text of at most LOADER_TEXT_MAX printable characters without spaces (unless allowed). */
enum err loader_text(const struct loader *l, const struct yaml_node *node, bool spaces,
    struct str *ret, struct error *e) MUST_CHECK;
/* A list of names of variables (upper-case); absent is empty unless required. No name twice. */
enum err loader_read_names(struct loader *l, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, struct rlist *ret, struct error *e) MUST_CHECK;
/* A list of texts as they are. */
enum err loader_read_texts(struct loader *l, const struct yaml_node *map, struct str key,
    bool spaces, struct rlist *ret, struct error *e) MUST_CHECK;
/* Lower-case letters, digits, '-' and '.': names of providers and runtimes. */
enum err loader_check_slug(const struct loader *l, const struct yaml_node *node, struct str name,
    struct error *e) MUST_CHECK;
/* Index of a provider read so far; false when there is none. */
bool loader_find_provider(const struct loader *l, struct str name, uint32_t *ret);
/* The nearest provider's name, for hints; may be empty. */
struct str loader_nearest_provider(const struct loader *l, struct str name);

#endif
