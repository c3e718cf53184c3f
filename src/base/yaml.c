#include "base/yaml.h"
#include "base/cleanup.h"
#include "core/num.h"

#include <inttypes.h>
#include <yaml.h>

/* The state of one reading: where we are in the event stream and what was used of the limits. */
struct reader {
    struct yaml_doc *doc;
    yaml_parser_t parser;
    size_t nodes;
};

enum err
yaml_fail(const struct yaml_doc *doc, const struct yaml_node *node, struct error *e,
    const char *format, ...)
{
    char reason[320];
    va_list args;

    va_start(args, format);
    vsnprintf(reason, sizeof(reason), format, args);
    va_end(args);
    if (node == NULL)
        return fail(e, doc->code, "%s: %s", doc->file, reason);
    return fail(e, doc->code, "%s:%d: %s", doc->file, node->line, reason);
}

static enum err
fail_at(const struct reader *r, size_t line, struct error *e, const char *reason)
{
    return fail(e, r->doc->code, "%s:%zu: %s", r->doc->file, line, reason);
}

static enum err
next_event(struct reader *r, yaml_event_t *event, struct error *e)
{
    if (yaml_parser_parse(&r->parser, event) == 1)
        return ERR_OK;
    return fail_at(r, r->parser.problem_mark.line + 1, e,
        r->parser.problem == NULL ? "this is not YAML" : r->parser.problem);
}

/* Reads events into a node; recursion is bounded by YAML_DEPTH_MAX. */
static enum err read_node(struct reader *r, const yaml_event_t *event, int depth,
    struct yaml_node **ret, struct error *e);

static enum err
check_key(const struct reader *r, const struct yaml_node *map, const yaml_event_t *event,
    struct str *ret, struct error *e)
{
    size_t line = event->start_mark.line + 1;
    struct str key;

    if (event->type != YAML_SCALAR_EVENT)
        return fail_at(r, line, e, "a key must be plain text");
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL)
        return fail_at(r, line, e, "anchors and tags are not accepted");
    if (map->n == YAML_KEYS_MAX)
        return fail_at(r, line, e, "too many keys in one map");
    key = (struct str){(const char *)event->data.scalar.value, event->data.scalar.length};
    if (key.n == 0)
        return fail_at(r, line, e, "a key must not be empty");
    if (yaml_find(map, key) != NULL)
        return fail(e, r->doc->code, "%s:%zu: \"%.*s\" is here twice (first on line %d)",
            r->doc->file, line, STR_ARG(key), yaml_find(map, key)->line);
    *ret = arena_dup(r->doc->arena, key);
    return ERR_OK;
}

static enum err
read_children(struct reader *r, struct yaml_node *parent, int depth, struct error *e)
{
    const yaml_event_type_t end =
        parent->kind == YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    struct yaml_node **tail = &parent->child;

    for (;;) {
        AUTO(yaml_event_delete) yaml_event_t event = {0};
        AUTO(yaml_event_delete) yaml_event_t value = {0};
        struct str key = STR("");
        enum err err = next_event(r, &event, e);

        if (err != ERR_OK)
            return err;
        if (event.type == end)
            return ERR_OK;
        if (parent->kind == YAML_MAP) {
            err = check_key(r, parent, &event, &key, e);
            if (err == ERR_OK)
                err = next_event(r, &value, e);
        }
        if (err == ERR_OK)
            err = read_node(r, parent->kind == YAML_MAP ? &value : &event, depth + 1, tail, e);
        if (err != ERR_OK)
            return err;
        (*tail)->key = key;
        if (parent->kind == YAML_MAP)
            (*tail)->line = (int)event.start_mark.line + 1;
        tail = &(*tail)->next;
        parent->n++;
    }
}

static enum err
read_text(struct reader *r, const yaml_event_t *event, struct yaml_node *node)
{
    node->kind = YAML_TEXT;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = arena_dup(r->doc->arena,
        (struct str){(const char *)event->data.scalar.value, event->data.scalar.length});
    return ERR_OK;
}

static bool
has_anchor_or_tag(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL || event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL || event->data.mapping_start.tag != NULL;
    default:
        return true; /* an alias */
    }
}

static enum err
read_node(
    struct reader *r, const yaml_event_t *event, int depth, struct yaml_node **ret, struct error *e)
{
    size_t line = event->start_mark.line + 1;
    struct yaml_node *node;

    if (has_anchor_or_tag(event))
        return fail_at(r, line, e, "anchors, aliases and tags are not accepted");
    if (depth > YAML_DEPTH_MAX)
        return fail_at(r, line, e, "nested too deep");
    if (++r->nodes > YAML_NODES_MAX)
        return fail_at(r, line, e, "too many values");
    node = arena_alloc(r->doc->arena, sizeof(*node));
    node->line = (int)line;
    *ret = node;
    if (event->type == YAML_SCALAR_EVENT)
        return read_text(r, event, node);
    node->kind = event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST;
    return read_children(r, node, depth, e);
}

/* Stream start, document start, the root, document end, stream end: anything else is refused. */
static enum err
read_document(struct reader *r, struct yaml_node **ret, struct error *e)
{
    static const yaml_event_type_t around[] = {YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT,
        YAML_NO_EVENT, YAML_DOCUMENT_END_EVENT, YAML_STREAM_END_EVENT};

    for (size_t i = 0; i < sizeof(around) / sizeof(around[0]); i++) {
        AUTO(yaml_event_delete) yaml_event_t event = {0};
        enum err err = next_event(r, &event, e);

        if (err == ERR_OK && around[i] == YAML_NO_EVENT)
            err = read_node(r, &event, 1, ret, e);
        else if (err == ERR_OK && event.type != around[i])
            err = fail_at(r, event.start_mark.line + 1, e,
                event.type == YAML_STREAM_END_EVENT ? "the file is empty"
                                                    : "more than one YAML document");
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

enum err
yaml_parse(struct yaml_doc *doc, struct str bytes, struct error *e)
{
    struct reader r = {.doc = doc};
    struct yaml_node *root = NULL;
    enum err err;

    if (bytes.n > YAML_BYTES_MAX)
        return fail(e, doc->code, "%s: larger than %d bytes", doc->file, YAML_BYTES_MAX);
    ENSURE(yaml_parser_initialize(&r.parser) == 1);
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)bytes.p, bytes.n);
    err = read_document(&r, &root, e);
    yaml_parser_delete(&r.parser);
    if (err == ERR_OK)
        doc->root = root;
    return err;
}

