#include "core/usage.h"

#include "core/scan.h"

enum line {
    LINE_FIELD, /* in the name of a field */
    LINE_DATA,  /* in the value of a data field */
    LINE_TEXT,  /* in the rest of one that carries nothing but a piece of text */
    LINE_SKIP,  /* in a line that says nothing to us */
};

enum key {
    KEY_OTHER,
    KEY_TYPE,
    KEY_MESSAGE,
    KEY_USAGE,
    KEY_MODEL,
    KEY_STOP_REASON,
    KEY_TEXT,
    KEY_CACHE_CREATION,
    KEY_OUTPUT_DETAILS,
    KEY_COUNT_FIRST, /* from here on: counts of tokens */
    KEY_INPUT = KEY_COUNT_FIRST,
    KEY_OUTPUT,
    KEY_CACHE_READ,
    KEY_CACHE_WRITE,
    KEY_WRITE_5M,
    KEY_WRITE_1H,
    KEY_REASONING,
};

static const struct {
    struct str name;
    enum key key;
} key_names[] = {
    {STR_INIT("type"), KEY_TYPE},
    {STR_INIT("message"), KEY_MESSAGE},
    {STR_INIT("usage"), KEY_USAGE},
    {STR_INIT("model"), KEY_MODEL},
    {STR_INIT("stop_reason"), KEY_STOP_REASON},
    {STR_INIT("text"), KEY_TEXT},
    {STR_INIT("thinking"), KEY_TEXT},
    {STR_INIT("partial_json"), KEY_TEXT},
    {STR_INIT("cache_creation"), KEY_CACHE_CREATION},
    {STR_INIT("output_tokens_details"), KEY_OUTPUT_DETAILS},
    {STR_INIT("input_tokens"), KEY_INPUT},
    {STR_INIT("output_tokens"), KEY_OUTPUT},
    {STR_INIT("cache_read_input_tokens"), KEY_CACHE_READ},
    {STR_INIT("cache_creation_input_tokens"), KEY_CACHE_WRITE},
    {STR_INIT("ephemeral_5m_input_tokens"), KEY_WRITE_5M},
    {STR_INIT("ephemeral_1h_input_tokens"), KEY_WRITE_1H},
    {STR_INIT("thinking_tokens"), KEY_REASONING},
};

enum event { EVENT_OTHER, EVENT_DELTA, EVENT_STOP, EVENT_ERROR };

/* What stands around the text of a delta behind its type: ,"index":0,"delta":{"type": ... "}} */
enum { TEXT_OVERHEAD = 51 };

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

static void
start_document(struct usage_meter *m)
{
    m->depth = 0;
    m->lost = false;
    m->in_string = m->in_escape = false;
    m->number_active = false;
    m->event = EVENT_OTHER;
    m->event_has_stop_reason = m->event_has_output = false;
}

void
usage_meter_init(struct usage_meter *m, bool stream)
{
    *m = (struct usage_meter){.stream = stream, .line = LINE_FIELD};
    start_document(m);
}

static bool
in_array(const struct usage_meter *m)
{
    return (m->arrays[m->depth / 8] >> (m->depth % 8) & 1) != 0;
}

/* Depth of the usage object we are in or right below, 0 when there is none. */
static unsigned
usage_depth(const struct usage_meter *m)
{
    unsigned depth = 0;

    if (m->depth >= 2 && m->keys[1] == KEY_USAGE)
        depth = 2;
    else if (m->depth >= 3 && m->keys[1] == KEY_MESSAGE && m->keys[2] == KEY_USAGE)
        depth = 3;
    return depth != 0 && m->depth <= depth + 1 ? depth : 0;
}

static void
end_number(struct usage_meter *m)
{
    unsigned depth = usage_depth(m);
    enum key key;

    if (!m->number_active)
        return;
    m->number_active = false;
    if (depth == 0 || m->number_bad || in_array(m))
        return;
    key = (enum key)m->keys[m->depth];
    if (key < KEY_COUNT_FIRST)
        return;
    /* The 5-minute and 1-hour parts stand one level down, as does the part that was reasoning. */
    if ((key == KEY_WRITE_5M || key == KEY_WRITE_1H) !=
        (m->depth == depth + 1 && m->keys[depth] == KEY_CACHE_CREATION))
        return;
    if ((key == KEY_REASONING) != (m->depth == depth + 1 && m->keys[depth] == KEY_OUTPUT_DETAILS))
        return;
    if (m->depth == depth + 1 && key < KEY_WRITE_5M)
        return;
    m->pending[key - KEY_COUNT_FIRST] = m->number;
    m->pending_seen |= (uint8_t)(1 << (key - KEY_COUNT_FIRST));
}

