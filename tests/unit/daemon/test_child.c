#include "daemon/child.h"

#include "base/ids.h"
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static int
run_to_end(const char *const *argv)
{
    struct child c = {.name = "it", .argv = argv};
    struct error e = {0};
    int status = 0;

    assert_int_equal(child_start(&c, &e), ERR_OK);
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    return status;
}

static void
runs_in_a_group_of_its_own(void **state)
{
    /* The field "Pgrp" of its own stat equals its pid. */
    const char *const argv[] = {"/bin/sh", "-c",
        "read -r pid name state ppid group rest < /proc/$$/stat && test \"$group\" = $$", NULL};

    assert_int_equal(run_to_end(argv), 0);
}

static void
says_why_a_program_cannot_be_started(void **state)
{
    const char *const argv[] = {"/nowhere/nginx", NULL};
    struct child c = {.name = "nginx", .argv = argv};
    struct error e = {0};

    assert_int_equal(child_start(&c, &e), ERR_IO);
    assert_int_equal(c.pid, 0);
    assert_non_null(strstr(e.text, "/nowhere/nginx"));
    assert_non_null(strstr(e.text, "No such file"));
}

/* ldconfig stands for nginx: Debian has it in /sbin alone. */
static void
finds_a_program_in_the_sbin_folders_without_path(void **state)
{
    const char *const found[] = {"ldconfig", "--version", NULL};
    const char *const missing[] = {"no-such-program-of-purser", NULL};
    struct child c = {.name = "it", .argv = missing};
    struct error e = {0};
    char *path = strdup(getenv("PATH"));
    int status;

    setenv("PATH", "/nowhere", 1);
    status = run_to_end(found);
    assert_int_equal(child_start(&c, &e), ERR_IO);
    setenv("PATH", path, 1);
    free(path);
    assert_int_equal(status, 0);
    assert_non_null(strstr(e.text, "No such file"));
}

static void
tells_how_it_ended(void **state)
{
    const char *const seven[] = {"/bin/sh", "-c", "exit 7", NULL};
    const char *const killed[] = {"/bin/sh", "-c", "kill -9 $$", NULL};
    char text[64];

    child_status_text(run_to_end(seven), text);
    assert_string_equal(text, "ended with code 7");
    child_status_text(run_to_end(killed), text);
    assert_string_equal(text, "was killed by signal 9");
}

/* Makes it die after a life of so long; the pause that follows. */
static int
pause_after(struct child *c, int64_t life_ms)
{
    int64_t died_ms = clock_monotonic_ms();

    c->started_ms = died_ms - life_ms;
    child_plan_restart(c);
    assert_true(c->restart_ms >= died_ms + c->pause_ms);
    return c->pause_ms;
}

static void
only_deaths_right_after_the_start_make_pauses_grow(void **state)
{
    struct child c = {.name = "it"};
    int last = 0;

    for (int i = 0; i < 10; i++) {
        int pause = pause_after(&c, 0);

        assert_true(pause > last || pause == 10000);
        last = pause;
    }
    assert_int_equal(last, 10000);
    /* However often it dies, once it works it is worth its start: nothing works meanwhile. */
    for (int i = 0; i < 10; i++)
        assert_int_equal(pause_after(&c, 2500), 100);
    assert_int_equal(pause_after(&c, 0), 200);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(runs_in_a_group_of_its_own),
        TEST(says_why_a_program_cannot_be_started),
        TEST(finds_a_program_in_the_sbin_folders_without_path),
        TEST(tells_how_it_ended),
        TEST(only_deaths_right_after_the_start_make_pauses_grow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
