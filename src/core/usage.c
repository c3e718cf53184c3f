#include "core/usage.h"

#include "core/scan.h"
#include "core/usage_shape.h"

/* What a string is to us. */
enum role { ROLE_SKIP, ROLE_KEY, ROLE_WORD };

#define COUNT(raw) [raw] = {.kind = USAGE_NODE_COUNT, .count = raw}

const struct usage_node usage_count_nodes[USAGE_RAW_N] = {
    COUNT(USAGE_RAW_INPUT),
    COUNT(USAGE_RAW_OUTPUT),
    COUNT(USAGE_RAW_READ),
    COUNT(USAGE_RAW_WRITE),
    COUNT(USAGE_RAW_WRITE_5M),
    COUNT(USAGE_RAW_WRITE_1H),
    COUNT(USAGE_RAW_REASONING),
    COUNT(USAGE_RAW_TOTAL),
    COUNT(USAGE_RAW_MISS),
    COUNT(USAGE_RAW_SEARCHES),
    COUNT(USAGE_RAW_EACH_INPUT),
    COUNT(USAGE_RAW_EACH_READ),
    COUNT(USAGE_RAW_EACH_WRITE),
    COUNT(USAGE_RAW_EACH_WRITE_5M),
    COUNT(USAGE_RAW_EACH_WRITE_1H),
    COUNT(USAGE_RAW_EACH_OUTPUT),
    COUNT(USAGE_RAW_STATUS),
};
const struct usage_node usage_model_node = {.kind = USAGE_NODE_MODEL};
const struct usage_node usage_type_node = {.kind = USAGE_NODE_TYPE};
const struct usage_node usage_finish_node = {.kind = USAGE_NODE_FINISH};

static const struct usage_shape *const shapes[DIALECT_COUNT] = {
    [DIALECT_ANTHROPIC] = &usage_anthropic,
    [DIALECT_OPENAI_CHAT] = &usage_chat,
    [DIALECT_OPENAI_RESPONSES] = &usage_responses,
    [DIALECT_OPENAI_EMBEDDINGS] = &usage_embeddings,
};

int64_t
usage_prompt_tokens(const struct usage *u)
{
    return u->input + u->cache_read + u->cache_write_5m + u->cache_write_1h;
}

struct usage
usage_estimate(const struct usage *counts, uint64_t text_bytes)
{
    struct usage estimate = *counts;
    int64_t from_text = (int64_t)((text_bytes + 3) / 4);

    if (from_text > estimate.output)
        estimate.output = from_text;
    return estimate;
}

void
usage_start_document(struct usage_meter *m)
{
    m->depth = 0;
    m->skip = 0;
    m->value = m->stream ? m->shape->event : m->shape->answer;
    m->in_string = m->in_escape = m->expect_key = m->lost = false;
    m->number_active = false;
    m->done_n = 0;
    m->type = 0;
    m->has_usage = m->has_output = m->has_finish = m->has_part = false;
    m->raw_seen = 0;
    m->raw[USAGE_RAW_STATUS] = 0;
}

void
usage_meter_init(struct usage_meter *m, enum dialect d, bool stream)
{
    *m = (struct usage_meter){.stream = stream, .line = USAGE_LINE_FIELD, .shape = shapes[d]};
    usage_start_document(m);
}

static void
end_usage(struct usage_meter *m)
{
    m->has_usage = true;
    if (usage_raw_is_seen(m, USAGE_RAW_OUTPUT)) {
        m->flags |= USAGE_OUTPUT_SEEN;
        m->has_output = true;
    }
    m->shape->usage(m);
    /* No prompt has no tokens: vendors that say zero first correct it later. */
    if (usage_prompt_tokens(&m->counts) > 0)
        m->flags |= USAGE_INPUT_SEEN;
    m->changes++;
}

static bool
is_container(const struct usage_node *node, bool array)
{
    return node != NULL &&
        (array ? node->kind == USAGE_NODE_ARRAY
               : node->kind < USAGE_NODE_COUNT && node->kind != USAGE_NODE_ARRAY);
}

