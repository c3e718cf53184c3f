/*
 * Real agents under real shims. This program is its own shim: started with "_shim" it is what
 * `purser _shim` is. Runs as root, where agents get uids of their own, and as anybody else.
 */
#include "base/buf.h"
#include "launch/launch.h"
#include "launch/order.h"
#include "launch/record.h"
#include "launch/shim.h"
#include "launch/handover.h"
#include "unit.h"

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

static void
on_exit_seen(void *ctx, struct id workspace, const struct launch_status *status)
{
    struct world *w = ctx;

    pthread_mutex_lock(&w->mutex);
    if (w->exits_n < MAX_EXITS)
        w->exits[w->exits_n++] = (struct exit_seen){workspace, *status};
    pthread_mutex_unlock(&w->mutex);
}

static size_t
exits(struct world *w)
{
    size_t n;

    pthread_mutex_lock(&w->mutex);
    n = w->exits_n;
    pthread_mutex_unlock(&w->mutex);
    return n;
}

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

static void
open_launcher(struct world *w)
{
    MUST(launcher_open(&w->options, on_exit_seen, w, &w->launcher, &e));
}

static void
close_launcher(struct world *w)
{
    launcher_close(w->launcher);
    w->launcher = NULL;
}

static void
make_dir(char ret[static PATH_MAX], const char *above, const char *name, mode_t mode)
{
    assert_true(snprintf(ret, PATH_MAX, "%s/%s", above, name) < PATH_MAX);
    assert_int_equal(mkdir(ret, 0700), 0);
    assert_int_equal(chmod(ret, mode), 0);
}

static int
set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    char top[] = "/tmp/purser-launch-XXXXXX", name[ID_TEXT_BYTES];
    ssize_t n;

    assert_non_null(w);
    assert_non_null(mkdtemp(top));
    assert_int_equal(chmod(top, 0711), 0);
    /* Longer than a socket's address may be. */
    make_dir(w->base, top,
        "a-run-directory-whose-path-is-by-itself-already-longer-than-the-hundred-and-eight-bytes-"
        "that-an-address-of-a-socket-may-have",
        0711);
    make_dir(w->run, w->base, "run", 0700);
    make_dir(w->state, w->base, "state", 0711);
    w->workspace = id_new();
    w->uid = geteuid() == 0 ? LAUNCH_UID_FIRST + (uint32_t)getpid() % 100000 * 8 : 0;
    id_text(w->workspace, name);
    assert_true(snprintf(w->home, PATH_MAX, "%s/agents/%s/home", w->state, name) < PATH_MAX);
    n = readlink("/proc/self/exe", w->program, PATH_MAX - 1);
    assert_true(n > 0);
    w->options = (struct launch_options){
        str_from_cstr(w->run), str_from_cstr(w->state), str_from_cstr(w->program)};
    pthread_mutex_init(&w->mutex, NULL);
    open_launcher(w);
    *state = w;
    return 0;
}

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    return remove(path);
}

static int
tear_down(void **state)
{
    struct world *w = *state;
    struct id ids[64];
    size_t n;

    if (w->launcher == NULL)
        open_launcher(w);
    n = launch_list(w->launcher, ids, 64);
    for (size_t i = 0; i < n && i < 64; i++)
        MUST(launch_stop(w->launcher, ids[i], 0, &e));
    close_launcher(w);
    *strrchr(w->base, '/') = '\0';
    nftw(w->base, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(w);
    return 0;
}

/* An agent whose program is a shell script, with a PATH and what else is given. */
struct agent {
    struct launch_spec spec;
    struct str argv[3];
    struct launch_env env[8];
};

static void
agent_init(struct agent *a, struct world *w, const char *script)
{
    *a = (struct agent){
        .argv = {STR_INIT("sh"), STR_INIT("-c"), str_from_cstr(script)},
        .env = {{.name = STR_INIT("PATH"), .literal = STR_INIT("/usr/bin:/bin")},
            {.name = STR_INIT("HOME"), .literal = str_from_cstr(w->home)}},
    };
    a->spec = (struct launch_spec){
        .workspace = w->workspace,
        .start = id_new(),
        .argv = a->argv,
        .argv_n = 3,
        .env = a->env,
        .env_n = 2,
        .home = str_from_cstr(w->home),
        .uid = w->uid,
    };
}

static void
start_script(struct agent *a, struct world *w, const char *script)
{
    agent_init(a, w, script);
    MUST(launch_start(w->launcher, &a->spec, &e));
}

static size_t
slurp(const char *path, char *ret, size_t room)
{
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t used = 0;
    ssize_t n;

    while (fd >= 0 && used < room - 1 && (n = read(fd, ret + used, room - 1 - used)) > 0)
        used += (size_t)n;
    ret[used] = '\0';
    return used;
}

/* The agent's log, as long as the caller needs it not longer than until the next call. */
static const char *
log_text(struct world *w)
{
    static char text[8192];
    AUTO_BUF struct buf b;

    buf_init(&b, sizeof(text));
    MUST(launch_log(w->launcher, w->workspace, sizeof(text) - 1, &b, &e));
    memcpy(text, buf_cstr(&b), b.n);
    text[b.n] = '\0';
    return text;
}

static bool
is_gone(int pid)
{
    char path[64], text[512];
    const char *after;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    if (slurp(path, text, sizeof(text)) == 0)
        return true;
    after = strrchr(text, ')');
    return after == NULL || after[2] == 'Z';
}

/* Pids that an agent wrote, one a line, into HOME/pids. */
static size_t
read_pids(struct world *w, int *ret, size_t max)
{
    char path[PATH_MAX + 8], text[1024];
    size_t n = 0;

    snprintf(path, sizeof(path), "%s/pids", w->home);
    slurp(path, text, sizeof(text));
    for (char *at = text, *end; n < max; at = end + 1) {
        ret[n] = (int)strtol(at, &end, 10);
        if (end == at || *end != '\n')
            break;
        n++;
    }
    return n;
}

static int
parent_of(int pid)
{
    char path[64], text[512];
    int parent = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    slurp(path, text, sizeof(text));
    assert_non_null(strrchr(text, ')'));
    assert_int_equal(sscanf(strrchr(text, ')') + 1, " %*c %d", &parent), 1);
    return parent;
}

static struct launch_status
status(struct world *w)
{
    return launch_status(w->launcher, w->workspace);
}

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
    assert_int_equal(handover(w->program, &a.spec, &w->options, &shim, &e), ERR_CONFLICT);
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
    assert_int_equal(handover(w->program, &a.spec, &w->options, &other, &e), ERR_CONFLICT);
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
#define LAUNCH_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
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

    if (argc > 1 && strcmp(argv[1], "_shim") == 0)
        return shim_main(argc, argv);
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
