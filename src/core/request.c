#include "core/request.h"

#include "core/scan.h"

enum state {
    AT_START,        /* before the root object */
    AT_KEY_OR_CLOSE, /* behind '{' */
    AT_KEY,          /* behind ',' in an object */
    AT_COLON,
    AT_VALUE,
    AT_VALUE_OR_CLOSE, /* behind '[' */
    AT_COMMA_OR_CLOSE, /* behind a value */
    IN_STRING,
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
    AT_END, /* behind the root object */
};

enum key {
    KEY_OTHER,
    KEY_MODEL,
    KEY_STREAM,
    KEY_SPEED, /* these three change what the vendor bills */
    KEY_SERVICE_TIER,
    KEY_INFERENCE_GEO,
    KEY_LIMIT_1,
    KEY_LIMIT_2,
    KEY_LIMIT_3,
    KEY_COUNT
};

static const struct str key_names[KEY_COUNT] = {
    [KEY_MODEL] = STR_INIT("model"),
    [KEY_STREAM] = STR_INIT("stream"),
    [KEY_SPEED] = STR_INIT("speed"),
    [KEY_SERVICE_TIER] = STR_INIT("service_tier"),
    [KEY_INFERENCE_GEO] = STR_INIT("inference_geo"),
    [KEY_LIMIT_1] = STR_INIT("max_tokens"),
    [KEY_LIMIT_2] = STR_INIT("max_completion_tokens"),
    [KEY_LIMIT_3] = STR_INIT("max_output_tokens"),
};

static const struct str problem_texts[REQUEST_PROBLEM_COUNT] = {
    [REQUEST_OK] = STR_INIT("the request is well-formed"),
    [REQUEST_NOT_JSON] = STR_INIT("the request body is not one JSON object"),
    [REQUEST_TOO_DEEP] = STR_INIT("the request body is nested too deeply"),
    [REQUEST_KEY_TWICE] = STR_INIT("one of model, stream and the output limits stands twice at the "
                                   "top level of the request body"),
    [REQUEST_KEY_VARIANT] =
        STR_INIT("a top-level key of the request body is spelled with an escape "
                 "or in another case; spell it plainly"),
    [REQUEST_MODEL_MISSING] = STR_INIT("model: field required"),
    [REQUEST_MODEL_NOT_TEXT] = STR_INIT("model: must be a non-empty string"),
    [REQUEST_MODEL_ESCAPED] = STR_INIT("model: is spelled with an escape; spell it plainly"),
    [REQUEST_MODEL_TOO_LONG] = STR_INIT("model: must be at most 255 bytes"),
    [REQUEST_STREAM_NOT_BOOLEAN] = STR_INIT("stream: must be true or false"),
    [REQUEST_PRICE_CHANGED] =
        STR_INIT("speed, service_tier and inference_geo may only ask for the "
                 "vendor's standard service here: another has no price on this platform"),
    [REQUEST_LIMIT_NOT_A_NUMBER] =
        STR_INIT("the limit on output tokens must be a whole number, not negative"),
};

struct str
request_problem_text(enum request_problem p)
{
    return problem_texts[p];
}

void
request_scan_init(struct request_scan *s)
{
    *s = (struct request_scan){.state = AT_START};
}

static bool
problem(struct request_scan *s, enum request_problem p)
{
    s->problem = p;
    return false;
}

static bool
in_array(const struct request_scan *s)
{
    return (s->arrays[s->depth / 8] >> (s->depth % 8) & 1) != 0;
}

static bool
open_container(struct request_scan *s, bool array)
{
    if (s->depth + 1 >= REQUEST_DEPTH_MAX)
        return problem(s, REQUEST_TOO_DEEP);
    s->depth++;
    if (array)
        s->arrays[s->depth / 8] |= (uint8_t)(1 << (s->depth % 8));
    else
        s->arrays[s->depth / 8] &= (uint8_t) ~(1 << (s->depth % 8));
    s->state = array ? AT_VALUE_OR_CLOSE : AT_KEY_OR_CLOSE;
    return true;
}

static void
close_container(struct request_scan *s)
{
    s->depth--;
    s->state = s->depth == 0 ? AT_END : AT_COMMA_OR_CLOSE;
}