const struct yaml_node *
yaml_find(const struct yaml_node *map, struct str key)
{
    for (const struct yaml_node *n = map->child; n != NULL; n = n->next) {
        if (str_equal(n->key, key))
            return n;
    }
    return NULL;
}

enum err
yaml_check_map(const struct yaml_doc *doc, const struct yaml_node *node, const char *what,
    const struct str *keys, size_t keys_n, struct error *e)
{
    if (node->kind != YAML_MAP)
        return yaml_fail(doc, node, e, "%s must be a map of fields", what);
    for (const struct yaml_node *n = node->child; n != NULL; n = n->next) {
        struct str near = yaml_nearest(n->key, keys, keys_n);

        if (str_equal(near, n->key))
            continue;
        if (near.n > 0)
            return yaml_fail(doc, n, e, "unknown field \"%.*s\" in %s (did you mean \"%.*s\"?)",
                STR_ARG(n->key), what, STR_ARG(near));
        return yaml_fail(doc, n, e, "unknown field \"%.*s\" in %s", STR_ARG(n->key), what);
    }
    return ERR_OK;
}

static bool
is_null(const struct yaml_node *node)
{
    return !node->quoted &&
        (node->text.n == 0 || str_equal(node->text, STR("~")) ||
            str_equal(node->text, STR("null")));
}

enum err
yaml_text(
    const struct yaml_doc *doc, const struct yaml_node *node, struct str *ret, struct error *e)
{
    if (node->kind != YAML_TEXT || is_null(node) || node->text.n == 0)
        return yaml_fail(doc, node, e, "%.*s%sa text is needed here", STR_ARG(node->key),
            node->key.n > 0 ? ": " : "");
    if (memchr(node->text.p, '\0', node->text.n) != NULL)
        return yaml_fail(doc, node, e, "a zero byte inside a text");
    *ret = node->text;
    return ERR_OK;
}

enum err
yaml_get_text(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, struct str *ret, struct error *e)
{
    const struct yaml_node *node = yaml_find(map, key);

    if (node != NULL)
        return yaml_text(doc, node, ret, e);
    if (presence == YAML_REQUIRED)
        return yaml_fail(doc, map, e, "\"%.*s\" is missing", STR_ARG(key));
    return ERR_OK;
}

enum err
yaml_get_bool(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, bool *ret, struct error *e)
{
    struct str text = STR("");
    enum err err = yaml_get_text(doc, map, key, presence, &text, e);

    if (err != ERR_OK || text.n == 0)
        return err;
    if (!str_equal(text, STR("true")) && !str_equal(text, STR("false")))
        return yaml_fail(
            doc, yaml_find(map, key), e, "\"%.*s\" must be true or false", STR_ARG(key));
    *ret = str_equal(text, STR("true"));
    return ERR_OK;
}

enum err
yaml_get_i64(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, int64_t min, int64_t max, int64_t *ret, struct error *e)
{
    struct str text = STR("");
    int64_t value;
    enum err err = yaml_get_text(doc, map, key, presence, &text, e);

    if (err != ERR_OK || text.n == 0)
        return err;
    if (!num_parse_i64(text, &value) || value < min || value > max)
        return yaml_fail(doc, yaml_find(map, key), e,
            "\"%.*s\" must be a whole number from %" PRId64 " to %" PRId64, STR_ARG(key), min, max);
    *ret = value;
    return ERR_OK;
}

enum err
yaml_get_node(const struct yaml_doc *doc, const struct yaml_node *map, struct str key,
    enum yaml_presence presence, enum yaml_kind kind, const struct yaml_node **ret, struct error *e)
{
    const struct yaml_node *node = yaml_find(map, key);

    if (node == NULL && presence == YAML_REQUIRED)
        return yaml_fail(doc, map, e, "\"%.*s\" is missing", STR_ARG(key));
    if (node != NULL && node->kind != kind)
        return yaml_fail(doc, node, e, "\"%.*s\" must be a %s", STR_ARG(key),
            kind == YAML_LIST ? "list" : "map");
    *ret = node;
    return ERR_OK;
}

/* Edit distance, given up above what could count as near. */
static size_t
distance(struct str a, struct str b)
{
    enum { WORD_MAX = 64 };
    size_t row[WORD_MAX + 1];

    if (a.n > WORD_MAX || b.n > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= b.n; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.n; i++) {
        size_t diagonal = row[0];

        row[0] = i;
        for (size_t j = 1; j <= b.n; j++) {
            size_t above = row[j];
            size_t best = diagonal + (a.p[i - 1] == b.p[j - 1] ? 0 : 1);

            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            diagonal = above;
        }
    }
    return row[b.n];
}

struct str
yaml_nearest(struct str word, const struct str *candidates, size_t n)
{
    struct str nearest = STR("");
    size_t best = word.n / 3 + 1; /* more wrong than that is another word */

    for (size_t i = 0; i < n; i++) {
        size_t d = distance(word, candidates[i]);

        if (d < best || (d == best && nearest.n == 0)) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
