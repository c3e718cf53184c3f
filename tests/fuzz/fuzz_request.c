/*
 * The request scanner: the same result for any split of the bytes, and what it accepts is one JSON
 * object whose "model" is what it says it is. (jansson is stricter about UTF-8 and numbers.)
 */
#include "base/error.h"
#include "core/request.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check_split(const struct request_scan *whole, const char *p, size_t n, size_t cut)
{
    struct request_scan s;

    request_scan_init(&s, (enum dialect)whole->dialect);
    if (request_scan_feed(&s, p, cut))
        request_scan_feed(&s, p + cut, n - cut);
    ENSURE(request_scan_finish(&s) == whole->problem);
    if (whole->problem == REQUEST_OK)
        ENSURE(s.model_off == whole->model_off && s.model_n == whole->model_n &&
            s.stream == whole->stream && s.max_output == whole->max_output &&
            s.choices == whole->choices && s.by_reference == whole->by_reference &&
            s.images == whole->images && s.tools == whole->tools && s.options == whole->options &&
            s.options_off == whole->options_off && memcmp(s.model, whole->model, s.model_n) == 0);
}

/* A body that says what it must after the splice is one JSON object that asks for usage. */
static void
check_splice(const struct request_scan *s, const char *p, size_t n)
{
    struct request_scan again;
    size_t off, cut;
    struct str text;

    if (!request_usage_splice(s, &off, &cut, &text))
        return;
    ENSURE(off + cut <= n);
    request_scan_init(&again, DIALECT_OPENAI_CHAT);
    request_scan_feed(&again, p, off);
    request_scan_feed(&again, text.p, text.n);
    request_scan_feed(&again, p + off + cut, n - off - cut);
    ENSURE(request_scan_finish(&again) == REQUEST_OK && again.include_usage);
}

static void
check(enum dialect dialect, const char *p, size_t n)
{
    struct request_scan s;
    json_t *parsed;

    request_scan_init(&s, dialect);
    request_scan_feed(&s, p, n);
    request_scan_finish(&s);
    for (size_t cut = 0; cut <= n; cut += 1 + n / 64)
        check_split(&s, p, n, cut);
    if (s.problem != REQUEST_OK)
        return;
    ENSURE(s.model_off + s.model_n < n && memcmp(p + s.model_off, s.model, s.model_n) == 0);
    check_splice(&s, p, n);
    parsed = json_loadb(p, n, JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
    if (parsed != NULL) {
        const char *model = json_string_value(json_object_get(parsed, "model"));

        ENSURE(
            model != NULL && strlen(model) == s.model_n && memcmp(model, s.model, s.model_n) == 0);
    }
    json_decref(parsed);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int d = 0; d < DIALECT_COUNT; d++)
        check((enum dialect)d, (const char *)data, n);
    return 0;
}
