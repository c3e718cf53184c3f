#include "sim/scan.h"

void
sim_scan_init(struct sim_scan *s, struct str text)
{
    *s = (struct sim_scan){.p = text.p, .end = text.p + text.n};
}

static void
skip_space(struct sim_scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\n' || *s->p == '\r' || *s->p == '\t'))
        s->p++;
}

static bool
take(struct sim_scan *s, char c)
{
    skip_space(s);
    if (s->bad || s->p >= s->end || *s->p != c) {
        s->bad = true;
        return false;
    }
    s->p++;
    return true;
}

char
sim_scan_peek(struct sim_scan *s)
{
    skip_space(s);
    if (s->bad || s->p >= s->end)
        return 0;
    return *s->p == '-' || (*s->p >= '0' && *s->p <= '9') ? '0' : *s->p;
}

/*
 * At an opening quote; returns what is between the quotes and stops behind the closing one. Control
 * characters are let through: we are a vendor, not a validator.
 */
static struct str
take_string(struct sim_scan *s)
{
    const char *from, *quote;

    if (!take(s, '"'))
        return STR_NONE;
    from = s->p;
    quote = memchr(s->p, '"', (size_t)(s->end - s->p));
    while (quote != NULL) {
        const char *slash = memchr(s->p, '\\', (size_t)(quote - s->p));

        if (slash == NULL) {
            s->p = quote + 1;
            return (struct str){from, (size_t)(quote - from)};
        }
        s->p = slash + 2;
        if (s->p > quote)
            quote = s->p >= s->end ? NULL : memchr(s->p, '"', (size_t)(s->end - s->p));
    }
    s->bad = true;
    s->p = s->end;
    return STR_NONE;
}

bool
sim_scan_enter(struct sim_scan *s, char open)
{
    return take(s, open);
}

/* At the border between two members: false at the closing bracket, which is taken. */
static bool
next(struct sim_scan *s, bool *first, char close)
{
    char c = sim_scan_peek(s);

    if (c == close) {
        s->p++;
        return false;
    }
    if (!*first && !take(s, ','))
        return false;
    *first = false;
    s->bad |= c == 0;
    return c != 0;
}

bool
sim_scan_member(struct sim_scan *s, bool *first, struct str *ret_key)
{
    struct str key;

    if (!next(s, first, '}'))
        return false;
    key = take_string(s);
    if (!take(s, ':'))
        return false;
    *ret_key = key;
    return true;
}

bool
sim_scan_element(struct sim_scan *s, bool *first)
{
    return next(s, first, ']');
}

/* An object or array, whole: counts brackets outside strings. */
static void
skip_nested(struct sim_scan *s)
{
    size_t depth = 0;

    do {
        char c = *s->p;

        if (c == '"') {
            take_string(s);
            continue;
        }
        depth += c == '{' || c == '[';
        depth -= c == '}' || c == ']';
        s->p++;
    } while (depth > 0 && !s->bad && s->p < s->end);
    if (depth > 0)
        s->bad = true;
}

static bool
is_literal(struct str v)
{
    static const struct str words[] = {STR_INIT("true"), STR_INIT("false"), STR_INIT("null")};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_equal(v, words[i]))
            return true;
    }
    return v.n > 0 && (v.p[0] == '-' || (v.p[0] >= '0' && v.p[0] <= '9'));
}

struct str
sim_scan_value(struct sim_scan *s)
{
    char c = sim_scan_peek(s);
    struct str v;

    if (c == 0) {
        s->bad = true;
        return STR_NONE;
    }
    if (c == '"')
        return take_string(s);
    v.p = s->p;
    if (c == '{' || c == '[') {
        skip_nested(s);
    } else {
        while (s->p < s->end && memchr(",]} \n\r\t", *s->p, 8) == NULL)
            s->p++;
        if (!is_literal((struct str){v.p, (size_t)(s->p - v.p)}))
            s->bad = true;
    }
    v.n = (size_t)(s->p - v.p);
    return s->bad ? STR_NONE : v;
}

bool
sim_scan_at_end(struct sim_scan *s)
{
    skip_space(s);
    return !s->bad && s->p == s->end;
}

static unsigned
hex4(const char *p)
{
    unsigned v = 0;

    for (int i = 0; i < 4; i++) {
        char c = str_upper_char(p[i]);

        v = v * 16 + (unsigned)(c >= 'A' && c <= 'F' ? c - 'A' + 10 : (c - '0') & 15);
    }
    return v;
}

static void
add_utf8(struct buf *b, unsigned c)
{
    if (c < 0x80) {
        buf_add_char(b, (char)c);
    } else if (c < 0x800) {
        buf_add_char(b, (char)(0xc0 | c >> 6));
        buf_add_char(b, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_add_char(b, (char)(0xe0 | c >> 12));
        buf_add_char(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(b, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_add_char(b, (char)(0xf0 | c >> 18));
        buf_add_char(b, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_add_char(b, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_add_char(b, (char)(0x80 | (c & 0x3f)));
    }
}

/* The escape at p (behind the backslash); returns how many bytes it took. */
static size_t
unescape_one(struct buf *b, const char *p, const char *end)
{
    static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
    const char *hit;
    unsigned c;

    if (*p != 'u') {
        hit = memchr(from, *p, sizeof(from) - 1);
        buf_add_char(b, hit == NULL ? *p : to[hit - from]);
        return 1;
    }
    if (end - p < 5)
        return (size_t)(end - p);
    c = hex4(p + 1);
    if (c >= 0xd800 && c < 0xdc00 && end - p >= 11 && p[5] == '\\' && p[6] == 'u') {
        add_utf8(b, 0x10000 + ((c - 0xd800) << 10) + ((hex4(p + 7) - 0xdc00) & 0x3ff));
        return 11;
    }
    add_utf8(b, c);
    return 5;
}

void
sim_scan_unescape(struct buf *b, struct str raw)
{
    const char *p = raw.p, *end = raw.p + raw.n;

    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        const char *stop = slash == NULL ? end : slash;

        buf_add(b, (struct str){p, (size_t)(stop - p)});
        p = stop;
        if (p + 1 < end)
            p += 1 + unescape_one(b, p + 1, end);
        else if (p < end)
            p++;
    }
}

bool
sim_scan_equals(struct str raw, struct str plain)
{
    AUTO_BUF struct buf b = {.max = 256};

    if (raw.n == 0 || memchr(raw.p, '\\', raw.n) == NULL)
        return str_equal(raw, plain);
    if (raw.n > 128)
        return false;
    sim_scan_unescape(&b, raw);
    return str_equal(buf_str(&b), plain);
}
