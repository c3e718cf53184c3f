/*
 * A small strict YAML: a tree of scalars, lists and maps, every node with its line. For files that
 * people write (the registry, the settings), not for data exchange.
 *
 * Refused on reading: more than one document, anchors, aliases, tags, keys that are not plain text,
 * a key twice in one map, and anything beyond the limits below. Nodes live in the caller's arena
 * and borrow nothing.
 *
 * Every error reads "file:line: reason" and carries the code the document was opened with.
 */
#ifndef BASE_YAML_H
#define BASE_YAML_H

#include "base/arena.h"

#include <stdint.h>

enum {
    YAML_BYTES_MAX = 1024 * 1024,
    YAML_DEPTH_MAX = 16,
    YAML_NODES_MAX = 100000,
    YAML_KEYS_MAX = 4000, /* of one map */
};

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    int line;                /* from 1 */
    bool quoted;             /* YAML_TEXT: written in quotes or as a block, so never a null */
    struct str key;          /* as a value of a map: its key; empty otherwise */
    struct str text;         /* YAML_TEXT */
    size_t n;                /* YAML_LIST, YAML_MAP: number of children */
    struct yaml_node *child; /* the first; in the order of the file */
    struct yaml_node *next;
};

struct yaml_doc {
    struct arena *arena;
    const char *file; /* for error texts */
    enum err code;    /* of every error: ERR_REGISTRY_INVALID, ERR_SETTINGS_INVALID */
    struct yaml_node *root;
};

/* Fills doc->root; the other fields are the caller's. An empty file is refused. */
enum err yaml_parse(struct yaml_doc *doc, struct str bytes, struct error *e) MUST_CHECK;

/* "file:line: reason" with doc's code. node may be NULL: no line. */
enum err yaml_fail(const struct yaml_doc *doc, const struct yaml_node *node, struct error *e,
    const char *format, ...) PRINTF_LIKE(4, 5);

/* The value of a key, or NULL. map must be a map. */
const struct yaml_node *yaml_find(const struct yaml_node *map, struct str key);

/* The node is a map and holds no other keys than these; hints at the nearest one. */
enum err yaml_check_map(const struct yaml_doc *doc, const struct yaml_node *node, const char *what,
    const struct str *keys, size_t keys_n, struct error *e) MUST_CHECK;

/*
 * Typed reading of a key of a map. An absent key leaves *ret untouched unless it is required, which
 * is an error. Text must not be empty, nor null unless quoted.
 */
enum yaml_presence { YAML_OPTIONAL, YAML_REQUIRED };
enum err yaml_get_text(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, struct str *ret, struct error *e) MUST_CHECK;
/* true or false, nothing else. */
enum err yaml_get_bool(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, bool *ret, struct error *e) MUST_CHECK;
/* A decimal integer between min and max. */
enum err yaml_get_i64(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, int64_t min, int64_t max, int64_t *ret,
    struct error *e) MUST_CHECK;
/* A list or a map (by kind); absent: *ret = NULL. */
enum err yaml_get_node(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, enum yaml_kind kind, const struct yaml_node **ret,
    struct error *e) MUST_CHECK;
/* The text of a scalar node, not empty, no null. */
enum err yaml_text(const struct yaml_doc *doc, const struct yaml_node *node, struct str *ret,
    struct error *e) MUST_CHECK;

/* The candidate that word was most likely meant to be; an empty str when none is near. */
struct str yaml_nearest(struct str word, const struct str *candidates, size_t n);

#endif
