/* The usage meter: any bytes, any split, the same counts, and none beyond what a count may be. */
#include "base/error.h"
#include "core/usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { COUNT_MAX = 2000000000 }; /* two kinds of cache writes may add up */

static void
check_count(int64_t count)
{
    ENSURE(count >= 0 && count <= COUNT_MAX);
}

static void
check(enum dialect dialect, bool stream, const char *p, size_t n)
{
    struct usage_meter whole, split;

    usage_meter_init(&whole, dialect, stream);
    usage_meter_feed(&whole, p, n);
    for (size_t cut = 0; cut <= n; cut += 1 + n / 64) {
        usage_meter_init(&split, dialect, stream);
        usage_meter_feed(&split, p, cut);
        usage_meter_feed(&split, p + cut, n - cut);
        ENSURE(memcmp(&split.counts, &whole.counts, sizeof(whole.counts)) == 0);
        ENSURE(split.event_ended == whole.event_ended);
        if (whole.event_ended)
            ENSURE(split.event == whole.event);
        ENSURE(split.flags == whole.flags && split.text_bytes == whole.text_bytes &&
            split.model_n == whole.model_n && memcmp(split.model, whole.model, whole.model_n) == 0);
    }
    check_count(whole.counts.input);
    check_count(whole.counts.output);
    check_count(whole.counts.cache_read);
    check_count(whole.counts.cache_write_5m);
    check_count(whole.counts.cache_write_1h);
    check_count(whole.counts.reasoning);
    ENSURE(whole.text_bytes <= n);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    for (int d = 0; d < DIALECT_COUNT; d++) {
        check((enum dialect)d, true, (const char *)data, n);
        check((enum dialect)d, false, (const char *)data, n);
    }
    return 0;
}
