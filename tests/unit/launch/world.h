/* A launcher with folders of its own, whose shims are this test program, and agents to start. */
#ifndef UNIT_LAUNCH_WORLD_H
#define UNIT_LAUNCH_WORLD_H

#include "base/buf.h"
#include "base/cleanup.h"
#include "launch/handover.h"
#include "launch/launch.h"
#include "launch/order.h"
#include "launch/record.h"
#include "launch/shim.h"
#include "unit.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>

enum { MAX_EXITS = 64, PATIENCE_MS = 20000 };

struct exit_seen {
    struct id workspace;
    struct launch_status status;
};

struct world {
    char base[PATH_MAX];
    char run[PATH_MAX];
    char state[PATH_MAX];
    char home[PATH_MAX];
    char program[PATH_MAX];
    struct launch_options options;
    struct launcher *launcher;
    struct id workspace;
    uint32_t uid; /* of this test run alone, with room for a few more above; 0: not root */
    pthread_mutex_t mutex;
    struct exit_seen exits[MAX_EXITS];
    size_t exits_n;
};

#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        int64_t deadline_ = clock_monotonic_ms() + PATIENCE_MS;                                    \
        while (!(condition)) {                                                                     \
            if (clock_monotonic_ms() > deadline_)                                                  \
                fail_msg("never came true: %s", #condition);                                       \
            poll(NULL, 0, 2);                                                                      \
        }                                                                                          \
    } while (0)

#define MUST(call)                                                                                 \
    do {                                                                                           \
        struct error e = {0};                                                                      \
        if ((call) != ERR_OK)                                                                      \
            fail_msg("%s: %s: %s", #call, err_name(e.code), e.text);                               \
    } while (0)

/* An agent whose program is a shell script, with a PATH and what else is given. */
struct agent {
    struct launch_spec spec;
    struct str argv[3];
    struct launch_env env[8];
};

void make_dir(char ret[static PATH_MAX], const char *above, const char *name, mode_t mode);
/* launch_exit_fn; ctx is the world. */
void on_exit_seen(void *ctx, struct id workspace, const struct launch_status *status);
size_t exits(struct world *w);
void open_launcher(struct world *w);
void close_launcher(struct world *w);
int world_set_up(void **state);
int world_tear_down(void **state);
void agent_init(struct agent *a, struct world *w, const char *script);
void start_script(struct agent *a, struct world *w, const char *script);
size_t slurp(const char *path, char *ret, size_t room);
const char *log_text(struct world *w);
bool is_gone(int pid);
size_t read_pids(struct world *w, int *ret, size_t max);
int parent_of(int pid);
struct launch_status status(struct world *w);

/* With "_shim" as first word the program is a shim; otherwise it runs the tests. */
#define launch_tests_run(tests, argc, argv)                                                        \
    ((argc) > 1 && strcmp((argv)[1], "_shim") == 0                                                 \
            ? shim_main(argc, argv)                                                                \
            : cmocka_run_group_tests(tests, world_init, NULL))
int world_init(void **state);
#define LAUNCH_TEST(f) cmocka_unit_test_setup_teardown(f, world_set_up, world_tear_down)

#endif
