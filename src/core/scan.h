/* Skipping fast over what is of no interest in JSON: nearly all bytes of a body. */
#ifndef CORE_SCAN_H
#define CORE_SCAN_H

#include <stddef.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef __SSE2__
/* Ones where p[0..16) has a '"', a '\\' or a control character. */
static inline __m128i
scan_string_stops(const char *p)
{
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);

    return _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                            _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))),
        _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes));
}

static inline __m128i
scan_string_stops_64(const char *p)
{
    return _mm_or_si128(_mm_or_si128(scan_string_stops(p), scan_string_stops(p + 16)),
        _mm_or_si128(scan_string_stops(p + 32), scan_string_stops(p + 48)));
}
#endif

/* Index of the first '"', '\\' or control character in p[0..n), or n. */
static inline size_t
scan_string_end(const char *p, size_t n)
{
    size_t i = 0;

#ifdef __SSE2__
    for (; i + 16 <= n; i += 16) {
        int mask = _mm_movemask_epi8(scan_string_stops(p + i));

        if (mask != 0)
            return i + (size_t)__builtin_ctz((unsigned)mask);
        /* Of a long text four pieces at a time, while there is nothing in them. */
        if (i == 0)
            while (i + 80 <= n && _mm_movemask_epi8(scan_string_stops_64(p + i + 16)) == 0)
                i += 64;
    }
#endif
    for (; i < n; i++) {
        unsigned char c = (unsigned char)p[i];

        if (c == '"' || c == '\\' || c < 0x20)
            return i;
    }
    return n;
}

/* Index of the first '"', '{', '}', '[' or ']' in p[0..n), or n. */
static inline size_t
scan_structure(const char *p, size_t n)
{
    size_t i = 0;

#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i open = _mm_set1_epi8('{');
    const __m128i close = _mm_set1_epi8('}');
    const __m128i bit = _mm_set1_epi8(0x20); /* makes '[' '{' and ']' '}' */

    for (; i + 16 <= n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i lower = _mm_or_si128(bytes, bit);
        __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(bytes, quote),
            _mm_or_si128(_mm_cmpeq_epi8(lower, open), _mm_cmpeq_epi8(lower, close)));
        int mask = _mm_movemask_epi8(hit);

        if (mask != 0)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (; i < n; i++) {
        char lower = (char)(p[i] | 0x20);

        if (p[i] == '"' || lower == '{' || lower == '}')
            return i;
    }
    return n;
}

/* Index of the first quote with one of the letters b, e, r, u behind it in p[0..n), or n. */
static inline size_t
scan_quoted(const char *p, size_t n)
{
    size_t i = 0;

#ifdef __SSE2__
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i b = _mm_set1_epi8('b'), e = _mm_set1_epi8('e');
    const __m128i r = _mm_set1_epi8('r'), u = _mm_set1_epi8('u');

    for (; i + 17 <= n; i += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        __m128i next = _mm_loadu_si128((const __m128i *)(const void *)(p + i + 1));
        __m128i letter =
            _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(next, b), _mm_cmpeq_epi8(next, e)),
                _mm_or_si128(_mm_cmpeq_epi8(next, r), _mm_cmpeq_epi8(next, u)));
        int mask = _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(bytes, quote), letter));

        if (mask != 0)
            return i + (size_t)__builtin_ctz((unsigned)mask);
    }
#endif
    for (; i + 1 < n; i++) {
        char c = p[i + 1];

        if (p[i] == '"' && (c == 'b' || c == 'e' || c == 'r' || c == 'u'))
            return i;
    }
    return n;
}

#endif
