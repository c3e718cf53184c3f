#include "unit.h"

#include "core/crc32.h"
#include "core/token.h"

static struct str
make(enum token_kind kind, uint8_t fill, char text[TOKEN_TEXT_BYTES])
{
    uint8_t random[TOKEN_RANDOM_BYTES];

    memset(random, fill, sizeof(random));
    return (struct str){text, token_format(kind, random, text)};
}

static void
a_token_has_its_prefix_43_digits_and_a_checksum(void **state)
{
    static const size_t lengths[TOKEN_KIND_COUNT] = {8 + 49, 8 + 49, 7 + 49, 8 + 49};

    for (int kind = 0; kind < TOKEN_KIND_COUNT; kind++) {
        char text[TOKEN_TEXT_BYTES];
        struct str token = make((enum token_kind)kind, 0xff, text);
        enum token_kind parsed;

        assert_int_equal(token.n, lengths[kind]);
        assert_true(str_starts_with(token, token_prefix((enum token_kind)kind)));
        assert_true(token_parse(token, &parsed));
        assert_int_equal(parsed, kind);
    }
}

static void
all_256_bits_are_in_the_text(void **state)
{
    char texts[256][TOKEN_TEXT_BYTES];

    for (int bit = 0; bit < 256; bit++) {
        uint8_t random[TOKEN_RANDOM_BYTES] = {0};

        random[bit / 8] = (uint8_t)(1 << (bit % 8));
        token_format(TOKEN_USAGE, random, texts[bit]);
        for (int other = 0; other < bit; other++)
            assert_memory_not_equal(texts[bit], texts[other], TOKEN_TEXT_BYTES);
    }
}

static void
any_changed_cut_or_longer_text_is_no_token(void **state)
{
    char text[TOKEN_TEXT_BYTES + 1];
    struct str token = make(TOKEN_USAGE, 0x5a, text);
    enum token_kind kind;

    for (size_t i = 0; i < token.n; i++) {
        char was = text[i];

        text[i] = was == 'A' ? 'B' : 'A';
        assert_false(token_parse(token, &kind));
        text[i] = was;
        assert_false(token_parse((struct str){text, i}, &kind));
    }
    text[token.n] = 'A';
    assert_false(token_parse((struct str){text, token.n + 1}, &kind));
    assert_false(token_parse(STR_NONE, &kind));
}

static void
what_is_no_digit_is_no_token_whatever_its_checksum(void **state)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const char others[] = "/:@[`{-_ \x7f\xc3";
    char text[TOKEN_TEXT_BYTES];
    struct str token = make(TOKEN_USAGE, 0x5a, text);
    size_t body = token.n - 6;
    enum token_kind kind;

    for (size_t at = token_prefix(TOKEN_USAGE).n; at < body; at++) {
        char was = text[at];

        for (size_t i = 0; i < sizeof(others); i++) { /* the NUL, too */
            uint32_t crc;

            text[at] = others[i];
            crc = crc32_of(text, body);
            for (size_t k = token.n; k > body; k--, crc /= 62)
                text[k - 1] = digits[crc % 62];
            assert_false(token_parse(token, &kind));
        }
        text[at] = was;
    }
}

static void
the_digest_is_sha256_of_the_text(void **state)
{
    static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
    uint8_t digest[TOKEN_DIGEST_BYTES];

    token_digest(STR("abc"), digest);
    assert_memory_equal(digest, abc, sizeof(abc));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_token_has_its_prefix_43_digits_and_a_checksum),
        TEST(all_256_bits_are_in_the_text),
        TEST(any_changed_cut_or_longer_text_is_no_token),
        TEST(what_is_no_digit_is_no_token_whatever_its_checksum),
        TEST(the_digest_is_sha256_of_the_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
