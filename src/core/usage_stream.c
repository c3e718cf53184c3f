/* The lines of an event stream: which of them are worth parsing. */
#include "core/scan.h"
#include "core/usage_shape.h"

/* What stands around the text of a delta behind its type: ,"index":0,"delta":{"type": ... "}} */
enum { TEXT_OVERHEAD = 51 };

/* Nothing of a document was read yet. */
static bool
at_start(const struct usage_meter *m)
{
    return m->depth == 0 && !m->lost && m->done_n == 0;
}

static void
count_text(struct usage_meter *m, uint64_t bytes)
{
    m->text_bytes += bytes > TEXT_OVERHEAD ? bytes - TEXT_OVERHEAD : 1;
}

static void
end_line(struct usage_meter *m)
{
    if (m->line == USAGE_LINE_TEXT) {
        count_text(m, m->line_bytes);
        usage_start_document(m);
    } else if (m->line == USAGE_LINE_DATA && m->shape->words != NULL) {
        usage_start_document(m);
    }
    m->line = USAGE_LINE_FIELD;
    m->field_n = 0;
}

static void
start_data(struct usage_meter *m)
{
    m->line = USAGE_LINE_DATA;
    /* Nobody sends the chunk that is ours together with something else. */
    if (m->has_data)
        m->event = USAGE_EVENT_PASS;
    m->has_data = true;
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
            if (!at_start(m))
                usage_start_document(m);
        }
        m->field_n = 0;
    } else if (c != name[m->field_n]) {
        m->line = USAGE_LINE_SKIP;
    } else if (name[++m->field_n] == '\0') {
        start_data(m);
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

/*
 * A whole line of data that begins as those with text do: what parsing it would come to is known.
 */
static bool
is_text(struct usage_meter *m, struct str line)
{
    struct str start = m->shape->text_start;

    if (start.n == 0 || !at_start(m))
        return false;
    if (line.n > 0 && line.p[0] == ' ')
        line = str_slice(line, 1, line.n);
    if (!str_starts_with(line, start))
        return false;
    count_text(m, line.n - start.n);
    return true;
}

/* Bytes of a line behind the name of its field, up to its end at most. */
static void
feed_line(struct usage_meter *m, const char *p, size_t n)
{
    size_t used = m->line == USAGE_LINE_DATA ? usage_feed_json(m, p, n) : 0;

    if (m->line == USAGE_LINE_TEXT)
        m->line_bytes += n - used;
}

/*
 * A line from its first byte on, when all of it is there: nearly always. It comes to what reading it
 * byte by byte does. Returns how many bytes were used: none of the blank line, or of half a line.
 */
static size_t
feed_whole_line(struct usage_meter *m, const char *p, size_t n)
{
    enum { NAME = 5 };
    const char *newline = *p == '\n' || *p == '\r' ? NULL : memchr(p, '\n', n);
    struct str data;

    if (newline == NULL)
        return 0;
    n = (size_t)(newline - p);
    if (n < NAME || memcmp(p, "data:", NAME) != 0)
        return n + 1;
    start_data(m);
    data = (struct str){p + NAME, n - NAME};
    if (is_text(m, data)) {
        m->line = USAGE_LINE_FIELD;
        return n + 1;
    }
    if (!says_nothing(m, data.p, data.n))
        feed_line(m, data.p, data.n);
    end_line(m);
    return n + 1;
}

size_t
usage_meter_feed_event(struct usage_meter *m, const char *p, size_t n)
{
    size_t i = 0;

    if (m->event_ended) {
        m->event_ended = m->has_data = false;
        m->event = USAGE_EVENT_OPEN;
    }
    while (i < n && !m->event_ended) {
        bool at_name = m->line == USAGE_LINE_FIELD;
        size_t whole = at_name && m->field_n == 0 ? feed_whole_line(m, p + i, n - i) : 0;
        const char *newline;
        size_t end;

        if (whole > 0) {
            i += whole;
        } else if (at_name) {
            feed_field(m, p[i++]);
        } else {
            newline = memchr(p + i, '\n', n - i);
            end = newline == NULL ? n : (size_t)(newline - p);
            feed_line(m, p + i, end - i);
            i = end;
            if (newline != NULL) {
                end_line(m);
                i++;
            }
        }
    }
    return i;
}