static void
open_container(struct usage_meter *m, bool array)
{
    const struct usage_node *node = m->value;

    if (!is_container(node, array)) {
        m->skip = 1;
        return;
    }
    m->path[++m->depth] = node;
    m->expect_key = !array;
    m->value = array ? node->element : NULL;
    if (node->kind == USAGE_NODE_USAGE) {
        int64_t status = m->raw[USAGE_RAW_STATUS];

        memset(m->raw, 0, sizeof(m->raw));
        m->raw[USAGE_RAW_STATUS] = status;
        m->raw_seen = 0;
    } else if (node->kind == USAGE_NODE_PART) {
        m->has_part = true;
        m->event = USAGE_EVENT_PASS;
    } else if (node->kind == USAGE_NODE_ERROR) {
        m->flags |= USAGE_ERROR;
    }
}

static void
close_container(struct usage_meter *m)
{
    if (m->path[m->depth]->kind == USAGE_NODE_USAGE)
        end_usage(m);
    m->depth--;
    m->expect_key = false;
    m->value = NULL;
    if (m->depth > 0)
        return;
    m->shape->end(m);
    usage_start_document(m);
    m->lost = m->stream && m->shape->words != NULL; /* one a line */
}

static void
end_key(struct usage_meter *m, struct str word)
{
    const struct usage_node *node = m->path[m->depth];

    m->value = NULL;
    for (unsigned i = 0; i < node->names_n; i++) {
        struct str name = node->names[i].name;

        if (word.n == name.n && word.p[0] == name.p[0] && memcmp(word.p, name.p, name.n) == 0) {
            m->value = node->names[i].node;
            return;
        }
    }
}

static void
end_word(struct usage_meter *m, struct str word)
{
    switch (m->value->kind) {
    case USAGE_NODE_TYPE:
        m->shape->type(m, word);
        break;
    case USAGE_NODE_FINISH:
        m->has_finish = true;
        break;
    default:
        if (word.n > USAGE_WORD_MAX || m->model_n > 0)
            break;
        memcpy(m->model, word.p, word.n);
        m->model_n = (uint8_t)word.n;
        break;
    }
}

/* The string ended; word is its text, or one that is too long to be any of ours. */
static void
end_string(struct usage_meter *m, struct str word)
{
    m->in_string = false;
    if (m->role == ROLE_KEY)
        end_key(m, word);
    else if (m->role == ROLE_WORD)
        end_word(m, word);
}

static void
start_string(struct usage_meter *m)
{
    m->in_string = true;
    m->word_n = 0;
    m->role = ROLE_SKIP;
    if (m->skip > 0)
        return;
    if (m->expect_key)
        m->role = ROLE_KEY;
    else if (m->value != NULL && m->value->kind >= USAGE_NODE_MODEL)
        m->role = ROLE_WORD;
}

/* Keeps what has come of a word that is not whole yet. One byte too many marks one too long. */
static void
keep(struct usage_meter *m, const char *p, size_t n)
{
    size_t room = (size_t)USAGE_WORD_MAX + 1 - m->word_n;

    if (n > room)
        n = room;
    memcpy(m->word + m->word_n, p, n);
    m->word_n = (uint8_t)(m->word_n + n);
}

/* Bytes of a string up to its end or the end of what there is. Returns how many were used. */
static size_t
feed_string(struct usage_meter *m, const char *p, size_t n)
{
    bool is_word = m->role == ROLE_KEY || m->role == ROLE_WORD;
    size_t run = 0;

    if (m->in_escape) {
        m->in_escape = false;
        run = 1;
    } else {
        run = scan_string_end(p, n);
        if (run < n && p[run] == '"') {
            if (is_word && m->word_n > 0)
                keep(m, p, run);
            end_string(m, m->word_n > 0 ? (struct str){m->word, m->word_n} : (struct str){p, run});
            return run + 1;
        }
        if (run < n) {
            m->in_escape = p[run] == '\\';
            run++;
        }
    }
    if (is_word)
        keep(m, p, run);
    return run;
}

