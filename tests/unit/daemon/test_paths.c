#include "daemon/paths.h"

#include "unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* A folder of its own for each test; the state below it. */
struct fixture {
    char folder[64];
    char state[96];
    char run[96];
    char module[96];
    struct settings settings;
};

static int
setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    int fd;

    snprintf(f->folder, sizeof(f->folder), "/tmp/purser-test-paths-XXXXXX");
    if (mkdtemp(f->folder) == NULL || chmod(f->folder, 0711) != 0)
        return -1;
    snprintf(f->state, sizeof(f->state), "%s/a/state", f->folder);
    snprintf(f->run, sizeof(f->run), "%s/run", f->folder);
    snprintf(f->module, sizeof(f->module), "%s/module.so", f->folder);
    fd = open(f->module, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    close(fd);
    f->settings = (struct settings){
        .state = f->state, .run_dir = f->run, .homes_dir = "", .module = f->module};
    *state = f;
    return 0;
}

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    return remove(path);
}

static int
teardown(void **state)
{
    struct fixture *f = *state;

    nftw(f->folder, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

static mode_t
mode_of(const char *path)
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
makes_directories_with_their_modes_whatever_the_umask(void **state)
{
    struct fixture *f = *state;
    mode_t before = umask(077);
    struct paths p;
    struct error e = {0};

    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    umask(before);
    assert_int_equal(mode_of(f->state), 0711);
    assert_int_equal(mode_of(f->run), 0711);
    assert_int_equal(mode_of(p.homes), 0711);
    assert_string_equal(p.state, f->state);
    assert_string_equal(p.run, f->run);
    assert_string_equal(p.module, f->module);
    assert_true(p.program[0] == '/');
}

static void
opens_again_what_is_there(void **state)
{
    struct fixture *f = *state;
    struct paths p, again;
    struct error e = {0};

    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_int_equal(paths_open(&f->settings, &again, &e), ERR_OK);
    assert_string_equal(p.homes, again.homes);
}

static void
puts_homes_where_agents_can_reach_them(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};

    if (geteuid() != 0) {
        print_message("# not root: nothing to see here\n");
        return;
    }
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_false(p.homes_in_run);
    assert_int_equal(chmod(f->folder, 0700), 0);
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_true(p.homes_in_run);
    assert_true(str_starts_with(str_from_cstr(p.homes), str_from_cstr(f->run)));
}

static void
refuses_a_state_that_is_a_file(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};

    f->settings.state = f->module;
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_STATE_UNUSABLE);
    assert_non_null(strstr(e.text, f->module));
}

static void
refuses_a_state_of_somebody_else(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};

    if (geteuid() != 0) {
        print_message("# not root: nothing to see here\n");
        return;
    }
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_int_equal(chown(f->state, 12345, 12345), 0);
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_STATE_UNUSABLE);
    assert_non_null(strstr(e.text, "the state directory "));
    assert_non_null(
        strstr(e.text, "uid 12345, not to us (uid 0): use another with STATE= / --state"));
    assert_non_null(strstr(e.text, "12345"));
}

static void
refuses_a_run_directory_too_long_for_sockets(void **state)
{
    struct fixture *f = *state;
    char run[200];
    struct paths p;
    struct error e = {0};

    snprintf(run, sizeof(run), "%s/%080d", f->folder, 0);
    f->settings.run_dir = run;
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_STATE_UNUSABLE);
    assert_non_null(strstr(e.text, "run_dir"));
}

static void
refuses_a_module_that_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};

    unlink(f->module);
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_GATEWAY_UNUSABLE);
    f->settings.module = "";
    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_GATEWAY_UNUSABLE);
    assert_non_null(strstr(e.text, "ngx_http_purser_module.so"));
}

static void
a_second_lock_is_refused_and_names_the_holder(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};
    char pid[24];
    int first = -1, second = -1;

    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_int_equal(paths_lock(&p, &first, &e), ERR_OK);
    assert_int_equal(paths_lock(&p, &second, &e), ERR_STATE_LOCKED);
    assert_int_equal(second, -1);
    snprintf(pid, sizeof(pid), "pid %d", (int)getpid());
    assert_non_null(strstr(e.text, pid));
    assert_non_null(strstr(e.text, f->state));
    close(first);
    assert_int_equal(paths_lock(&p, &second, &e), ERR_OK);
    close(second);
}

/* As a child that a killed purserd had just forked does: it has the lock, and nobody's pid is in it. */
static void
a_lock_that_a_dead_holder_left_behind_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct paths p;
    struct error e = {0};
    int fd = -1, told[2];
    char byte;
    pid_t holder;

    assert_int_equal(paths_open(&f->settings, &p, &e), ERR_OK);
    assert_int_equal(pipe(told), 0);
    holder = fork();
    if (holder == 0) {
        if (paths_lock(&p, &fd, &e) != ERR_OK || fork() != 0)
            _exit(0);
        if (write(told[1], "x", 1) != 1)
            _exit(1);
        poll(NULL, 0, 200);
        _exit(0);
    }
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    assert_int_equal(read(told[0], &byte, 1), 1);
    assert_int_equal(paths_lock(&p, &fd, &e), ERR_OK);
    close(fd);
    close(told[0]);
    close(told[1]);
}

static void
run_directories_differ_by_state_and_user(void **state)
{
    char a[128], b[128], c[128], d[128];

    paths_run_default("/a", 0, NULL, a, sizeof(a));
    paths_run_default("/b", 0, NULL, b, sizeof(b));
    paths_run_default("/a", 1000, "/run/user/1000", c, sizeof(c));
    paths_run_default("/a", 1000, NULL, d, sizeof(d));
    assert_true(strncmp(a, "/run/purser/", 12) == 0 && strlen(a) == 12 + 16);
    assert_string_not_equal(a, b);
    assert_true(strncmp(c, "/run/user/1000/purser/", 22) == 0);
    assert_true(strncmp(d, "/tmp/purser-1000/", 17) == 0);
    paths_run_default("/a", 1000, "relative", c, sizeof(c));
    assert_string_equal(c, d);
}

int
main(void)
{
#define FIXTURE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        FIXTURE(makes_directories_with_their_modes_whatever_the_umask),
        FIXTURE(opens_again_what_is_there),
        FIXTURE(puts_homes_where_agents_can_reach_them),
        FIXTURE(refuses_a_state_that_is_a_file),
        FIXTURE(refuses_a_state_of_somebody_else),
        FIXTURE(refuses_a_run_directory_too_long_for_sockets),
        FIXTURE(refuses_a_module_that_is_not_there),
        FIXTURE(a_second_lock_is_refused_and_names_the_holder),
        FIXTURE(a_lock_that_a_dead_holder_left_behind_is_waited_for),
        TEST(run_directories_differ_by_state_and_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
