#include "core/request.h"

#include "core/request_word.h"
#include "core/scan.h"

enum state {
    AT_START,        /* before the root object */
    AT_KEY_OR_CLOSE, /* behind '{' */
    AT_KEY,          /* behind ',' in an object */
    AT_COLON,
    AT_VALUE,
    AT_VALUE_OR_CLOSE, /* behind '[' */
    AT_COMMA_OR_CLOSE, /* behind a value */
    AT_END,            /* behind the root object */
    IN_STRING,         /* up to here: structure */
    IN_ESCAPE,
    IN_HEX,
    IN_LITERAL,
    NUMBER_MINUS, /* the states of a number say what was read last */
    NUMBER_ZERO,
    NUMBER_DIGITS,
    NUMBER_POINT,
    NUMBER_FRACTION,
    NUMBER_E,
    NUMBER_E_SIGN,
    NUMBER_E_DIGITS,
};

void
request_scan_init(struct request_scan *s, enum dialect d)
{
    *s = (struct request_scan){.state = AT_START, .dialect = (uint8_t)d, .choices = 1};
}

static bool
open_container(struct request_scan *s, bool array)
{
    if (s->depth + 1 >= REQUEST_DEPTH_MAX)
        return request_fail(s, REQUEST_TOO_DEEP);
    s->depth++;
    if (array)
        s->arrays[s->depth / 8] |= (uint8_t)(1 << (s->depth % 8));
    else
        s->arrays[s->depth / 8] &= (uint8_t) ~(1 << (s->depth % 8));
    s->state = array ? AT_VALUE_OR_CLOSE : AT_KEY_OR_CLOSE;
    s->below = BELOW_OTHER;
    if (s->depth == 3) {
        s->typed = s->tools_within = s->is_search = false;
        s->uses = 0;
    }
    return true;
}

static bool
close_container(struct request_scan *s)
{
    /* An item without a type is a reference to one that the vendor keeps. */
    if (s->depth == 3 && s->key == KEY_INPUT && !request_in_array(s) && !s->typed)
        s->by_reference = true;
    if (s->depth == 3 && s->key == KEY_TOOLS && !request_end_tool(s))
        return false;
    s->depth--;
    s->state = s->depth == 0 ? AT_END : AT_COMMA_OR_CLOSE;
    return true;
}

static void
start_string(struct request_scan *s, size_t at)
{
    s->state = IN_STRING;
    s->in_key = false;
    s->in_model = s->depth == 1 && s->key == KEY_MODEL;
    s->in_word = s->depth == 1
        ? request_changes_price((enum key)s->key)
        : (s->below == BELOW_TYPE || (s->below >= BELOW_URL && s->below <= BELOW_MEDIA_TYPE)) &&
            !request_in_array(s);
    s->word_n = 0;
    if (s->in_model)
        s->model_off = at + 1;
}

static bool
start_value(struct request_scan *s, char c, size_t at)
{
    if (s->depth == 1 ? !request_fits_key(s, c) : !request_fits_below(s, c))
        return false;
    if (s->key == KEY_STREAM_OPTIONS)
        request_note_options(s, c, at);
    s->number = 0;
    s->number_is_whole = true;
    switch (c) {
    case '{':
        return open_container(s, false);
    case '[':
        return open_container(s, true);
    case '"':
        start_string(s, at);
        return true;
    case 't':
    case 'f':
    case 'n':
        s->literal = c == 't' ? "true" : c == 'f' ? "false" : "null";
        s->literal_at = 1;
        s->state = IN_LITERAL;
        if (s->depth == 1 && s->key == KEY_STREAM)
            s->stream = c == 't';
        return true;
    case '-':
        s->number_is_whole = false; /* where it matters it is none */
        s->state = NUMBER_MINUS;
        return true;
    case '0':
        s->state = NUMBER_ZERO;
        return true;
    default:
        if (c < '1' || c > '9')
            return request_fail(s, REQUEST_NOT_JSON);
        s->number = (uint64_t)(c - '0');
        s->state = NUMBER_DIGITS;
        return true;
    }
}

/* A number ended: note it when it limits or multiplies the output. */
static bool
end_number(struct request_scan *s)
{
    s->state = AT_COMMA_OR_CLOSE;
    if (s->depth == 3 && s->key == KEY_TOOLS && s->below == BELOW_MAX_USES) {
        if (s->number_is_whole && s->number > 0)
            s->uses = (int64_t)s->number;
        return true;
    }
    if (s->depth != 1)
        return true;
    if (s->key == KEY_CHOICES) {
        if (!s->number_is_whole || s->number < 1 || s->number > REQUEST_CHOICES_MAX)
            return request_fail(s, REQUEST_CHOICES_OUT_OF_RANGE);
        if (s->dialect == DIALECT_OPENAI_CHAT)
            s->choices = (int64_t)s->number;
    } else if (s->key >= KEY_LIMIT_1 && s->key <= KEY_LIMIT_3) {
        if (!s->number_is_whole)
            return request_fail(s, REQUEST_LIMIT_NOT_A_NUMBER);
        if (!request_is_limit(s))
            return true;
        s->has_max_output = true;
        if ((int64_t)s->number > s->max_output)
            s->max_output = (int64_t)s->number;
    }
    return true;
}