static void
end_number(struct usage_meter *m)
{
    const struct usage_node *node = m->value;

    m->number_active = false;
    if (m->number_bad || node == NULL || node->kind != USAGE_NODE_COUNT)
        return;
    if (node->count >= USAGE_RAW_EACH_INPUT && node->count <= USAGE_RAW_EACH_OUTPUT)
        m->number += m->raw[node->count];
    m->raw[node->count] = m->number > USAGE_COUNT_MAX ? USAGE_COUNT_MAX : m->number;
    m->raw_seen |= 1u << node->count;
}

static void
feed_number(struct usage_meter *m, char c)
{
    if (!m->number_active) {
        m->number_active = true;
        m->number = 0;
        m->number_bad = c == '-';
        if (c == '-')
            return;
    }
    if (c < '0' || c > '9')
        m->number_bad = true;
    else if (m->number <= USAGE_COUNT_MAX)
        m->number = m->number * 10 + (c - '0');
    if (m->number > USAGE_COUNT_MAX)
        m->number_bad = true;
}

/* A byte in a container that does not matter. */
static void
feed_skipped(struct usage_meter *m, char c)
{
    if (c == '"')
        start_string(m);
    else if (c == '{' || c == '[')
        m->skip++;
    else if (c == '}' || c == ']')
        m->skip--;
}

/* Before the object: "[DONE]" ends a stream, whatever else is not for us: an error page. */
static void
feed_start(struct usage_meter *m, char c)
{
    static const char done[] = "[DONE]";

    if (c == '{' && m->done_n == 0) {
        open_container(m, false);
    } else if (m->stream && c == done[m->done_n]) {
        if (done[++m->done_n] == '\0') {
            m->shape->end(m);
            m->done_n = 0;
            m->lost = true;
        }
    } else if (!str_is_space(c)) {
        m->lost = true;
    }
}

static bool
is_number(const struct usage_meter *m, char c)
{
    return (c >= '0' && c <= '9') || c == '-' ||
        (m->number_active && (c == '.' || c == 'e' || c == 'E' || c == '+'));
}

/* A number, to its end or the end of what there is. */
static size_t
feed_digits(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && is_number(m, p[i]))
        feed_number(m, p[i++]);
    if (i < n)
        end_number(m);
    return i;
}

/* true, false and null are none of ours. */
static size_t
feed_literal(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && p[i] >= 'a' && p[i] <= 'z')
        i++;
    if (i > 0 || !str_is_space(p[0]))
        m->value = NULL;
    return i > 0 ? i : 1;
}

/* The rest of a string, and what stands in a container that matters, until it leads elsewhere. */
static size_t
feed_structure(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = m->number_active ? feed_digits(m, p, n) : 0;

    while (i < n) {
        char c = p[i];

        if (m->in_string) {
            i += feed_string(m, p + i, n - i);
            if (m->skip > 0 || m->line == USAGE_LINE_TEXT)
                return i;
            continue;
        }
        switch (c) {
        case '"':
            start_string(m);
            i++;
            break;
        case ',':
            m->expect_key = m->path[m->depth]->kind != USAGE_NODE_ARRAY;
            m->value = m->path[m->depth]->element;
            i++;
            break;
        case ':':
            m->expect_key = false;
            i++;
            break;
        case '{':
        case '[':
            open_container(m, c == '[');
            i++;
            if (m->skip > 0)
                return i;
            break;
        case '}':
        case ']':
            close_container(m);
            i++;
            if (m->depth == 0)
                return i;
            break;
        default:
            i += is_number(m, c) ? feed_digits(m, p + i, n - i) : feed_literal(m, p + i, n - i);
            break;
        }
    }
    return i;
}

size_t
usage_feed_json(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && !m->lost && m->line != USAGE_LINE_TEXT) {
        if (m->in_string || (m->depth > 0 && m->skip == 0)) {
            i += feed_structure(m, p + i, n - i);
        } else if (m->depth == 0) {
            feed_start(m, p[i++]);
        } else {
            i += scan_structure(p + i, n - i);
            if (i < n)
                feed_skipped(m, p[i++]);
        }
    }
    return m->lost ? n : i;
}

void
usage_meter_feed(struct usage_meter *m, const char *p, size_t n)
{
    if (!m->stream) {
        (void)usage_feed_json(m, p, n);
        return;
    }
    for (size_t i = 0; i < n;)
        i += usage_meter_feed_event(m, p + i, n - i);
}
