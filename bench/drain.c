/*
 * How fast finished calls become ledger rows, and what bringing the recorder to the disk costs.
 *
 *     bench-drain FOLDER STORE-URL
 *
 * Writes calls into a recorder as a worker would and waits until they are booked. FOLDER should be
 * on the disk that is to be measured.
 */
#include "base/cleanup.h"
#include "core/recorder.h"
#include "ledger/drain.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SLOTS = 8192, ROUNDS = 3, SYNC_ROUNDS = 20, ORGS = 20, WORKSPACES = 100 };

/* Who calls, in turns: agents of several customers. */
static struct id orgs[ORGS], workspaces[WORKSPACES];

static double
seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double
cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void
write_call(const struct recorder *r, uint32_t slot)
{
    struct recorder_open open = {.attempt = 1,
        .opened_ms = clock_ms(),
        .bound_nano_usd = 12500000,
        .prompt_bound = 1000,
        .output_bound = 100,
        .tiers_n = 1,
        .tiers = {{.input = 5000000, .output = 25000000}},
        .provider = "anthropic-api",
        .model_asked = "anthropic/claude-opus-4-7",
        .model_vendor = "claude-opus-4-7"};
    struct recorder_progress p = {.counts = {.input = 10, .output = 20},
        .vendor_status = 200,
        .end = RECORDER_ENDED,
        .counted = RECORDER_SETTLED,
        .flags = USAGE_INPUT_SEEN | USAGE_OUTPUT_SEEN | USAGE_FINAL | USAGE_COMPLETE};
    struct id call = id_new();

    memcpy(open.call_id, call.b, sizeof(open.call_id));
    memcpy(open.org_id, orgs[slot % ORGS].b, sizeof(open.org_id));
    memcpy(open.workspace_id, workspaces[slot % WORKSPACES].b, sizeof(open.workspace_id));
    recorder_slot_open(r, slot, &open);
    recorder_slot_close(r, slot, &p);
}

/* The worker's own mapping of the file. */
static struct recorder
map(const char *path, size_t *ret_bytes)
{
    AUTO_CLOSE int fd = open(path, O_RDWR);
    struct recorder r;
    struct stat st;
    void *memory;

    ENSURE(fd >= 0 && fstat(fd, &st) == 0);
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ENSURE(memory != MAP_FAILED && recorder_attach(memory, (size_t)st.st_size, &r));
    *ret_bytes = (size_t)st.st_size;
    return r;
}

static void
measure_drain(const struct recorder *r, struct drain *d)
{
    double best = 0, worst = 1e18, cpu = 0;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t before;
        double start, rate;
        size_t booked = 0;
        struct error e;

        drain_pause(d);
        before = drain_status(d).booked;
        for (uint32_t slot = 0; slot < r->slots_n; slot++)
            write_call(r, slot);
        start = seconds();
        cpu -= cpu_seconds();
        drain_resume(d);
        while (drain_status(d).booked < before + r->slots_n)
            ENSURE(drain_pass(d, &booked, &e) == ERR_OK);
        rate = r->slots_n / (seconds() - start);
        cpu += cpu_seconds();
        best = rate > best ? rate : best;
        worst = rate < worst ? rate : worst;
    }
    printf("drain: %.0f to %.0f rows/s, each batch durable; CPU of purserd %.1f us a row\n", worst,
        best, cpu / ROUNDS / r->slots_n * 1e6);
}

/* One interval's worth of calls is written, then synced: what purserd does every second. */
static void
measure_sync(const struct recorder *r, size_t bytes, uint32_t calls)
{
    double spent = 0, cpu = 0;

    for (int round = 0; round < SYNC_ROUNDS; round++) {
        double start;

        for (uint32_t i = 0; i < calls; i++)
            write_call(r, i % r->slots_n);
        start = seconds();
        cpu -= cpu_seconds();
        ENSURE(msync(r->header, bytes, MS_SYNC) == 0);
        spent += seconds() - start;
        cpu += cpu_seconds();
    }
    printf("sync after %u calls: %.2f ms, of it CPU %.2f ms\n", calls, spent / SYNC_ROUNDS * 1e3,
        cpu / SYNC_ROUNDS * 1e3);
}

int
main(int argc, char **argv)
{
    struct drain_options o = {.recorder = {.slots = SLOTS}};
    static const uint32_t loads[] = {0, 50, 500, 5000};
    struct recorder r;
    struct drain *d;
    struct error e;
    size_t bytes;
    char path[4096];

    if (argc != 3 || sodium_init() < 0) {
        fprintf(stderr, "usage: bench-drain FOLDER STORE-URL\n");
        return 2;
    }
    for (int i = 0; i < ORGS; i++)
        orgs[i] = id_new();
    for (int i = 0; i < WORKSPACES; i++)
        workspaces[i] = id_new();
    snprintf(path, sizeof(path), "%s/recorder", argv[1]);
    o.recorder.path = str_from_cstr(path);
    if (store_open(str_from_cstr(argv[2]), &o.store, &e) != ERR_OK ||
        drain_start(&o, &d, &e) != ERR_OK) {
        fprintf(stderr, "bench-drain: %s\n", e.text);
        return 1;
    }
    r = map(path, &bytes);
    measure_drain(&r, d);
    drain_pause(d);
    for (size_t i = 0; i < sizeof(loads) / sizeof(loads[0]); i++)
        measure_sync(&r, bytes, loads[i]);
    drain_resume(d);
    drain_stop(d);
    store_close(o.store);
    return 0;
}
