#include "core/usage.h"

#include "core/scan.h"
#include "core/usage_shape.h"

/* What a string is to us. */
enum role { ROLE_SKIP, ROLE_KEY, ROLE_WORD };

/* What stands around the text of a delta behind its type: ,"index":0,"delta":{"type": ... "}} */
enum { TEXT_OVERHEAD = 51 };

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

/* ---- JSON ---- */

static void
start_document(struct usage_meter *m)
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
    start_document(m);
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
    start_document(m);
    m->lost = m->stream && m->shape->words != NULL; /* one a line */
}

static void
end_key(struct usage_meter *m, struct str word)
{
    const struct usage_node *node = m->path[m->depth];

    m->value = NULL;
    for (unsigned i = 0; i < node->names_n; i++) {
        struct str name = node->names[i].name;

        if (word.n == name.n && word.p[0] == name.p[0] && memcmp(word.p, name.p, name.n) == 0)
            m->value = node->names[i].node;
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

static bool
is_number(const struct usage_meter *m, char c)
{
    return (c >= '0' && c <= '9') || c == '-' ||
        (m->number_active && (c == '.' || c == 'e' || c == 'E' || c == '+'));
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

static void
feed_structure(struct usage_meter *m, char c)
{
    if (c == '"' && !m->number_active) {
        start_string(m);
        return;
    }
    if (is_number(m, c)) {
        feed_number(m, c);
        return;
    }
    if (m->number_active)
        end_number(m);
    switch (c) {
    case '{':
    case '[':
        open_container(m, c == '[');
        break;
    case '}':
    case ']':
        close_container(m);
        break;
    case ',':
        m->expect_key = m->path[m->depth]->kind != USAGE_NODE_ARRAY;
        m->value = m->path[m->depth]->element;
        break;
    case ':':
        m->expect_key = false;
        break;
    case '"':
        start_string(m);
        break;
    default:
        /* true, false, null: none of ours. */
        if (!str_is_space(c))
            m->value = NULL;
        break;
    }
}

/* Returns how many bytes were used: less than n when the rest of the line is only text. */
static size_t
feed_json(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && !m->lost && m->line != USAGE_LINE_TEXT) {
        if (m->in_string) {
            i += feed_string(m, p + i, n - i);
        } else if (m->skip > 0) {
            i += scan_structure(p + i, n - i);
            if (i < n)
                feed_skipped(m, p[i++]);
        } else if (m->depth == 0) {
            feed_start(m, p[i++]);
        } else {
            feed_structure(m, p[i++]);
        }
    }
    return m->lost ? n : i;
}

/* ---- lines of an event stream ---- */

static void
end_line(struct usage_meter *m)
{
    if (m->line == USAGE_LINE_TEXT) {
        m->text_bytes += m->line_bytes > TEXT_OVERHEAD ? m->line_bytes - TEXT_OVERHEAD : 1;
        start_document(m);
    } else if (m->line == USAGE_LINE_DATA && m->shape->words != NULL) {
        start_document(m);
    }
    m->line = USAGE_LINE_FIELD;
    m->field_n = 0;
}

/*
 * The name of a field: "data:" opens what we read, a blank line ends an event, the rest is skipped.
 */
static void
feed_field(struct usage_meter *m, char c)
{
    static const char name[] = "data:";

    if (c == '\r' && m->field_n == 0)
        return;
    if (c == '\n') {
        if (m->field_n == 0) {
            m->event_ended = true;
            if (m->event == USAGE_EVENT_OPEN)
                m->event = USAGE_EVENT_PASS;
            start_document(m);
        }
        m->field_n = 0;
    } else if (c != name[m->field_n]) {
        m->line = USAGE_LINE_SKIP;
    } else if (name[++m->field_n] == '\0') {
        m->line = USAGE_LINE_DATA;
        /* Nobody sends the chunk that is ours together with something else. */
        if (m->has_data)
            m->event = USAGE_EVENT_PASS;
        m->has_data = true;
    }
}

/*
 * A whole line of data. Most of a stream's are text, and are told by what they do not hold: faster
 * than parsing them. (The model is taken from the first that names it.)
 */
static bool
says_nothing(const struct usage_meter *m, const char *p, size_t n)
{
    const struct str *word = m->shape->words;

    if (word == NULL || m->model_n == 0 || n < 2 || (p[0] != '{' && (p[0] != ' ' || p[1] != '{')))
        return false;
    for (size_t at = 0; at < n; at++) {
        struct str rest;

        at += scan_quoted(p + at, n - at);
        rest = (struct str){p + at, n - at};
        for (word = m->shape->words; word->p != NULL; word++) {
            if (!str_starts_with(rest, *word))
                continue;
            rest = str_slice(rest, word->n, rest.n);
            if (!str_starts_with(rest, STR(":null")) && !str_starts_with(rest, STR(": null")))
                return false;
            break;
        }
    }
    return true;
}

size_t
usage_meter_feed_event(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;
    bool fresh = false; /* at the first byte of a line's data */

    if (m->event_ended) {
        m->event_ended = m->has_data = false;
        m->event = USAGE_EVENT_OPEN;
    }
    while (i < n && !m->event_ended) {
        const char *newline;
        size_t end;

        if (m->line == USAGE_LINE_FIELD) {
            feed_field(m, p[i++]);
            fresh = m->line == USAGE_LINE_DATA;
            continue;
        }
        newline = memchr(p + i, '\n', n - i);
        end = newline == NULL ? n : (size_t)(newline - p);
        if (m->line == USAGE_LINE_DATA &&
            !(fresh && newline != NULL && says_nothing(m, p + i, end - i)))
            i += feed_json(m, p + i, end - i);
        if (m->line == USAGE_LINE_TEXT)
            m->line_bytes += end - i;
        i = end;
        if (newline != NULL) {
            end_line(m);
            i++;
        }
    }
    return i;
}

void
usage_meter_feed(struct usage_meter *m, const char *p, size_t n)
{
    if (!m->stream) {
        (void)feed_json(m, p, n);
        return;
    }
    for (size_t i = 0; i < n;)
        i += usage_meter_feed_event(m, p + i, n - i);
}
