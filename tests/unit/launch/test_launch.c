/* Real agents under real shims: what they start with. */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
/* Environment, descriptors, identity */

static void
environment_is_the_spec_byte_for_byte(void **state)
{
    static const char expected_head[] =
        "B=\xff odd \n bytes=\0A=\0KEY=sk-secret-value-1\0PATH=/bin";
    struct world *w = *state;
    AUTO_SECRET struct secret *key = NULL;
    struct agent a;
    char path[64], text[PATH_MAX + 256], *at = text;
    size_t n;

    MUST(secret_new(STR("sk-secret-value-1"), &key, &e));
    agent_init(&a, w, "");
    a.argv[0] = STR("sleep");
    a.argv[1] = STR("1000");
    a.spec.argv_n = 2;
    a.env[0] = (struct launch_env){STR("B"), STR("\xff odd \n bytes="), NULL};
    a.env[1] = (struct launch_env){STR("A"), STR(""), NULL};
    a.env[2] = (struct launch_env){STR("KEY"), STR_NONE, key};
    a.env[3] = (struct launch_env){STR("PATH"), STR("/bin"), NULL};
    a.spec.env_n = 4;
    MUST(launch_start(w->launcher, &a.spec, &e));
    snprintf(path, sizeof(path), "/proc/%d/environ", status(w).pid);
    n = slurp(path, at, sizeof(text));
    assert_int_equal(n, sizeof(expected_head));
    assert_memory_equal(text, expected_head, sizeof(expected_head));
}

static void
agent_inherits_no_descriptor(void **state)
{
    struct world *w = *state;
    int leak = open("/dev/null", O_RDONLY); /* not close-on-exec: somebody forgot */
    struct agent a;

    start_script(&a, w, "ls /proc/self/fd; readlink /proc/self/fd/0");
    WAIT_UNTIL(exits(w) == 1);
    close(leak);
    assert_string_equal(log_text(w), "0\n1\n2\n3\n/dev/null\n"); /* 3 is ls's own folder */
}

static void
agent_has_its_uid_and_no_way_back(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX + 16], expected[256], script[PATH_MAX + 256];
    struct agent a;
    struct stat st;
    int fd;

    if (geteuid() != 0) {
        print_message("# not root: nothing to see here\n");
        return;
    }
    snprintf(path, sizeof(path), "%s/root-only", w->state);
    fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    snprintf(script, sizeof(script),
        "id -u; id -g; id -G; cat '%s' 2>/dev/null || echo denied; umask;"
        " grep -E 'NoNewPrivs|CapEff|CapPrm|CapAmb' /proc/self/status; pwd",
        path);
    start_script(&a, w, script);
    WAIT_UNTIL(exits(w) == 1);
    snprintf(expected, sizeof(expected),
        "%u\n%u\n%u\ndenied\n0077\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
        "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n",
        w->uid, w->uid, w->uid);
    assert_memory_equal(log_text(w), expected, strlen(expected));
    assert_memory_equal(log_text(w) + strlen(expected), w->home, strlen(w->home));
    assert_int_equal(stat(w->home, &st), 0);
    assert_int_equal(st.st_uid, w->uid);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void
nobody_gets_a_core(void **state)
{
    struct world *w = *state;
    char path[PATH_MAX + 8];
    struct agent a;

    start_script(&a, w, "ulimit -c; ulimit -c unlimited 2>/dev/null; kill -SEGV $$");
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 128 + SIGSEGV);
    assert_string_equal(log_text(w), "0\n");
    snprintf(path, sizeof(path), "%s/core", w->home);
    assert_int_equal(access(path, F_OK), -1);
}

static void
shim_hides_its_memory_and_has_an_empty_environment(void **state)
{
    struct world *w = *state;
    char path[64], text[256];
    struct agent a;
    struct stat st;
    int shim;

    start_script(&a, w, "sleep 1000");
    shim = parent_of(status(w).pid);
    snprintf(path, sizeof(path), "/proc/%d/environ", shim);
    assert_int_equal(slurp(path, text, sizeof(text)), 0);
    /* Of a process that is not dumpable, these files are root's. As root: nothing to tell. */
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, 0);
}

static void
program_is_looked_up_in_the_agents_path(void **state)
{
    struct world *w = *state;
    struct agent a;
    char file[PATH_MAX + 16], dir[PATH_MAX];
    int fd;

    make_dir(dir, w->base, "bin", 0755);
    snprintf(file, sizeof(file), "%s/greet", dir);
    fd = open(file, O_WRONLY | O_CREAT, 0755);
    assert_true(fd >= 0);
    assert_true(write(fd, "#!/bin/sh\necho hello $1\n", 24) == 24);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    agent_init(&a, w, "");
    a.argv[0] = STR("greet");
    a.argv[1] = STR("you");
    a.spec.argv_n = 2;
    a.env[0].literal = str_from_cstr(dir);
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_string_equal(log_text(w), "hello you\n");
}

/* Starting */

