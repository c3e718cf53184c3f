/* Real agents under real shims: how they end, who outlives whom, and what is logged. */
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
static void
reports_exit_code_and_signal(void **state)
{
    static const struct {
        const char *script;
        int exit_code;
    } cases[] = {{"exit 0", 0}, {"exit 7", 7}, {"kill -KILL $$", 137}, {"kill -HUP $$", 129}};
    struct world *w = *state;
    struct agent a;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct launch_status s;

        start_script(&a, w, cases[i].script);
        WAIT_UNTIL(exits(w) == i + 1);
        s = w->exits[i].status;
        assert_int_equal(s.state, LAUNCH_EXITED);
        assert_int_equal(s.exit_code, cases[i].exit_code);
        assert_true(id_equal(s.start, a.spec.start));
        assert_true(s.pid > 0 && s.started_ms > 0 && s.ended_ms >= s.started_ms);
        assert_int_equal(status(w).exit_code, cases[i].exit_code);
    }
}

static void
stop_lets_a_polite_agent_finish(void **state)
{
    struct world *w = *state;
    struct agent a;
    int64_t before;

    start_script(&a, w, "trap 'echo bye; exit 3' TERM; echo ready; sleep 1000 & wait");
    WAIT_UNTIL(strcmp(log_text(w), "ready\n") == 0);
    before = clock_monotonic_ms();
    MUST(launch_stop(w->launcher, w->workspace, 60000, &e));
    assert_true(clock_monotonic_ms() - before < 30000);
    assert_int_equal(status(w).state, LAUNCH_EXITED);
    assert_int_equal(status(w).exit_code, 3);
    assert_string_equal(log_text(w), "ready\nbye\n");
    WAIT_UNTIL(exits(w) == 1);
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
}

/* An agent, a child in its group, a grandchild in a session of its own: all deaf to SIGTERM. */
static const char deaf_family[] = "trap '' TERM; cd; echo $$ >>pids;"
                                  "sh -c 'echo $$ >>pids; sleep 1000; :' &"
                                  "setsid sh -c 'echo $$ >>pids; sleep 1000; :' &"
                                  "while :; do sleep 0.05; done";

static void
assert_all_gone(const int *pids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        WAIT_UNTIL(is_gone(pids[i]));
}

static void
stop_kills_a_deaf_family_after_the_grace(void **state)
{
    struct world *w = *state;
    struct agent a;
    int pids[4];
    int64_t before;

    start_script(&a, w, deaf_family);
    WAIT_UNTIL(read_pids(w, pids, 4) == 3);
    before = clock_monotonic_ms();
    MUST(launch_stop(w->launcher, w->workspace, 200, &e));
    assert_true(clock_monotonic_ms() - before >= 200);
    for (int i = 0; i < 3; i++)
        assert_true(is_gone(pids[i]));
    assert_int_equal(status(w).exit_code, 137);
}

static void
what_an_agent_leaves_behind_goes_with_it(void **state)
{
    struct world *w = *state;
    struct agent a;
    int pids[3];

    start_script(&a, w,
        "cd; sh -c 'echo $$ >>pids; sleep 1000; :' &"
        "(setsid sh -c 'echo $$ >>pids; sleep 1000; :' &);"
        "while [ \"$(wc -l <pids 2>/dev/null || echo 0)\" != 2 ]; do sleep 0.01; done; exit 5");
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 5);
    assert_int_equal(read_pids(w, pids, 3), 2);
    assert_true(is_gone(pids[0]));
    assert_true(is_gone(pids[1]));
}

/* Each process forks the next and goes: killing what is seen comes too late. */
static void
chain_that_outruns_a_killer_is_ended_by_its_uid(void **state)
{
    struct world *w = *state;
    char program[PATH_MAX + 16];
    struct agent a;
    int fd;

    if (geteuid() != 0) {
        print_message("# not root: nothing to see here\n");
        return;
    }
    snprintf(program, sizeof(program), "%s/chain", w->base);
    fd = open(program, O_WRONLY | O_CREAT, 0755);
    assert_true(fd >= 0);
    assert_true(write(fd, "#!/bin/sh\nsetsid \"$0\" &\n", 25) == 25);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    agent_init(&a, w, "");
    a.argv[0] = str_from_cstr(program);
    a.spec.argv_n = 1;
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 0);
}

/* Surviving */

