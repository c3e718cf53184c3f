/*
 * Decisions per second on one core: billing_decide() with and without a trace, on registries of 10
 * and of 1,000 providers. Each runtime of a made registry has ten arms, so what changes with the
 * size is only what belongs to other runtimes. bench/decide runs it and adds callgrind's count.
 *
 *   bench-decide                    nine rounds of each, alternated; median and range
 *   bench-decide NAME COUNT         COUNT decisions of one row, for callgrind
 */
#include "base/buf.h"
#include "base/ids.h"
#include "core/billing.h"
#include "registry/registry_load.h"

#include <stdio.h>
#include <time.h>

enum { ROUNDS = 9, COUNT = 400000, ARMS = 10 };

struct bench_row {
    const char *name;
    size_t providers;
    const char *model; /* of runtime r0 */
    bool trace;
};

static const struct bench_row rows[] = {
    {"exact-10", 10, "p5-model-2", false},
    {"exact-10-trace", 10, "p5-model-2", true},
    {"exact-1000", 1000, "p5-model-2", false},
    {"exact-1000-trace", 1000, "p5-model-2", true},
    {"prefix-10", 10, "p5-other", false},
    {"prefix-10-trace", 10, "p5-other", true},
    {"prefix-1000", 1000, "p5-other", false},
    {"prefix-1000-trace", 1000, "p5-other", true},
};
enum { ROWS_N = sizeof(rows) / sizeof(rows[0]) };

static struct registry_set *
make_registry(size_t providers)
{
    AUTO_BUF struct buf yaml;
    struct registry_set *set = NULL;
    struct error e;

    buf_init(&yaml, 1 << 20);
    buf_add(&yaml, STR("schema_version: 1\nproviders:\n"));
    for (size_t i = 0; i < providers; i++)
        buf_addf(&yaml,
            "  - {name: p%zu, display_name: P, kind: api-key, auth_env: [P%zu_KEY], "
            "model_prefix_match: '^p%zu-'}\n",
            i, i, i);
    buf_add(&yaml, STR("runtimes:\n"));
    for (size_t first = 0; first < providers; first += ARMS) {
        buf_addf(&yaml, "  r%zu:\n    dialect: openai-chat\n    providers:\n", first / ARMS);
        for (size_t i = first; i < first + ARMS; i++)
            buf_addf(&yaml,
                "      - {name: p%zu, models: [p%zu-model-0, p%zu-model-1, p%zu-model-2]}\n", i, i,
                i, i);
    }
    if (registry_load_bytes("made", buf_str(&yaml), &set, &e) != ERR_OK) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
    return set;
}

static uint64_t
decide(const struct bench_row *row, struct registry_set *set, uint64_t count)
{
    static const struct str auth[] = {STR_INIT("P5_KEY")};
    struct billing_facts f = {.derive = {.registry = registry_block(set),
                                  .match = registry_match,
                                  .match_ctx = set,
                                  .runtime = STR("r0"),
                                  .model = str_from_cstr(row->model),
                                  .auth_names = auth,
                                  .auth_names_n = 1}};
    struct derive_trace trace;
    uint64_t byok = 0;

    for (uint64_t i = 0; i < count; i++)
        byok += billing_decide(&f, row->trace ? &trace : NULL).mode == BILLING_BYOK;
    ENSURE(byok == count);
    return byok;
}

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int
ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void
measure_all(struct registry_set *small, struct registry_set *large)
{
    static double per_second[ROWS_N][ROUNDS];

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < ROWS_N; i++) {
            double start = seconds();

            decide(&rows[i], rows[i].providers == 10 ? small : large, COUNT);
            per_second[i][round] = COUNT / (seconds() - start);
        }
    }
    for (size_t i = 0; i < ROWS_N; i++) {
        qsort(per_second[i], ROUNDS, sizeof(double), ascending);
        printf("%-18s %8.2f million/s  (%.2f to %.2f)\n", rows[i].name,
            per_second[i][ROUNDS / 2] / 1e6, per_second[i][0] / 1e6,
            per_second[i][ROUNDS - 1] / 1e6);
    }
}

int
main(int argc, char **argv)
{
    AUTO_REGISTRY struct registry_set *small = make_registry(10);
    AUTO_REGISTRY struct registry_set *large = make_registry(1000);

    if (argc != 3) {
        measure_all(small, large);
        return 0;
    }
    for (size_t i = 0; i < ROWS_N; i++) {
        if (strcmp(argv[1], rows[i].name) == 0)
            decide(&rows[i], rows[i].providers == 10 ? small : large, strtoull(argv[2], NULL, 10));
    }
    return 0;
}
