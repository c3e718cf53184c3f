#include "sim/head.h"

#include <strings.h>

static bool
name_is(struct str name, const char *wanted)
{
    return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0;
}

static bool
value_has(struct str value, const char *word)
{
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= value.n; i++) {
        if (strncasecmp(value.p + i, word, n) == 0)
            return true;
    }
    return false;
}

int64_t
sim_number(struct str s)
{
    int64_t v = 0;

    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || v > INT64_MAX / 100)
            return -1;
        v = v * 10 + (s.p[i] - '0');
    }
    return s.n == 0 ? -1 : v;
}

static bool
take_header(struct sim_head *h, struct str name, struct str value)
{
    if (name_is(name, "content-length")) {
        h->content_length = sim_number(value);
        return h->content_length >= 0;
    }
    if (name_is(name, "transfer-encoding")) {
        h->chunked = value_has(value, "chunked");
    } else if (name_is(name, "connection")) {
        h->close |= value_has(value, "close");
    } else if (name_is(name, "expect")) {
        h->expect_continue = value_has(value, "100-continue");
    } else if (name_is(name, "upgrade")) {
        h->upgrade = true;
    } else if (name_is(name, "x-api-key")) {
        h->key = value;
        h->anthropic = true;
    } else if (name_is(name, "authorization") && value.n > 7 &&
        strncasecmp(value.p, "bearer ", 7) == 0) {
        if (h->key.n == 0)
            h->key = str_trim(str_slice(value, 7, value.n));
    } else if (name_is(name, "anthropic-version")) {
        h->anthropic = true;
    } else if (name_is(name, "x-sim")) {
        h->wish = value;
    }
    return true;
}

static bool
take_request_line(struct sim_head *h, struct str line)
{
    size_t method = str_find_char(line, ' ');
    struct str rest;
    size_t target;

    if (method == 0 || method >= line.n)
        return false;
    h->method = str_slice(line, 0, method);
    rest = str_slice(line, method + 1, line.n);
    target = str_find_char(rest, ' ');
    if (target == 0 || target >= rest.n)
        return false;
    h->target = str_slice(rest, 0, target);
    h->path = str_slice(h->target, 0, str_find_char(h->target, '?'));
    rest = str_slice(rest, target + 1, rest.n);
    h->http_1_0 = str_equal(rest, STR("HTTP/1.0"));
    h->close = h->http_1_0;
    return h->http_1_0 || str_equal(rest, STR("HTTP/1.1"));
}

enum sim_head_result
sim_head_parse(struct str text, struct sim_head *ret)
{
    const char *end = text.n == 0 ? NULL : memmem(text.p, text.n, "\r\n\r\n", 4);
    struct sim_head h = {.content_length = -1};
    struct str rest;
    size_t eol;

    if (end == NULL)
        return text.n > 256 * 1024 ? SIM_HEAD_BAD : SIM_HEAD_MORE;
    h.bytes = (size_t)(end - text.p) + 4;
    rest = (struct str){text.p, h.bytes - 2};
    eol = str_find_char(rest, '\r');
    if (!take_request_line(&h, str_slice(rest, 0, eol)))
        return SIM_HEAD_BAD;
    rest = str_slice(rest, eol + 2, rest.n);
    h.headers = rest;
    while (rest.n > 0) {
        struct str line;
        size_t colon;

        eol = str_find_char(rest, '\r');
        line = str_slice(rest, 0, eol);
        rest = str_slice(rest, eol + 2 > rest.n ? rest.n : eol + 2, rest.n);
        colon = str_find_char(line, ':');
        if (colon == line.n ||
            !take_header(
                &h, str_slice(line, 0, colon), str_trim(str_slice(line, colon + 1, line.n))))
            return SIM_HEAD_BAD;
    }
    *ret = h;
    return SIM_HEAD_OK;
}

/* ---- the body ---- */

/* Takes chunks that are there whole and closes the gaps their frames leave. */
static enum sim_head_result
take_chunks(char *p, size_t n, struct sim_body *body)
{
    for (;;) {
        const char *eol = body->at < n ? memmem(p + body->at, n - body->at, "\r\n", 2) : NULL;
        size_t size = 0, data;

        if (eol == NULL)
            return n - body->at > 1024 ? SIM_HEAD_BAD : SIM_HEAD_MORE;
        for (const char *c = p + body->at; c < eol && *c != ';'; c++) {
            char u = str_upper_char(*c);

            if (!((u >= '0' && u <= '9') || (u >= 'A' && u <= 'F')) || size > SIM_BODY_MAX)
                return SIM_HEAD_BAD;
            size = size * 16 + (size_t)(u >= 'A' ? u - 'A' + 10 : u - '0');
        }
        data = (size_t)(eol - p) + 2;
        if (size > SIM_BODY_MAX || n < data || n - data < size + 2)
            return size > SIM_BODY_MAX ? SIM_HEAD_BAD : SIM_HEAD_MORE;
        memmove(p + body->from + body->bytes, p + data, size);
        body->bytes += size;
        body->at = data + size + 2;
        if (size == 0)
            return SIM_HEAD_OK; /* trailers are nothing our clients send */
    }
}

enum sim_head_result
sim_body_take(struct sim_body *body, const struct sim_head *h, char *p, size_t n)
{
    size_t length = h->content_length < 0 ? 0 : (size_t)h->content_length;

    if (body->at == 0)
        *body = (struct sim_body){.from = h->bytes, .at = h->bytes};
    if (h->chunked)
        return take_chunks(p, n, body);
    if (length > SIM_BODY_MAX)
        return SIM_HEAD_BAD;
    if (n - h->bytes < length)
        return SIM_HEAD_MORE;
    body->bytes = length;
    body->at = h->bytes + length;
    return SIM_HEAD_OK;
}
