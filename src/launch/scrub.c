#include "launch/scrub.h"

#include "base/cleanup.h"

/* How much is looked at in one go, next to what is held back. */
enum { CHUNK_BYTES = 16 * 1024 };

struct word {
    char *label; /* "[NAME]" */
    size_t label_n;
    const char *value; /* in values */
    size_t n;
};

struct scrub {
    struct word *words;
    size_t words_n;
    struct secret *values;
    struct secret *window; /* holds parts of secrets */
    size_t window_n;
    size_t window_max;
    size_t covered;  /* bytes at the window's start that belong to a secret already replaced */
    bool first[256]; /* bytes a secret begins with */
};

static enum err
take_words(struct scrub *s, const struct scrub_word *words, size_t n, size_t total, struct error *e)
{
    size_t used = 0;

    if (secret_new_room(total > 0 ? total : 1, &s->values, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        struct word *word = &s->words[s->words_n];
        char *copy = secret_room(s->values) + used;

        if (words[i].value.n < SCRUB_MIN_BYTES)
            continue;
        memcpy(copy, words[i].value.p, words[i].value.n);
        used += words[i].value.n;
        word->value = copy;
        word->n = words[i].value.n;
        word->label_n = words[i].name.n + 2;
        word->label = malloc(word->label_n + 1);
        if (word->label == NULL)
            return fail(e, ERR_OUT_OF_MEMORY, "no memory for the log's scrubber");
        snprintf(word->label, word->label_n + 1, "[%.*s]", STR_ARG(words[i].name));
        s->words_n++;
        s->first[(unsigned char)copy[0]] = true;
    }
    return ERR_OK;
}

enum err
scrub_new(const struct scrub_word *words, size_t n, struct scrub **ret, struct error *e)
{
    struct scrub *s = calloc(1, sizeof(*s));
    size_t total = 0, longest = 0;

    if (s != NULL)
        s->words = calloc(n + 1, sizeof(*s->words));
    if (s == NULL || s->words == NULL) {
        scrub_free(s);
        return fail(e, ERR_OUT_OF_MEMORY, "no memory for the log's scrubber");
    }
    for (size_t i = 0; i < n; i++) {
        total += words[i].value.n;
        longest = words[i].value.n > longest ? words[i].value.n : longest;
    }
    s->window_max = longest + CHUNK_BYTES;
    if (take_words(s, words, n, total, e) != ERR_OK ||
        secret_new_room(s->window_max, &s->window, e) != ERR_OK) {
        scrub_free(s);
        return e->code;
    }
    *ret = s;
    return ERR_OK;
}

void
scrub_free(struct scrub *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->words_n; i++)
        free(s->words[i].label);
    free(s->words);
    secret_free(s->values);
    secret_free(s->window);
    free(s);
}

struct hit {
    const struct word *word; /* the longest that begins here; NULL: none */
    const struct word *part; /* one that all bytes from here on are the beginning of; or NULL */
};

static struct hit
look(const struct scrub *s, const char *at, size_t n)
{
    struct hit hit = {0};

    if (!s->first[(unsigned char)*at])
        return hit;
    for (size_t i = 0; i < s->words_n; i++) {
        const struct word *word = &s->words[i];

        if (memcmp(at, word->value, word->n <= n ? word->n : n) != 0)
            continue;
        if (word->n > n) {
            if (hit.part == NULL)
                hit.part = word;
        } else if (hit.word == NULL || word->n > hit.word->n) {
            hit.word = word;
        }
    }
    return hit;
}

static void
give(const char *from, const char *to, scrub_out_fn *out, void *ctx)
{
    if (to > from)
        out(ctx, (struct str){from, (size_t)(to - from)});
}

static void
work(struct scrub *s, bool final, scrub_out_fn *out, void *ctx)
{
    char *window = secret_room(s->window);
    size_t i = 0, run = s->covered; /* plain bytes not given yet begin at run */

    for (; i < s->window_n; i++) {
        struct hit hit = look(s, window + i, s->window_n - i);
        const struct word *word = hit.word;
        size_t rest = s->window_n - i, end;

        if (hit.part != NULL && !final)
            break;
        if (hit.part != NULL && rest < SCRUB_MIN_BYTES)
            hit.part = NULL;
        if (word == NULL)
            word = hit.part;
        if (word == NULL)
            continue;
        if (i >= s->covered) {
            give(window + run, window + i, out, ctx);
            out(ctx, (struct str){word->label, word->label_n});
        }
        end = hit.part != NULL ? s->window_n : i + word->n;
        if (end > s->covered)
            s->covered = end;
        run = s->covered;
    }
    if (run < i)
        give(window + run, window + i, out, ctx);
    memmove(window, window + i, s->window_n - i);
    s->window_n -= i;
    s->covered = s->covered > i ? s->covered - i : 0;
}

void
scrub_feed(struct scrub *s, struct str in, scrub_out_fn *out, void *ctx)
{
    while (in.n > 0) {
        size_t room = s->window_max - s->window_n;
        size_t n = in.n < room ? in.n : room;

        memcpy(secret_room(s->window) + s->window_n, in.p, n);
        s->window_n += n;
        in = str_slice(in, n, in.n);
        work(s, false, out, ctx);
    }
}

void
scrub_end(struct scrub *s, scrub_out_fn *out, void *ctx)
{
    work(s, true, out, ctx);
}
