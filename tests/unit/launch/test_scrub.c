#include "launch/scrub.h"

#include "base/buf.h"

#include <sodium.h>

#include "unit.h"

static void
collect(void *ctx, struct str piece)
{
    buf_add(ctx, piece);
}

static struct scrub *
make(const struct scrub_word *words, size_t n)
{
    struct scrub *s = NULL;
    struct error e;

    assert_int_equal(scrub_new(words, n, &s, &e), ERR_OK);
    return s;
}

static const struct scrub_word words[] = {
    {STR_INIT("KEY"), STR_INIT("sk-0123456789")},
    {STR_INIT("LONGER"), STR_INIT("sk-0123456789-and-more")},
    {STR_INIT("OVER"), STR_INIT("6789abcdef")},
    {STR_INIT("SELF"), STR_INIT("abababab")},
    {STR_INIT("LINES"), STR_INIT("first line\nsecond")},
    {STR_INIT("SHORT"), STR_INIT("1234567")},
};

static const struct {
    const char *name, *in, *out;
} cases[] = {
    {"nothing", "", ""},
    {"plain text", "nothing to see", "nothing to see"},
    {"alone", "sk-0123456789", "[KEY]"},
    {"in text", "a sk-0123456789 b", "a [KEY] b"},
    {"twice in a row", "sk-0123456789sk-0123456789", "[KEY][KEY]"},
    {"the longer one", "xsk-0123456789-and-morex", "x[LONGER]x"},
    {"almost the longer one", "xsk-0123456789-and-mor!", "x[KEY]-and-mor!"},
    {"almost one", "sk-012345678x", "sk-012345678x"},
    {"overlapping ones go completely", "<sk-0123456789abcdef>", "<[KEY]>"},
    {"one that overlaps itself", "<ababababab>", "<[SELF]>"},
    {"over two lines", "(first line\nsecond)", "([LINES])"},
    {"too short to hide", "1234567", "1234567"},
    {"a good part of one at the end", "end sk-01234", "end [KEY]"},
    {"one and a part of the longer at the end", "sk-0123456789-and", "[KEY]"},
    {"a small part of one at the end", "end sk-0", "end sk-0"},
    {"false start before a real one", "sk-sk-0123456789", "sk-[KEY]"},
};

static void
gives_the_same_for_every_split(void **state)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct str in = str_from_cstr(cases[i].in);

        for (size_t a = 0; a <= in.n; a++) {
            for (size_t b = a; b <= in.n; b++) {
                struct scrub *s = make(words, sizeof(words) / sizeof(words[0]));
                AUTO_BUF struct buf out;

                buf_init(&out, 4096);
                scrub_feed(s, str_slice(in, 0, a), collect, &out);
                scrub_feed(s, str_slice(in, a, b), collect, &out);
                scrub_feed(s, str_slice(in, b, in.n), collect, &out);
                scrub_end(s, collect, &out);
                scrub_free(s);
                if (!str_equal(buf_str(&out), str_from_cstr(cases[i].out)))
                    fail_msg("%s, cut at %zu and %zu: \"%s\"", cases[i].name, a, b, buf_cstr(&out));
            }
        }
    }
}

static void
lets_plain_text_through_at_once(void **state)
{
    struct scrub *s = make(words, sizeof(words) / sizeof(words[0]));
    AUTO_BUF struct buf out;

    buf_init(&out, 4096);
    scrub_feed(s, STR("a prompt> sk-"), collect, &out);
    assert_str(buf_str(&out), "a prompt> ");
    scrub_free(s);
}

static void
finds_a_large_secret_in_a_large_stream(void **state)
{
    enum { SECRET = 100000, STREAM = 400000 };
    char *text = malloc(STREAM);
    struct scrub *s;
    AUTO_BUF struct buf out;

    assert_non_null(text);
    memset(text, '.', STREAM);
    for (size_t i = 0; i < SECRET; i++)
        text[150000 + i] = (char)('a' + i * i % 26);
    s = make(&(struct scrub_word){STR("PEM"), {text + 150000, SECRET}}, 1);
    buf_init(&out, STREAM);
    for (size_t at = 0; at < STREAM; at += 1000)
        scrub_feed(s, (struct str){text + at, 1000}, collect, &out);
    scrub_end(s, collect, &out);
    assert_int_equal(out.n, STREAM - SECRET + 5);
    assert_memory_equal(out.p + 149999, ".[PEM].", 7);
    scrub_free(s);
    free(text);
}

static void
works_without_any_secret(void **state)
{
    struct scrub *s = make(NULL, 0);
    AUTO_BUF struct buf out;

    buf_init(&out, 64);
    scrub_feed(s, STR("hello"), collect, &out);
    assert_str(buf_str(&out), "hello");
    scrub_free(s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gives_the_same_for_every_split),
        TEST(lets_plain_text_through_at_once),
        TEST(finds_a_large_secret_in_a_large_stream),
        TEST(works_without_any_secret),
    };

    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
