/*
 * Recorded answers of every dialect and every vendor's way to count (tests/vectors/usage): NAME.sse
 * or NAME.json is the answer, NAME.want what it must be metered as. Each is cut at every byte.
 */
#include "unit.h"

#include "core/usage.h"

#include <dirent.h>

enum { ANSWER_MAX = 1 << 16 };

struct vector {
    char name[64];
    bool stream;
    enum dialect dialect;
    struct usage counts;
    unsigned flags;
    unsigned withheld; /* events that only tell usage */
    char model[USAGE_WORD_MAX + 1];
    char answer[ANSWER_MAX];
    size_t n;
};

struct result {
    struct usage_meter m;
    unsigned withheld;
};

static char path[1024];

static const char *
file(const char *name, const char *end)
{
    snprintf(path, sizeof(path), "%s/tests/vectors/usage/%s%s", getenv("SOURCE_ROOT"), name, end);
    return path;
}

static unsigned
read_flags(const char *text)
{
    static const struct {
        const char *name;
        unsigned flag;
    } flags[] = {{"input", USAGE_INPUT_SEEN}, {"output", USAGE_OUTPUT_SEEN}, {"final", USAGE_FINAL},
        {"complete", USAGE_COMPLETE}, {"error", USAGE_ERROR}, {"refused", USAGE_REFUSED}};
    unsigned found = 0;

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        found |= strstr(text, flags[i].name) != NULL ? flags[i].flag : 0;
    return found;
}

static void
read_want(struct vector *v)
{
    char line[256], key[32], value[200];
    FILE *f = fopen(file(v->name, ".want"), "r");

    assert_non_null(f);
    while (fgets(line, sizeof(line), f) != NULL) {
        int64_t *counts[] = {&v->counts.input, &v->counts.output, &v->counts.cache_read,
            &v->counts.cache_write_5m, &v->counts.cache_write_1h, &v->counts.reasoning};
        static const char *const names[] = {
            "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "reasoning"};

        value[0] = '\0';
        assert_true(sscanf(line, "%31s %199[^\n]", key, value) >= 1);
        if (strcmp(key, "dialect") == 0)
            assert_true(dialect_from_name(str_from_cstr(value), &v->dialect));
        if (strcmp(key, "model") == 0)
            snprintf(v->model, sizeof(v->model), "%.95s", value);
        if (strcmp(key, "flags") == 0)
            v->flags = read_flags(value);
        if (strcmp(key, "withheld") == 0)
            v->withheld = (unsigned)strtoul(value, NULL, 10);
        for (size_t i = 0; i < 6; i++) {
            if (strcmp(key, names[i]) == 0)
                *counts[i] = strtoll(value, NULL, 10);
        }
    }
    fclose(f);
}

static void
read_vector(const char *want, struct vector *v)
{
    FILE *f;

    memset(v, 0, sizeof(*v));
    snprintf(v->name, sizeof(v->name), "%.*s", (int)(strlen(want) - strlen(".want")), want);
    read_want(v);
    f = fopen(file(v->name, ".sse"), "r");
    v->stream = f != NULL;
    if (f == NULL)
        f = fopen(file(v->name, ".json"), "r");
    assert_non_null(f);
    v->n = fread(v->answer, 1, sizeof(v->answer), f);
    assert_true(v->n > 0 && v->n < sizeof(v->answer));
    fclose(f);
}

/* As the gateway feeds it: event by event, counting what would be withheld. */
static void
feed(struct result *r, const char *p, size_t n)
{
    if (!r->m.stream) {
        usage_meter_feed(&r->m, p, n);
        return;
    }
    for (size_t i = 0; i < n;) {
        i += usage_meter_feed_event(&r->m, p + i, n - i);
        if (r->m.event_ended)
            r->withheld += r->m.event == USAGE_EVENT_USAGE_ONLY;
    }
}

static void
check(const struct vector *v, const struct result *r, size_t cut)
{
    const struct usage *c = &r->m.counts;

    if (memcmp(c, &v->counts, sizeof(*c)) != 0)
        fail_msg("%s (cut at %zu): input %lld output %lld read %lld w5m %lld w1h %lld reasoning "
                 "%lld",
            v->name, cut, (long long)c->input, (long long)c->output, (long long)c->cache_read,
            (long long)c->cache_write_5m, (long long)c->cache_write_1h, (long long)c->reasoning);
    if (r->m.flags != v->flags)
        fail_msg("%s (cut at %zu): flags %u, not %u", v->name, cut, r->m.flags, v->flags);
    if (r->withheld != v->withheld)
        fail_msg("%s (cut at %zu): %u events only tell usage", v->name, cut, r->withheld);
    if (r->m.model_n != strlen(v->model) || memcmp(r->m.model, v->model, r->m.model_n) != 0)
        fail_msg("%s (cut at %zu): model %.*s", v->name, cut, r->m.model_n, r->m.model);
}

static void
check_everywhere(const struct vector *v)
{
    for (size_t cut = 0; cut <= v->n; cut++) {
        struct result r = {0};

        usage_meter_init(&r.m, v->dialect, v->stream);
        feed(&r, v->answer, cut);
        feed(&r, v->answer + cut, v->n - cut);
        check(v, &r, cut);
    }
    for (size_t step = 1; step < 40; step += 3) {
        struct result r = {0};

        usage_meter_init(&r.m, v->dialect, v->stream);
        for (size_t at = 0; at < v->n; at += step)
            feed(&r, v->answer + at, v->n - at < step ? v->n - at : step);
        check(v, &r, step);
    }
}

static void
every_recorded_answer_is_metered_exactly_wherever_it_is_cut(void **state)
{
    static struct vector v;
    DIR *d = opendir(file("", ""));
    struct dirent *entry;
    int found = 0;

    assert_non_null(d);
    while ((entry = readdir(d)) != NULL) {
        size_t n = strlen(entry->d_name);

        if (n < 5 || strcmp(entry->d_name + n - 5, ".want") != 0)
            continue;
        read_vector(entry->d_name, &v);
        check_everywhere(&v);
        found++;
    }
    closedir(d);
    assert_true(found > 40);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_recorded_answer_is_metered_exactly_wherever_it_is_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
