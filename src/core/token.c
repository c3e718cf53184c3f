#include "core/token.h"

#include "core/crc32.h"

#include <sodium/crypto_hash_sha256.h>

enum { BODY_DIGITS = 43, CRC_DIGITS = 6 };

static const struct str prefixes[TOKEN_KIND_COUNT] = {
    [TOKEN_ADMIN] = STR_INIT("psr_adm_"),
    [TOKEN_ORG] = STR_INIT("psr_org_"),
    [TOKEN_WORKSPACE] = STR_INIT("psr_ws_"),
    [TOKEN_USAGE] = STR_INIT("psr_use_"),
};

static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static bool
are_digits(const char *p, size_t n)
{
    static const bool is_digit[256] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true};
    bool all = true;

    for (size_t i = 0; i < n; i++)
        all &= is_digit[(unsigned char)p[i]];
    return all;
}

static void
crc_digits(const char *p, size_t n, char ret[static CRC_DIGITS])
{
    uint32_t crc = crc32_of(p, n);

    for (int i = CRC_DIGITS - 1; i >= 0; i--) {
        ret[i] = digits[crc % 62];
        crc /= 62;
    }
}

struct str
token_prefix(enum token_kind kind)
{
    return prefixes[kind];
}

size_t
token_format(enum token_kind kind, const uint8_t random[static TOKEN_RANDOM_BYTES],
    char ret[static TOKEN_TEXT_BYTES])
{
    uint8_t rest[TOKEN_RANDOM_BYTES];
    size_t n = prefixes[kind].n;

    memcpy(ret, prefixes[kind].p, n);
    memcpy(rest, random, sizeof(rest));
    /* Long division by 62, least significant digit first. */
    for (int digit = BODY_DIGITS - 1; digit >= 0; digit--) {
        unsigned remainder = 0;

        for (size_t i = 0; i < sizeof(rest); i++) {
            unsigned value = remainder << 8 | rest[i];

            rest[i] = (uint8_t)(value / 62);
            remainder = value % 62;
        }
        ret[n + (size_t)digit] = digits[remainder];
    }
    n += BODY_DIGITS;
    crc_digits(ret, n, ret + n);
    return n + CRC_DIGITS;
}

bool
token_parse(struct str text, enum token_kind *ret_kind)
{
    for (int kind = 0; kind < TOKEN_KIND_COUNT; kind++) {
        size_t body = prefixes[kind].n + BODY_DIGITS;
        char crc[CRC_DIGITS];

        if (!str_starts_with(text, prefixes[kind]) || text.n != body + CRC_DIGITS)
            continue;
        if (!are_digits(text.p + prefixes[kind].n, BODY_DIGITS + CRC_DIGITS))
            return false;
        crc_digits(text.p, body, crc);
        if (memcmp(crc, text.p + body, CRC_DIGITS) != 0)
            return false;
        *ret_kind = (enum token_kind)kind;
        return true;
    }
    return false;
}

void
token_digest(struct str text, uint8_t ret[static TOKEN_DIGEST_BYTES])
{
    crypto_hash_sha256(ret, (const unsigned char *)text.p, text.n);
}
