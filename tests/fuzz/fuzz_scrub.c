/*
 * Agents' output: the same bytes whatever pieces it comes in, and no secret is among them. The first
 * byte says how long the two secrets are that the second and following bytes hold; the rest is
 * output.
 */
#include "base/buf.h"
#include "launch/scrub.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { OUT_MAX = 1 << 24 };

static void
collect(void *ctx, struct str piece)
{
    buf_add(ctx, piece);
}

static void
run(const struct scrub_word *words, struct str in, size_t cut, struct buf *out)
{
    struct scrub *s;
    struct error e;

    ENSURE(scrub_new(words, 2, &s, &e) == ERR_OK);
    scrub_feed(s, str_slice(in, 0, cut), collect, out);
    scrub_feed(s, str_slice(in, cut, in.n), collect, out);
    scrub_end(s, collect, out);
    scrub_free(s);
}

/* The names in brackets cannot make up a secret: secrets of the input hold no bracket. */
static void
check_gone(const struct scrub_word *word, const struct buf *out)
{
    if (word->value.n >= SCRUB_MIN_BYTES && str_find_char(word->value, '[') == word->value.n &&
        str_find_char(word->value, ']') == word->value.n)
        ENSURE(out->n == 0 || memmem(out->p, out->n, word->value.p, word->value.n) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    size_t first = n > 0 ? data[0] & 15 : 0, second = n > 0 ? data[0] >> 4 : 0;
    struct str all = {(const char *)data + (n > 0), n - (n > 0)}, in;
    struct scrub_word words[2] = {{STR("A"), STR_NONE}, {STR("B"), STR_NONE}};
    struct buf whole, split;

    if (first + second > all.n)
        return 0;
    words[0].value = str_slice(all, 0, first);
    words[1].value = str_slice(all, first, first + second);
    in = str_slice(all, first + second, all.n);
    buf_init(&whole, OUT_MAX);
    buf_init(&split, OUT_MAX);
    run(words, in, in.n, &whole);
    check_gone(&words[0], &whole);
    check_gone(&words[1], &whole);
    for (size_t cut = 0; cut < in.n; cut += 1 + in.n / 8) {
        buf_clear(&split);
        run(words, in, cut, &split);
        ENSURE(str_equal(buf_str(&split), buf_str(&whole)));
    }
    buf_done(&whole);
    buf_done(&split);
    return 0;
}