static void
refuses_a_second_start(void **state)
{
    struct world *w = *state;
    struct agent a;
    struct error e;
    pid_t shim;

    start_script(&a, w, "sleep 1000");
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_CONFLICT);
    /* Not the launcher's memory alone: a shim started behind its back refuses too. */
    assert_int_equal(handover(&a.spec, &w->options, &shim, &e), ERR_CONFLICT);
    assert_int_equal(status(w).state, LAUNCH_RUNNING);
    assert_false(is_gone(status(w).pid));
}

struct race {
    struct world *w;
    enum err result;
};

static void *
race_start(void *arg)
{
    struct race *r = arg;
    struct agent a;
    struct error e;

    agent_init(&a, r->w, "sleep 1000");
    r->result = launch_start(r->w->launcher, &a.spec, &e);
    return NULL;
}

static void
one_of_many_simultaneous_starts_wins(void **state)
{
    enum { RACERS = 8 };
    struct race races[RACERS];
    pthread_t threads[RACERS];
    int won = 0;

    for (int i = 0; i < RACERS; i++) {
        races[i] = (struct race){.w = *state};
        assert_int_equal(pthread_create(&threads[i], NULL, race_start, &races[i]), 0);
    }
    for (int i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        won += races[i].result == ERR_OK;
        assert_true(races[i].result == ERR_OK || races[i].result == ERR_CONFLICT);
    }
    assert_int_equal(won, 1);
}

static void
missing_program_is_an_error_and_nothing_runs(void **state)
{
    static const struct {
        const char *program, *says;
    } cases[] = {
        {"no-such-program", "no-such-program is not in the agent's PATH"},
        {"/no/such/program", "/no/such/program: No such file or directory"},
        {"/etc/passwd", "/etc/passwd: Permission denied"},
    };
    struct world *w = *state;
    struct agent a;
    struct id some[1];

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error e = {0};

        agent_init(&a, w, "");
        a.argv[0] = str_from_cstr(cases[i].program);
        assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
        if (strstr(e.text, cases[i].says) == NULL)
            fail_msg("%s: says \"%s\"", cases[i].program, e.text);
        assert_int_equal(launch_list(w->launcher, some, 1), 0);
        assert_int_equal(status(w).state, LAUNCH_EXITED);
    }
    /* And it is told once, as the error: also not by the next launcher. */
    close_launcher(w);
    open_launcher(w);
    start_script(&a, w, "exit 4");
    WAIT_UNTIL(exits(w) > 0);
    assert_int_equal(w->exits[0].status.exit_code, 4);
    assert_true(id_equal(w->exits[0].status.start, a.spec.start));
    assert_int_equal(exits(w), 1);
}

static void
refuses_what_cannot_be_an_environment(void **state)
{
    static char large[ORDER_MAX_ENTRY_BYTES];
    struct world *w = *state;
    struct agent a;
    struct error why;
    const struct {
        const char *name;
        struct launch_env env;
        enum err result;
    } cases[] = {
        {"equals sign", {STR("A=B"), STR("x"), NULL}, ERR_INVALID_REQUEST},
        {"no name", {STR(""), STR("x"), NULL}, ERR_INVALID_REQUEST},
        {"NUL in value", {STR("A"), {"a\0b", 3}, NULL}, ERR_INVALID_REQUEST},
        {"twice", {STR("PATH"), STR("/bin"), NULL}, ERR_INVALID_REQUEST},
        {"too large", {STR("A"), {large, sizeof(large) - 2}, NULL}, ERR_ENVIRONMENT_TOO_LARGE},
    };

    memset(large, 'x', sizeof(large));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        agent_init(&a, w, "exit 0");
        a.env[2] = cases[i].env;
        a.spec.env_n = 3;
        if (launch_start(w->launcher, &a.spec, &why) != cases[i].result)
            fail_msg("%s", cases[i].name);
        assert_int_equal(status(w).state, LAUNCH_NONE);
    }
    /* One byte less is what the kernel takes. */
    agent_init(&a, w, "exit 0");
    a.env[2] = (struct launch_env){STR("A"), {large, sizeof(large) - 3}, NULL};
    a.spec.env_n = 3;
    MUST(launch_start(w->launcher, &a.spec, &e));
}

/* Ending */

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LAUNCH_TEST(environment_is_the_spec_byte_for_byte),
        LAUNCH_TEST(agent_inherits_no_descriptor),
        LAUNCH_TEST(agent_has_its_uid_and_no_way_back),
        LAUNCH_TEST(nobody_gets_a_core),
        LAUNCH_TEST(shim_hides_its_memory_and_has_an_empty_environment),
        LAUNCH_TEST(program_is_looked_up_in_the_agents_path),
        LAUNCH_TEST(refuses_a_second_start),
        LAUNCH_TEST(one_of_many_simultaneous_starts_wins),
        LAUNCH_TEST(missing_program_is_an_error_and_nothing_runs),
        LAUNCH_TEST(refuses_what_cannot_be_an_environment),
    };

    return launch_tests_run(tests, argc, argv);
}