static void
agent_outlives_the_launcher_and_is_found_again(void **state)
{
    struct world *w = *state;
    struct launch_status before;
    struct id some[2];
    struct agent a;

    start_script(&a, w, "cd; until [ -e go ]; do sleep 0.01; done; exit 9");
    before = status(w);
    close_launcher(w);
    assert_false(is_gone(before.pid));
    open_launcher(w);
    assert_int_equal(launch_list(w->launcher, some, 2), 1);
    assert_true(id_equal(some[0], w->workspace));
    assert_int_equal(status(w).state, LAUNCH_RUNNING);
    assert_int_equal(status(w).pid, before.pid);
    assert_true(id_equal(status(w).start, before.start));
    assert_int_equal(exits(w), 0);
    {
        char path[PATH_MAX + 4];

        snprintf(path, sizeof(path), "%s/go", w->home);
        close(open(path, O_WRONLY | O_CREAT, 0644));
    }
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 9);
}

static void
agent_outlives_kill_9_of_purserd(void **state)
{
    struct world *w = *state;
    struct agent a;
    pid_t purserd;
    int done[2], status_code;
    char byte;

    close_launcher(w);
    assert_int_equal(pipe2(done, O_CLOEXEC), 0);
    agent_init(&a, w, "while :; do echo alive; sleep 0.01; done");
    purserd = fork();
    if (purserd == 0) {
        struct launcher *l;
        struct error e;

        if (launcher_open(&w->options, on_exit_seen, w, &l, &e) != ERR_OK ||
            launch_start(l, &a.spec, &e) != ERR_OK || write(done[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(done[1]);
    assert_int_equal(read(done[0], &byte, 1), 1);
    close(done[0]);
    kill(purserd, SIGKILL);
    waitpid(purserd, &status_code, 0);
    open_launcher(w);
    assert_int_equal(status(w).state, LAUNCH_RUNNING);
    assert_true(id_equal(status(w).start, a.spec.start));
    assert_false(is_gone(status(w).pid));
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
    WAIT_UNTIL(exits(w) == 1);
}

static void
order_of_a_dead_purserd_starts_nothing(void **state)
{
    struct world *w = *state;
    AUTO_SECRET struct secret *order = NULL;
    char *no_environment[] = {NULL};
    char shim[] = "_shim", mark[PATH_MAX + 8];
    char *argv[] = {w->program, shim, NULL};
    posix_spawn_file_actions_t actions;
    struct agent a;
    int pair[2], code;
    pid_t pid;

    agent_init(&a, w, "echo ran >mark");
    MUST(order_encode(&a.spec, &w->options, &order, &e));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(
        send(pair[0], secret_expose(order).p, secret_bytes(order), 0), secret_bytes(order));
    close(pair[0]);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pair[1], SHIM_ORDER_FD);
    assert_int_equal(posix_spawn(&pid, w->program, &actions, NULL, argv, no_environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(pair[1]);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(WEXITSTATUS(code), 1);
    snprintf(mark, sizeof(mark), "%s/mark", w->home);
    assert_int_equal(access(mark, F_OK), -1);
    /* And the workspace is free. */
    start_script(&a, w, "exit 0");
}

static void
end_while_nobody_watched_is_reported_once(void **state)
{
    struct world *w = *state;
    struct agent a;
    int pid, file;
    char path[PATH_MAX + 64];

    start_script(&a, w, "exec sleep 1000");
    pid = status(w).pid;
    close_launcher(w);
    kill(pid, SIGTERM);
    WAIT_UNTIL(is_gone(pid));
    snprintf(path, sizeof(path), "%s/shims", w->run);
    file = open(path, O_RDONLY | O_DIRECTORY);
    assert_true(file >= 0);
    {
        int run = record_open(file, w->workspace, false);

        assert_true(run >= 0);
        WAIT_UNTIL(record_lock(file, w->workspace, run));
        close(run);
    }
    close(file);
    open_launcher(w);
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 128 + SIGTERM);
    assert_true(id_equal(w->exits[0].status.start, a.spec.start));
    close_launcher(w);
    open_launcher(w);
    assert_int_equal(status(w).state, LAUNCH_EXITED);
    close_launcher(w);
    assert_int_equal(exits(w), 1);
}

static void
agent_of_a_killed_shim_is_killed_and_reported(void **state)
{
    struct world *w = *state;
    struct agent a;
    int pids[4];

    start_script(&a, w, deaf_family);
    WAIT_UNTIL(read_pids(w, pids, 4) == 3);
    kill(parent_of(status(w).pid), SIGKILL);
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 137);
    assert_all_gone(pids, 3);
    start_script(&a, w, "exit 0");
    WAIT_UNTIL(exits(w) == 2);
}

static void
agent_whose_shim_died_unwatched_is_killed_by_the_next_launcher(void **state)
{
    struct world *w = *state;
    struct agent a;
    struct error e;
    int pids[4];
    int shim;
    pid_t other;

    start_script(&a, w, deaf_family);
    WAIT_UNTIL(read_pids(w, pids, 4) == 3);
    shim = parent_of(status(w).pid);
    close_launcher(w);
    kill(shim, SIGKILL);
    WAIT_UNTIL(is_gone(shim));
    /* Until then no shim starts a second one. */
    assert_int_equal(handover(&a.spec, &w->options, &other, &e), ERR_CONFLICT);
    open_launcher(w);
    assert_int_equal(launch_list(w->launcher, NULL, 0), 0);
    assert_all_gone(pids, 3);
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 137);
}

static void
stranger_with_the_recorded_pid_is_left_alone(void **state)
{
    struct world *w = *state;
    struct record r;
    struct agent a;
    char path[PATH_MAX + 64];
    pid_t stranger;
    int dir, file;

    start_script(&a, w, "exit 0");
    WAIT_UNTIL(exits(w) == 1);
    close_launcher(w);
    stranger = fork();
    if (stranger == 0) {
        setsid();
        for (;;)
            pause();
    }
    snprintf(path, sizeof(path), "%s/shims", w->run);
    dir = open(path, O_RDONLY | O_DIRECTORY);
    file = record_open(dir, w->workspace, false);
    assert_true(record_read(file, &r));
    r.state = LAUNCH_RUNNING;
    r.reported = false;
    r.pid = stranger;
    r.pid_ticks -= 1;
    MUST(record_write(file, &r, &e));
    close(file);
    close(dir);
    open_launcher(w);
    WAIT_UNTIL(exits(w) == 2);
    assert_int_equal(status(w).state, LAUNCH_EXITED);
    assert_int_equal(waitpid(stranger, NULL, WNOHANG), 0);
    kill(stranger, SIGKILL);
    waitpid(stranger, NULL, 0);
}

enum { CHAOS_WORKSPACES = 6, CHAOS_ROUNDS = 20 };

/* A purserd that starts and stops at random until it is killed. */
_Noreturn static void
run_wild(struct world *w, const struct id *workspaces)
{
    struct launcher *l;
    struct error e;

    if (launcher_open(&w->options, on_exit_seen, w, &l, &e) != ERR_OK)
        _exit(1);
    for (;;) {
        uint32_t k = randombytes_uniform(CHAOS_WORKSPACES);
        char mark[ID_TEXT_BYTES], home[PATH_MAX + 8];
        struct agent a;

        agent_init(&a, w, "while :; do sleep 1000; done");
        id_text(workspaces[k], mark);
        snprintf(home, sizeof(home), "%s-%u", w->home, k);
        a.env[2] = (struct launch_env){STR("CHAOS_MARK"), str_from_cstr(mark), NULL};
        a.spec.env_n = 3;
        a.spec.workspace = workspaces[k];
        a.spec.home = str_from_cstr(home);
        a.spec.uid += a.spec.uid != 0 ? k : 0;
        if (launch_start(l, &a.spec, &e) != ERR_OK &&
            launch_stop(l, workspaces[k], randombytes_uniform(3), &e) != ERR_OK)
            _exit(1);
    }
}

/* How many shells run as this workspace's agent, whoever knows of them. */
static int
count_marked(struct id workspace)
{
    char mark[ID_TEXT_BYTES], path[64], text[4096];
    int found = 0;

    DIR *proc = opendir("/proc");

    assert_non_null(proc);
    id_text(workspace, mark);
    for (struct dirent *d; (d = readdir(proc)) != NULL;) {
        long pid = strtol(d->d_name, NULL, 10);
        size_t n;

        snprintf(path, sizeof(path), "/proc/%ld/cmdline", pid);
        n = slurp(path, text, sizeof(text));
        if (n < 3 || strcmp(text, "sh") != 0)
            continue;
        snprintf(path, sizeof(path), "/proc/%ld/environ", pid);
        n = slurp(path, text, sizeof(text));
        found += memmem(text, n, mark, strlen(mark) + 1) != NULL;
    }
    closedir(proc);
    return found;
}

static void
kill_9_of_purserd_at_any_moment_loses_and_doubles_nothing(void **state)
{
    struct world *w = *state;
    struct id workspaces[CHAOS_WORKSPACES];

    for (int k = 0; k < CHAOS_WORKSPACES; k++)
        workspaces[k] = id_new();
    close_launcher(w);
    for (int round = 0; round < CHAOS_ROUNDS; round++) {
        pid_t purserd = fork();
        int code;

        if (purserd == 0)
            run_wild(w, workspaces);
        poll(NULL, 0, (int)randombytes_uniform(60));
        kill(purserd, SIGKILL);
        assert_int_equal(waitpid(purserd, &code, 0), purserd);
        assert_true(WIFSIGNALED(code));
        open_launcher(w);
        for (int k = 0; k < CHAOS_WORKSPACES; k++) {
            /* What a stop was under way for may end a moment later. */
            WAIT_UNTIL(count_marked(workspaces[k]) ==
                (launch_status(w->launcher, workspaces[k]).state == LAUNCH_RUNNING));
        }
        close_launcher(w);
    }
}

/* The log */

static void
log_holds_names_instead_of_secrets(void **state)
{
    struct world *w = *state;
    AUTO_SECRET struct secret *key = NULL;
    AUTO_SECRET struct secret *shorter = NULL;
    struct agent a;

    MUST(secret_new(STR("sk-ant-0123456789abcdef"), &key, &e));
    MUST(secret_new(STR("seven77"), &shorter, &e));
    agent_init(&a, w,
        "echo whole $KEY, stderr >&2; printf '%s' split-${KEY%9abcdef}; sleep 0.1;"
        "echo 9abcdef-split; echo $SHORT $PLAIN; env | grep -c sk-ant; printf 'end sk-ant-0'");
    a.env[2] = (struct launch_env){STR("KEY"), STR_NONE, key};
    a.env[3] = (struct launch_env){STR("SHORT"), STR_NONE, shorter};
    a.env[4] = (struct launch_env){STR("PLAIN"), STR("not-a-secret"), NULL};
    a.spec.env_n = 5;
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_string_equal(
        log_text(w), "whole [KEY], stderr\nsplit-[KEY]-split\nseven77 not-a-secret\n1\nend [KEY]");
}

static void
log_is_bounded_and_private(void **state)
{
    struct world *w = *state;
    struct agent a;
    const char *names[] = {"log", "log.1"};
    char path[PATH_MAX + 16];
    struct stat st;
    const char *text;

    start_script(&a, w, "yes 0123456789abcde | head -c 3500000; echo; echo the end");
    WAIT_UNTIL(exits(w) == 1);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%.*s/%s", (int)(strlen(w->home) - 5), w->home, names[i]);
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(st.st_uid, geteuid());
        assert_true(st.st_size <= 1024 * 1024);
    }
    text = log_text(w);
    assert_int_equal(strlen(text), 8191);
    assert_string_equal(text + 8191 - 9, "\nthe end\n");
}

static void
forgotten_workspace_leaves_no_trace(void **state)
{
    struct world *w = *state;
    struct agent a;
    struct error why;

    start_script(&a, w, "echo something; sleep 1000");
    WAIT_UNTIL(log_text(w)[0] != '\0');
    assert_int_equal(launch_forget(w->launcher, w->workspace, &why), ERR_CONFLICT);
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
    MUST(launch_forget(w->launcher, w->workspace, &e));
    assert_int_equal(status(w).state, LAUNCH_NONE);
    assert_string_equal(log_text(w), "");
    start_script(&a, w, "exit 0");
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LAUNCH_TEST(reports_exit_code_and_signal),
        LAUNCH_TEST(stop_lets_a_polite_agent_finish),
        LAUNCH_TEST(stop_kills_a_deaf_family_after_the_grace),
        LAUNCH_TEST(what_an_agent_leaves_behind_goes_with_it),
        LAUNCH_TEST(chain_that_outruns_a_killer_is_ended_by_its_uid),
        LAUNCH_TEST(agent_outlives_the_launcher_and_is_found_again),
        LAUNCH_TEST(agent_outlives_kill_9_of_purserd),
        LAUNCH_TEST(order_of_a_dead_purserd_starts_nothing),
        LAUNCH_TEST(end_while_nobody_watched_is_reported_once),
        LAUNCH_TEST(agent_of_a_killed_shim_is_killed_and_reported),
        LAUNCH_TEST(agent_whose_shim_died_unwatched_is_killed_by_the_next_launcher),
        LAUNCH_TEST(stranger_with_the_recorded_pid_is_left_alone),
        LAUNCH_TEST(kill_9_of_purserd_at_any_moment_loses_and_doubles_nothing),
        LAUNCH_TEST(log_holds_names_instead_of_secrets),
        LAUNCH_TEST(log_is_bounded_and_private),
        LAUNCH_TEST(forgotten_workspace_leaves_no_trace),
    };

    return launch_tests_run(tests, argc, argv);
}
