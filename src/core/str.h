/*
 * A borrowed view of bytes: pointer and length, never freed, never NUL-terminated by contract.
 * A view must not outlive the memory it points into.
 */
#ifndef CORE_STR_H
#define CORE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct str {
    const char *p;
    size_t n;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_INIT(literal)                                                                          \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define STR_NONE ((struct str){NULL, 0})
/* For printf("%.*s", STR_ARG(s)). Callers bound lengths well below INT_MAX. */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str
str_from_cstr(const char *cstr)
{
    return cstr == NULL ? STR_NONE : (struct str){cstr, strlen(cstr)};
}

static inline bool
str_equal(struct str a, struct str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool
str_starts_with(struct str s, struct str prefix)
{
    return s.n >= prefix.n && (prefix.n == 0 || memcmp(s.p, prefix.p, prefix.n) == 0);
}

static inline bool
str_ends_with(struct str s, struct str suffix)
{
    return s.n >= suffix.n &&
        (suffix.n == 0 || memcmp(s.p + s.n - suffix.n, suffix.p, suffix.n) == 0);
}

/* The white space that SPEC trims everywhere: ASCII space, \t \r \n \v \f. */
static inline bool
str_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static inline char
str_upper_char(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static inline struct str
str_trim(struct str s)
{
    while (s.n > 0 && str_is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && str_is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static inline bool
str_is_blank(struct str s)
{
    return str_trim(s).n == 0;
}

/* Names of variables compare upper-cased and trimmed (SPEC 2). */
static inline bool
str_equal_name(struct str a, struct str b)
{
    a = str_trim(a);
    b = str_trim(b);
    if (a.n != b.n)
        return false;
    for (size_t i = 0; i < a.n; i++) {
        if (str_upper_char(a.p[i]) != str_upper_char(b.p[i]))
            return false;
    }
    return true;
}

/* Bytewise order, shorter first on a common prefix. */
static inline int
str_compare(struct str a, struct str b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);

    if (c != 0)
        return c;
    return a.n < b.n ? -1 : a.n > b.n;
}

/* Index of the first c, or s.n. */
static inline size_t
str_find_char(struct str s, char c)
{
    const char *hit = s.n == 0 ? NULL : memchr(s.p, c, s.n);

    return hit == NULL ? s.n : (size_t)(hit - s.p);
}

static inline struct str
str_slice(struct str s, size_t from, size_t to)
{
    return (struct str){s.p + from, to - from};
}

#endif