/* Streams repeat their counts, cumulatively; a later zero never erases what was counted before. */
static void
take_count(struct usage_meter *m, enum key key, int64_t *count)
{
    if ((m->pending_seen >> (key - KEY_COUNT_FIRST) & 1) != 0 &&
        m->pending[key - KEY_COUNT_FIRST] > 0)
        *count = m->pending[key - KEY_COUNT_FIRST];
}

static void
end_usage(struct usage_meter *m)
{
    struct usage *c = &m->counts;

    take_count(m, KEY_INPUT, &c->input);
    take_count(m, KEY_OUTPUT, &c->output);
    take_count(m, KEY_CACHE_READ, &c->cache_read);
    take_count(m, KEY_CACHE_WRITE, &m->write_total);
    take_count(m, KEY_WRITE_5M, &c->cache_write_5m);
    take_count(m, KEY_WRITE_1H, &c->cache_write_1h);
    take_count(m, KEY_REASONING, &c->reasoning);
    /* A total without its parts, or beyond them, was written for five minutes. */
    if (m->write_total > c->cache_write_5m + c->cache_write_1h)
        c->cache_write_5m = m->write_total - c->cache_write_1h;
    if ((m->pending_seen >> (KEY_OUTPUT - KEY_COUNT_FIRST) & 1) != 0) {
        m->flags |= USAGE_OUTPUT_SEEN;
        m->event_has_output = true;
    }
    /* A whole answer states its usage once. */
    if (!m->stream && m->event_has_output)
        m->flags |= USAGE_FINAL;
    /* No prompt has no tokens: vendors that say zero first correct it later. */
    if (usage_prompt_tokens(c) > 0)
        m->flags |= USAGE_INPUT_SEEN;
    m->pending_seen = 0;
    m->changes++;
}

static void
end_document(struct usage_meter *m)
{
    if (!m->stream) {
        m->flags |= USAGE_COMPLETE;
        return;
    }
    if (m->event == EVENT_DELTA && m->event_has_output && m->event_has_stop_reason)
        m->flags |= USAGE_FINAL;
    if (m->event == EVENT_STOP) {
        m->flags |= USAGE_COMPLETE;
        if ((m->flags & USAGE_OUTPUT_SEEN) != 0)
            m->flags |= USAGE_FINAL;
    }
    if (m->event == EVENT_ERROR)
        m->flags |= USAGE_ERROR;
}

static void
push(struct usage_meter *m, bool array)
{
    if (m->depth + 1 >= USAGE_DEPTH_MAX) {
        m->lost = true;
        return;
    }
    m->depth++;
    if (array)
        m->arrays[m->depth / 8] |= (uint8_t)(1 << (m->depth % 8));
    else
        m->arrays[m->depth / 8] &= (uint8_t) ~(1 << (m->depth % 8));
    if (m->depth <= USAGE_KEYS_MAX)
        m->keys[m->depth] = KEY_OTHER;
    m->expect_key = !array;
    if (usage_depth(m) == m->depth)
        m->pending_seen = 0;
}

static void
pop(struct usage_meter *m)
{
    if (m->depth == 0)
        return;
    if (usage_depth(m) == m->depth && !in_array(m))
        end_usage(m);
    m->depth--;
    m->expect_key = false;
    if (m->depth == 0) {
        end_document(m);
        start_document(m);
    }
}

static enum key
key_of(struct str word)
{
    for (size_t i = 0; i < sizeof(key_names) / sizeof(key_names[0]); i++) {
        if (str_equal(word, key_names[i].name))
            return key_names[i].key;
    }
    return KEY_OTHER;
}

static void
end_value_string(struct usage_meter *m, struct str word)
{
    enum key key = m->depth <= USAGE_KEYS_MAX ? (enum key)m->keys[m->depth] : KEY_OTHER;

    if (in_array(m))
        return;
    if (key == KEY_TYPE && m->depth == 1) {
        m->event = str_equal(word, STR("message_delta")) ? EVENT_DELTA
            : str_equal(word, STR("message_stop"))       ? EVENT_STOP
            : str_equal(word, STR("error"))              ? EVENT_ERROR
                                                         : EVENT_OTHER;
        /* Nearly every event of a stream, and only its length matters: the rest is not parsed. */
        if (m->stream && str_equal(word, STR("content_block_delta"))) {
            m->line = LINE_TEXT;
            m->string_bytes = 0;
        }
    } else if (key == KEY_STOP_REASON) {
        m->event_has_stop_reason = true;
    } else if (key == KEY_TEXT && !m->stream) {
        m->text_bytes += m->string_bytes;
    } else if (key == KEY_MODEL && m->string_bytes <= USAGE_WORD_MAX &&
        (m->depth == 1 || (m->depth == 2 && m->keys[1] == KEY_MESSAGE))) {
        memcpy(m->model, word.p, word.n);
        m->model_n = (uint8_t)word.n;
    }
}

