/* A container engine's progress: any bytes, any split, the same lines and the same problem. */
#include "launch/pull.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
    uint64_t hash;
    size_t lines;
};

static void
see(void *ctx, struct str line)
{
    struct seen *s = ctx;

    ENSURE(line.n > 0 && line.n < 300);
    for (size_t i = 0; i < line.n; i++)
        s->hash = s->hash * 31 + (unsigned char)line.p[i];
    s->lines++;
}

static bool
read_all(struct pull *p, struct seen *s, struct str bytes, size_t cut)
{
    bool whole;

    *s = (struct seen){0};
    pull_init(p, see, s);
    whole = pull_feed(p, str_slice(bytes, 0, cut)) && pull_feed(p, str_slice(bytes, cut, bytes.n));
    if (whole)
        pull_end(p);
    pull_done(p);
    return whole;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str bytes = {(const char *)data, n};
    struct seen seen, again;
    struct pull p, q;
    bool whole = read_all(&p, &seen, bytes, n);

    for (size_t cut = 0; cut < n; cut += 1 + n / 16) {
        ENSURE(read_all(&q, &again, bytes, cut) == whole);
        ENSURE(again.lines == seen.lines && again.hash == seen.hash &&
            strcmp(q.problem, p.problem) == 0);
    }
    return 0;
}
