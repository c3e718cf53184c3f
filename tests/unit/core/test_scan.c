/* What skips fast over text finds what a look at each byte finds, wherever the text lies. */
#include "unit.h"

#include "core/crc32.h"
#include "core/scan.h"

enum { ROOM = 400, ALIGNMENTS = 16 };

static size_t
string_end(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"' || p[i] == '\\' || (unsigned char)p[i] < 0x20)
            return i;
    }
    return n;
}

static size_t
structure(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != '\0' && strchr("\"{}[]", p[i]) != NULL)
            return i;
    }
    return n;
}

static size_t
quoted(const char *p, size_t n)
{
    for (size_t i = 0; i + 1 < n; i++) {
        if (p[i] == '"' && p[i + 1] != '\0' && strchr("beru", p[i + 1]) != NULL)
            return i;
    }
    return n;
}

static const struct {
    const char *name;
    size_t (*fast)(const char *p, size_t n);
    size_t (*slow)(const char *p, size_t n);
} scanners[] = {
    {"scan_string_end", scan_string_end, string_end},
    {"scan_structure", scan_structure, structure},
    {"scan_quoted", scan_quoted, quoted},
};

static void
compare(const char *p, size_t n)
{
    for (size_t s = 0; s < sizeof(scanners) / sizeof(scanners[0]); s++) {
        size_t fast = scanners[s].fast(p, n), slow = scanners[s].slow(p, n);

        if (fast != slow)
            fail_msg("%s: %zu instead of %zu of %zu bytes", scanners[s].name, fast, slow, n);
    }
}

static void
each_byte_is_told_apart_at_each_place(void **state)
{
    /* Bytes that end one of the scans, and their neighbours; the NUL at the end, too. */
    static const char odd[] = "\"\\{}[]!#^`|~\x1f\x20\x7f\x80\x9f\xa2\xdc\xff";

    for (size_t align = 0; align < ALIGNMENTS; align++) {
        for (size_t n = 1; n <= 180; n++) {
            /* Of that size and no larger: sanitizers see who reads beyond it. */
            char *text = malloc(align + n + 2);

            assert_non_null(text);
            memset(text, 'b', align + n + 2);
            compare(text + align, n + 2);
            for (size_t i = 0; i < sizeof(odd); i++) {
                text[align + n - 1] = odd[i];
                compare(text + align, n + 2);
                compare(text + align, n);
            }
            free(text);
        }
    }
    compare("", 0);
}

static void
the_first_of_several_is_found(void **state)
{
    char text[ROOM];

    for (size_t first = 0; first < 200; first++) {
        for (size_t second = first + 1; second < 200; second += 7) {
            memset(text, 'u', sizeof(text));
            text[first] = text[second] = '"';
            compare(text, 200);
        }
    }
}

/* By the polynomial, a bit at a time. */
static uint32_t
crc32_by_bits(const char *p, size_t n)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static void
the_checksum_is_the_usual_crc32(void **state)
{
    char text[ALIGNMENTS + ROOM];

    assert_int_equal(crc32_of("123456789", 9), 0xcbf43926);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)(i * 151 + i / 7);
    for (size_t align = 0; align < ALIGNMENTS; align++) {
        for (size_t n = 0; n < 300; n++)
            assert_int_equal(crc32_of(text + align, n), crc32_by_bits(text + align, n));
    }
    /* Each entry of each table. */
    for (int byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < 4; at++) {
            memset(text, 0, 4);
            text[at] = (char)byte;
            assert_int_equal(crc32_of(text, 4), crc32_by_bits(text, 4));
        }
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_byte_is_told_apart_at_each_place),
        TEST(the_first_of_several_is_found),
        TEST(the_checksum_is_the_usual_crc32),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