/* One byte of a number. True with state AT_COMMA_OR_CLOSE: the byte is not part of it. */
static bool
feed_number(struct request_scan *s, char c)
{
    bool digit = c >= '0' && c <= '9';

    switch (s->state) {
    case NUMBER_MINUS:
        s->state = c == '0' ? NUMBER_ZERO : NUMBER_DIGITS;
        return digit || request_fail(s, REQUEST_NOT_JSON);
    case NUMBER_DIGITS:
        if (digit) {
            /* Saturates: no limit of that size means anything. */
            if (s->number < 100000000000000)
                s->number = s->number * 10 + (uint64_t)(c - '0');
            return true;
        }
        break;
    case NUMBER_POINT:
        s->state = NUMBER_FRACTION;
        return digit || request_fail(s, REQUEST_NOT_JSON);
    case NUMBER_FRACTION:
    case NUMBER_E_DIGITS:
        if (digit)
            return true;
        break;
    case NUMBER_E:
        s->state = c == '+' || c == '-' ? NUMBER_E_SIGN : NUMBER_E_DIGITS;
        return digit || s->state == NUMBER_E_SIGN || request_fail(s, REQUEST_NOT_JSON);
    case NUMBER_E_SIGN:
        s->state = NUMBER_E_DIGITS;
        return digit || request_fail(s, REQUEST_NOT_JSON);
    default:
        break;
    }
    if (c == '.' && (s->state == NUMBER_ZERO || s->state == NUMBER_DIGITS)) {
        s->number_is_whole = false;
        s->state = NUMBER_POINT;
        return true;
    }
    if ((c == 'e' || c == 'E') && s->state != NUMBER_E_DIGITS) {
        s->number_is_whole = false;
        s->state = NUMBER_E;
        return true;
    }
    return end_number(s);
}

/* A string ended that is a key, the model or a word that matters. */
static bool
end_string(struct request_scan *s, struct str word)
{
    if (s->in_key) {
        s->in_key = false;
        s->state = AT_COLON;
        return s->depth == 1 ? request_know_key(s, word) : request_know_below(s, word);
    }
    s->state = AT_COMMA_OR_CLOSE;
    if (s->in_word) {
        s->in_word = false;
        if (s->depth > 1)
            return request_know_word(s, word);
        if (word.n > REQUEST_WORD_MAX || !request_is_standard(word))
            return request_fail(s, REQUEST_PRICE_CHANGED);
    }
    if (s->in_model) {
        s->in_model = false;
        if (s->model_n == 0)
            return request_fail(s, REQUEST_MODEL_NOT_TEXT);
    }
    return true;
}

/* Keeps what has come of a word that is not whole yet. One byte too many marks one too long. */
static void
keep(struct request_scan *s, const char *p, size_t n)
{
    size_t room = REQUEST_WORD_MAX + 1u - s->word_n;

    if (n > room)
        n = room;
    memcpy(s->word + s->word_n, p, n);
    s->word_n = (uint8_t)(s->word_n + n);
}

/* The structure around strings and numbers. */
static bool
feed_structure(struct request_scan *s, char c, size_t at)
{
    if (c <= ' ' && (c == ' ' || c == '\n' || c == '\r' || c == '\t'))
        return true;
    switch (s->state) {
    case AT_START:
        s->body_off = at + 1;
        return c == '{' ? open_container(s, false) : request_fail(s, REQUEST_NOT_JSON);
    case AT_KEY_OR_CLOSE:
        if (c == '}')
            return close_container(s);
        /* fall through */
    case AT_KEY:
        s->state = IN_STRING;
        s->in_key = true;
        s->word_n = 0;
        return c == '"' || request_fail(s, REQUEST_NOT_JSON);
    case AT_COLON:
        s->state = AT_VALUE;
        return c == ':' || request_fail(s, REQUEST_NOT_JSON);
    case AT_VALUE_OR_CLOSE:
        if (c == ']')
            return close_container(s);
        /* fall through */
    case AT_VALUE:
        return start_value(s, c, at);
    case AT_COMMA_OR_CLOSE:
        if (c == ',') {
            s->state = request_in_array(s) ? AT_VALUE : AT_KEY;
            return true;
        }
        if (c != (request_in_array(s) ? ']' : '}'))
            return request_fail(s, REQUEST_NOT_JSON);
        return close_container(s);
    default:
        return request_fail(s, REQUEST_NOT_JSON);
    }
}