/* A key at the top level was read: is it one of ours? */
static bool
know_key(struct request_scan *s)
{
    struct str text = {s->key_text, s->key_n};

    s->key = KEY_OTHER;
    if (s->key_n > REQUEST_KEY_MAX)
        return true;
    for (int key = KEY_OTHER + 1; key < KEY_COUNT; key++) {
        if (!str_equal_name(text, key_names[key]))
            continue;
        if (!str_equal(text, key_names[key]))
            return problem(s, REQUEST_KEY_VARIANT);
        if ((s->seen >> key & 1) != 0)
            return problem(s, REQUEST_KEY_TWICE);
        s->seen |= 1u << key;
        s->key = (uint8_t)key;
    }
    return true;
}

static bool
changes_price(enum key key)
{
    return key >= KEY_SPEED && key <= KEY_INFERENCE_GEO;
}

/* What the vendors serve at the listed price, by any of the three keys. */
static bool
is_standard(struct str value)
{
    static const struct str words[] = {STR_INIT("standard"), STR_INIT("standard_only"),
        STR_INIT("auto"), STR_INIT("default"), STR_INIT("global")};

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (str_equal(value, words[i]))
            return true;
    }
    return false;
}

/* The first byte of a value. Is that kind of value fit for the key it belongs to? */
static bool
fits_key(struct request_scan *s, char c)
{
    if (s->depth != 1 || s->key == KEY_OTHER)
        return true;
    if (s->key == KEY_MODEL)
        return c == '"' || problem(s, REQUEST_MODEL_NOT_TEXT);
    if (s->key == KEY_STREAM)
        return c == 't' || c == 'f' || problem(s, REQUEST_STREAM_NOT_BOOLEAN);
    if (changes_price((enum key)s->key))
        return c == '"' || c == 'n' || problem(s, REQUEST_PRICE_CHANGED);
    return (c >= '0' && c <= '9') || c == 'n' || problem(s, REQUEST_LIMIT_NOT_A_NUMBER);
}

static bool
start_value(struct request_scan *s, char c, size_t at)
{
    if (!fits_key(s, c))
        return false;
    s->number = 0;
    s->number_is_whole = true;
    switch (c) {
    case '{':
        return open_container(s, false);
    case '[':
        return open_container(s, true);
    case '"':
        s->state = IN_STRING;
        s->in_key = false;
        s->in_model = s->depth == 1 && s->key == KEY_MODEL;
        s->in_price = s->depth == 1 && changes_price((enum key)s->key);
        s->key_n = 0;
        if (s->in_model)
            s->model_off = at + 1;
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
        s->state = NUMBER_MINUS;
        return true;
    case '0':
        s->state = NUMBER_ZERO;
        return true;
    default:
        if (c < '1' || c > '9')
            return problem(s, REQUEST_NOT_JSON);
        s->number = (uint64_t)(c - '0');
        s->state = NUMBER_DIGITS;
        return true;
    }
}