static void
end_string(struct usage_meter *m)
{
    struct str word = {m->word, m->word_n};

    m->in_string = false;
    if (!m->is_key)
        end_value_string(m, word);
    else if (m->depth <= USAGE_KEYS_MAX)
        m->keys[m->depth] = (uint8_t)(m->string_bytes <= USAGE_WORD_MAX ? key_of(word) : KEY_OTHER);
}

static void
take_text(struct usage_meter *m, const char *p, size_t n)
{
    size_t room = m->keep ? (size_t)USAGE_WORD_MAX - m->word_n : 0;
    size_t kept = n < room ? n : room;

    memcpy(m->word + m->word_n, p, kept);
    m->word_n = (uint8_t)(m->word_n + kept);
    m->string_bytes += n;
}

/* Bytes of a string up to its end or the end of what there is. Returns how many were used. */
static size_t
feed_string(struct usage_meter *m, const char *p, size_t n)
{
    size_t run;

    if (m->in_escape) {
        m->in_escape = false;
        take_text(m, p, 1);
        return 1;
    }
    run = scan_string_end(p, n);
    take_text(m, p, run);
    if (run == n)
        return n;
    if (p[run] == '"') {
        end_string(m);
    } else {
        m->in_escape = p[run] == '\\';
        take_text(m, p + run, 1);
    }
    return run + 1;
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
    else if (m->number < USAGE_COUNT_MAX)
        m->number = m->number * 10 + (c - '0');
    if (m->number > USAGE_COUNT_MAX)
        m->number_bad = true;
}

static void
feed_structure(struct usage_meter *m, char c)
{
    /* What is not an object is not for us: "[DONE]", an error page. */
    if (m->depth == 0 && c != '{' && !str_is_space(c)) {
        m->lost = true;
        return;
    }
    if ((c >= '0' && c <= '9') || c == '-' ||
        (m->number_active && (c == '.' || c == 'e' || c == 'E' || c == '+'))) {
        feed_number(m, c);
        return;
    }
    end_number(m);
    switch (c) {
    case '{':
        push(m, false);
        break;
    case '[':
        push(m, true);
        break;
    case '}':
    case ']':
        pop(m);
        break;
    case ',':
        m->expect_key = m->depth > 0 && !in_array(m);
        break;
    case ':':
        m->expect_key = false;
        break;
    case '"':
        m->in_string = true;
        m->is_key = m->expect_key;
        m->keep = m->depth <= USAGE_KEYS_MAX &&
            (m->is_key || m->keys[m->depth] == KEY_TYPE || m->keys[m->depth] == KEY_MODEL);
        m->word_n = 0;
        m->string_bytes = 0;
        break;
    default:
        break;
    }
}

/* Returns how many bytes were used: less than n when the rest of the line is only text. */
static size_t
feed_json(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && !m->lost && m->line != LINE_TEXT) {
        if (m->in_string)
            i += feed_string(m, p + i, n - i);
        else
            feed_structure(m, p[i++]);
    }
    return m->lost ? n : i;
}

static void
end_line(struct usage_meter *m)
{
    if (m->line == LINE_TEXT) {
        m->text_bytes += m->string_bytes > TEXT_OVERHEAD ? m->string_bytes - TEXT_OVERHEAD : 1;
        start_document(m);
    }
    m->line = LINE_FIELD;
    m->field_n = 0;
}

/*
 * The name of a field: "data:" opens what we read, a blank line ends an event, the rest is skipped.
 */
static void
feed_field(struct usage_meter *m, char c)
{
    static const char name[] = "data:";

    if (c == '\n' || c == '\r') {
        if (m->field_n == 0)
            start_document(m);
        m->field_n = 0;
    } else if (c != name[m->field_n]) {
        m->line = LINE_SKIP;
    } else if (name[++m->field_n] == '\0') {
        m->line = LINE_DATA;
    }
}

static void
feed_stream(struct usage_meter *m, const char *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        const char *newline;
        size_t end;

        if (m->line == LINE_FIELD) {
            feed_field(m, p[i++]);
            continue;
        }
        newline = memchr(p + i, '\n', n - i);
        end = newline == NULL ? n : (size_t)(newline - p);
        if (m->line == LINE_DATA)
            i += feed_json(m, p + i, end - i);
        if (m->line == LINE_TEXT)
            m->string_bytes += end - i;
        i = end;
        if (newline != NULL) {
            end_line(m);
            i++;
        }
    }
}

void
usage_meter_feed(struct usage_meter *m, const char *p, size_t n)
{
    if (m->stream)
        feed_stream(m, p, n);
    else
        (void)feed_json(m, p, n);
}