static bool
feed_escape(struct request_scan *s, char c)
{
    if (s->state == IN_HEX) {
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

        if (--s->hex_left == 0)
            s->state = IN_STRING;
        return hex || request_fail(s, REQUEST_NOT_JSON);
    }
    s->state = c == 'u' ? IN_HEX : IN_STRING;
    s->hex_left = 4;
    switch (c) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
    case 'u':
        return true;
    default:
        return request_fail(s, REQUEST_NOT_JSON);
    }
}

/* A backslash where the text matters: another reader may see another word than we do. */
static bool
refuse_escape(struct request_scan *s)
{
    if (s->in_model)
        return request_fail(s, REQUEST_MODEL_ESCAPED);
    if (s->depth == 1)
        return request_fail(s, s->in_key ? REQUEST_KEY_VARIANT : REQUEST_PRICE_CHANGED);
    if (request_in_tool(s))
        return request_fail(s, REQUEST_TOOL_UNPRICED);
    if (s->key == KEY_STREAM_OPTIONS && s->depth == 2)
        return request_fail(s, REQUEST_STREAM_OPTIONS);
    /* It may be a word that makes the vendor fetch something. */
    s->by_reference = true;
    return true;
}

/* The inside of a string that says nothing to us: to its end or something unusual. */
static inline size_t
skip_text(const char *p, size_t n)
{
    size_t i = 0;

    for (;;) {
        i += scan_string_end(p + i, n - i);
        if (i + 1 >= n || p[i] != '\\' || (p[i + 1] != 'n' && p[i + 1] != '"'))
            return i;
        i += 2; /* nearly all escapes are these */
    }
}

/* A control character, or the first byte of an escape. */
static bool
feed_odd(struct request_scan *s, char c)
{
    if (c != '\\')
        return request_fail(s, REQUEST_NOT_JSON);
    if ((s->in_key || s->in_word || s->in_model) && !refuse_escape(s))
        return false;
    s->state = IN_ESCAPE;
    return true;
}

/*
 * The inside of a string, to its end, the end of what there is, or an escape. Returns how many
 * bytes were used.
 */
static size_t
feed_string(struct request_scan *s, const char *p, size_t n)
{
    size_t run;

    if (!s->in_key && !s->in_word && !s->in_model) {
        run = skip_text(p, n);
        if (run < n && p[run] == '"')
            s->state = AT_COMMA_OR_CLOSE;
        else if (run < n)
            (void)feed_odd(s, p[run]);
        return run < n ? run + 1 : n;
    }
    run = scan_string_end(p, n);
    if (s->in_model) {
        if (run > REQUEST_MODEL_MAX - s->model_n)
            return (size_t)request_fail(s, REQUEST_MODEL_TOO_LONG);
        memcpy(s->model + s->model_n, p, run);
        s->model_n += run;
    }
    if (run < n && p[run] == '"' && s->word_n == 0) {
        (void)end_string(s, (struct str){p, run});
        return run + 1;
    }
    keep(s, p, run);
    if (run < n && p[run] == '"')
        (void)end_string(s, (struct str){s->word, s->word_n});
    else if (run < n)
        (void)feed_odd(s, p[run]);
    return run < n ? run + 1 : n;
}

bool
request_scan_feed(struct request_scan *s, const char *p, size_t n)
{
    size_t i = 0;

    while (i < n && s->problem == REQUEST_OK) {
        if (s->state < IN_STRING) {
            (void)feed_structure(s, p[i], s->bytes + i);
            i++;
        } else if (s->state == IN_STRING) {
            i += feed_string(s, p + i, n - i);
        } else if (s->state >= NUMBER_MINUS && s->state <= NUMBER_E_DIGITS) {
            if (feed_number(s, p[i]) && s->state != AT_COMMA_OR_CLOSE)
                i++;
        } else if (s->state == IN_LITERAL) {
            if (p[i++] != s->literal[s->literal_at++])
                return request_fail(s, REQUEST_NOT_JSON);
            if (s->literal[s->literal_at] == '\0')
                s->state = AT_COMMA_OR_CLOSE;
        } else {
            (void)feed_escape(s, p[i++]);
        }
    }
    s->bytes += n;
    return s->problem == REQUEST_OK;
}

enum request_problem
request_scan_finish(struct request_scan *s)
{
    if (s->problem == REQUEST_OK && s->state != AT_END)
        s->problem = REQUEST_NOT_JSON;
    if (s->problem == REQUEST_OK && (s->seen >> KEY_MODEL & 1) == 0)
        s->problem = REQUEST_MODEL_MISSING;
    return s->problem;
}