/* A number ended: note it when it is the limit on output. */
static bool
end_number(struct request_scan *s)
{
    s->state = AT_COMMA_OR_CLOSE;
    if (s->depth != 1 || s->key < KEY_LIMIT_1)
        return true;
    if (!s->number_is_whole)
        return problem(s, REQUEST_LIMIT_NOT_A_NUMBER);
    s->has_max_output = true;
    if ((int64_t)s->number > s->max_output)
        s->max_output = (int64_t)s->number;
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
        return digit || problem(s, REQUEST_NOT_JSON);
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
        return digit || problem(s, REQUEST_NOT_JSON);
    case NUMBER_FRACTION:
    case NUMBER_E_DIGITS:
        if (digit)
            return true;
        break;
    case NUMBER_E:
        s->state = c == '+' || c == '-' ? NUMBER_E_SIGN : NUMBER_E_DIGITS;
        return digit || s->state == NUMBER_E_SIGN || problem(s, REQUEST_NOT_JSON);
    case NUMBER_E_SIGN:
        s->state = NUMBER_E_DIGITS;
        return digit || problem(s, REQUEST_NOT_JSON);
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

static bool
end_string(struct request_scan *s)
{
    if (s->in_key) {
        s->in_key = false;
        s->state = AT_COLON;
        return s->depth != 1 || know_key(s);
    }
    s->state = AT_COMMA_OR_CLOSE;
    if (s->in_price) {
        s->in_price = false;
        if (s->key_n > REQUEST_KEY_MAX || !is_standard((struct str){s->key_text, s->key_n}))
            return problem(s, REQUEST_PRICE_CHANGED);
    }
    if (s->in_model) {
        s->in_model = false;
        if (s->model_n == 0)
            return problem(s, REQUEST_MODEL_NOT_TEXT);
    }
    return true;
}

/* n plain bytes of a string, none of them a quote, a backslash or a control character. */
static bool
take_text(struct request_scan *s, const char *p, size_t n)
{
    if ((s->in_key && s->depth == 1) || s->in_price) {
        for (size_t i = 0; i < n && s->key_n <= REQUEST_KEY_MAX; i++) {
            if (s->key_n < REQUEST_KEY_MAX)
                s->key_text[s->key_n] = p[i];
            s->key_n++;
        }
    } else if (s->in_model) {
        if (n > REQUEST_MODEL_MAX - s->model_n)
            return problem(s, REQUEST_MODEL_TOO_LONG);
        memcpy(s->model + s->model_n, p, n);
        s->model_n += n;
    }
    return true;
}

/* The structure around strings and numbers. */
static bool
feed_structure(struct request_scan *s, char c, size_t at)
{
    if (c == ' ' || c == '\n' || c == '\r' || c == '\t')
        return true;
    switch (s->state) {
    case AT_START:
        return c == '{' ? open_container(s, false) : problem(s, REQUEST_NOT_JSON);
    case AT_KEY_OR_CLOSE:
        if (c == '}') {
            close_container(s);
            return true;
        }
        /* fall through */
    case AT_KEY:
        s->state = IN_STRING;
        s->in_key = true;
        s->key_n = 0;
        return c == '"' || problem(s, REQUEST_NOT_JSON);
    case AT_COLON:
        s->state = AT_VALUE;
        return c == ':' || problem(s, REQUEST_NOT_JSON);
    case AT_VALUE_OR_CLOSE:
        if (c == ']') {
            close_container(s);
            return true;
        }
        /* fall through */
    case AT_VALUE:
        return start_value(s, c, at);
    case AT_COMMA_OR_CLOSE:
        if (c == ',') {
            s->state = in_array(s) ? AT_VALUE : AT_KEY;
            return true;
        }
        if (c != (in_array(s) ? ']' : '}'))
            return problem(s, REQUEST_NOT_JSON);
        close_container(s);
        return true;
    default:
        return problem(s, REQUEST_NOT_JSON);
    }
}

static bool
feed_escape(struct request_scan *s, char c)
{
    if (s->state == IN_HEX) {
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');

        if (--s->hex_left == 0)
            s->state = IN_STRING;
        return hex || problem(s, REQUEST_NOT_JSON);
    }
    s->state = c == 'u' ? IN_HEX : IN_STRING;
    s->hex_left = 4;
    return (c != '\0' && strchr("\"\\/bfnrtu", c) != NULL) || problem(s, REQUEST_NOT_JSON);
}

/* What stopped a run of plain bytes in a string. */
static bool
feed_string_stop(struct request_scan *s, char c)
{
    if (c == '"')
        return end_string(s);
    if (c != '\\')
        return problem(s, REQUEST_NOT_JSON);
    if (s->in_key && s->depth == 1)
        return problem(s, REQUEST_KEY_VARIANT);
    if (s->in_model)
        return problem(s, REQUEST_MODEL_ESCAPED);
    if (s->in_price)
        return problem(s, REQUEST_PRICE_CHANGED);
    s->state = IN_ESCAPE;
    return true;
}

bool
request_scan_feed(struct request_scan *s, const char *p, size_t n)
{
    size_t i = 0;

    if (s->problem != REQUEST_OK)
        return false;
    while (i < n) {
        if (s->state == IN_STRING) {
            size_t run = scan_string_end(p + i, n - i);

            if (!take_text(s, p + i, run))
                return false;
            i += run;
            if (i < n && !feed_string_stop(s, p[i++]))
                return false;
        } else if (s->state >= NUMBER_MINUS && s->state <= NUMBER_E_DIGITS) {
            if (!feed_number(s, p[i]))
                return false;
            if (s->state != AT_COMMA_OR_CLOSE)
                i++;
        } else if (s->state == IN_LITERAL) {
            if (p[i++] != s->literal[s->literal_at++])
                return problem(s, REQUEST_NOT_JSON);
            if (s->literal[s->literal_at] == '\0')
                s->state = AT_COMMA_OR_CLOSE;
        } else if (s->state == IN_ESCAPE || s->state == IN_HEX) {
            if (!feed_escape(s, p[i++]))
                return false;
        } else {
            if (!feed_structure(s, p[i], s->bytes + i))
                return false;
            i++;
        }
    }
    s->bytes += n;
    return true;
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
