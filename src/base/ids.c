#include "base/ids.h"

#include <sodium.h>
#include <time.h>

struct id
id_new(void)
{
    uint64_t ms = (uint64_t)clock_ms();
    struct id id;

    randombytes_buf(id.b, sizeof(id.b));
    for (int i = 0; i < 6; i++)
        id.b[i] = (uint8_t)(ms >> (8 * (5 - i)));
    id.b[6] = (uint8_t)(0x70 | (id.b[6] & 0x0f));
    id.b[8] = (uint8_t)(0x80 | (id.b[8] & 0x3f));
    return id;
}

void
id_text(struct id id, char ret[static ID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    size_t out = 0;

    for (size_t i = 0; i < sizeof(id.b); i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            ret[out++] = '-';
        ret[out++] = digits[id.b[i] >> 4];
        ret[out++] = digits[id.b[i] & 15];
    }
    ret[out] = '\0';
}

static int
hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
id_parse(struct str text, struct id *ret)
{
    struct id id;
    size_t in = 0;

    if (text.n != ID_TEXT_BYTES - 1)
        return false;
    for (size_t i = 0; i < sizeof(id.b); i++) {
        int high, low;

        if (i == 4 || i == 6 || i == 8 || i == 10) {
            if (text.p[in++] != '-')
                return false;
        }
        high = hex_value(text.p[in++]);
        low = hex_value(text.p[in++]);
        if (high < 0 || low < 0)
            return false;
        id.b[i] = (uint8_t)(high << 4 | low);
    }
    *ret = id;
    return true;
}

bool
id_equal(struct id a, struct id b)
{
    return memcmp(a.b, b.b, sizeof(a.b)) == 0;
}

bool
id_is_zero(struct id id)
{
    return sodium_is_zero(id.b, sizeof(id.b)) == 1;
}

int64_t
clock_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t
clock_monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void
clock_text(int64_t unix_ms, char ret[static 25])
{
    time_t seconds = (time_t)(unix_ms / 1000);
    unsigned ms = (unsigned)(unix_ms % 1000);
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(ret, 20, "%Y-%m-%dT%H:%M:%S", &tm);
    ret[19] = '.';
    ret[20] = (char)('0' + ms / 100 % 10);
    ret[21] = (char)('0' + ms / 10 % 10);
    ret[22] = (char)('0' + ms % 10);
    ret[23] = 'Z';
    ret[24] = '\0';
}

struct timespec
clock_deadline(int64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_nsec += ms % 1000 * 1000000;
    t.tv_sec += ms / 1000 + t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    return t;
}

int
clock_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    return pthread_cond_clockwait(cond, mutex, CLOCK_MONOTONIC, until);
}
