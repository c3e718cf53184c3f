#include "cli/dotenv.h"

struct scan {
    char *p; /* where it is */
    char *end;
    unsigned line;
};

static bool
is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void
skip_blanks(struct scan *s)
{
    while (s->p < s->end && is_blank(*s->p))
        s->p++;
}

static void
skip_line(struct scan *s)
{
    while (s->p < s->end && *s->p != '\n')
        s->p++;
    if (s->p < s->end)
        s->p++;
    s->line++;
}

static bool
is_name_char(char c, bool first)
{
    c = str_upper_char(c);
    return (c >= 'A' && c <= 'Z') || c == '_' || (!first && c >= '0' && c <= '9');
}

static struct str
take_name(struct scan *s)
{
    struct str name = {s->p, 0};

    while (s->p < s->end && is_name_char(*s->p, name.n == 0)) {
        s->p++;
        name.n++;
    }
    return name;
}

/* To the end of the line, or to a comment. */
static struct str
take_plain(struct scan *s)
{
    struct str value = {s->p, 0};

    while (s->p < s->end && *s->p != '\n') {
        if (*s->p == '#' && (value.n == 0 || is_blank(s->p[-1])))
            break;
        s->p++;
        value.n++;
    }
    return str_trim(value);
}

static char
escaped(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case '"':
    case '\\':
    case '$':
        return c;
    default:
        return '\0';
    }
}

/* Behind the opening quote; what is unescaped is written over what was there. False: no end. */
static bool
take_quoted(struct scan *s, char quote, struct str *ret)
{
    char *out = s->p, *begin = s->p;

    while (s->p < s->end && *s->p != quote) {
        char c = *s->p++;

        if (c == '\n' && quote == '\'')
            return false;
        s->line += c == '\n';
        if (c == '\\' && quote == '"' && s->p < s->end && escaped(*s->p) != '\0')
            c = escaped(*s->p++);
        *out++ = c;
    }
    if (s->p == s->end)
        return false;
    s->p++;
    *ret = (struct str){begin, (size_t)(out - begin)};
    return true;
}

static enum err
take_value(struct scan *s, struct dotenv_entry *entry, struct error *e)
{
    char quote;

    skip_blanks(s);
    quote = s->p < s->end ? *s->p : '\0';
    if (quote != '"' && quote != '\'') {
        entry->value = take_plain(s);
    } else {
        s->p++;
        if (!take_quoted(s, quote, &entry->value))
            return fail(e, ERR_USAGE, "line %u: the quote behind %.*s= is not closed%s",
                entry->line, STR_ARG(entry->name),
                quote == '\'' ? " on its line (only double quotes go over several lines)" : "");
        skip_blanks(s);
        if (s->p < s->end && *s->p != '\n' && *s->p != '#')
            return fail(e, ERR_USAGE,
                "line %u: something follows the closing quote of %.*s (a quote inside is written "
                "\\\")",
                s->line, STR_ARG(entry->name));
    }
    if (entry->value.n == 0)
        return fail(e, ERR_USAGE, "line %u: %.*s has no value", entry->line, STR_ARG(entry->name));
    return ERR_OK;
}

static enum err
take_entry(struct scan *s, struct dotenv_entry *ret, struct error *e)
{
    struct dotenv_entry entry = {.line = s->line};
    enum err err;

    entry.name = take_name(s);
    if (str_equal(entry.name, STR("export")) && s->p < s->end && is_blank(*s->p)) {
        skip_blanks(s);
        entry.name = take_name(s);
    }
    skip_blanks(s);
    if (entry.name.n == 0 || s->p == s->end || *s->p != '=')
        return fail(e, ERR_USAGE,
            "line %u is not NAME=value (names: A-Z, a-z, 0-9 and _, no digit first)", entry.line);
    s->p++;
    err = take_value(s, &entry, e);
    if (err == ERR_OK)
        *ret = entry;
    return err;
}

enum err
dotenv_parse(
    char *text, size_t n, size_t max, struct dotenv_entry *ret, size_t *ret_n, struct error *e)
{
    struct scan s = {text, text + n, 1};
    size_t found = 0;

    if (memchr(text, '\0', n) != NULL)
        return fail(e, ERR_USAGE, "there is a NUL byte in it: it is not a text file");
    if (n >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        s.p += 3;
    while (s.p < s.end) {
        skip_blanks(&s);
        if (s.p < s.end && *s.p != '\n' && *s.p != '#') {
            struct dotenv_entry entry;

            if (take_entry(&s, &entry, e) != ERR_OK)
                return e->code;
            for (size_t i = 0; i < found; i++) {
                if (str_equal_name(ret[i].name, entry.name))
                    return fail(e, ERR_USAGE, "line %u: %.*s stands in line %u already", entry.line,
                        STR_ARG(entry.name), ret[i].line);
            }
            if (found == max)
                return fail(e, ERR_USAGE, "line %u: more than %zu names", entry.line, max);
            ret[found++] = entry;
        }
        skip_line(&s);
    }
    *ret_n = found;
    return ERR_OK;
}
