/* A process in a sandbox: what it sees, and that its environment is the plan all the same. */
#include "world.h"

#include <signal.h>

#define BWRAP "/usr/bin/bwrap"

static void
start_in_sandbox(struct agent *a, struct world *w, const char *script)
{
    agent_init(a, w, script);
    a->spec.sandbox = true;
    MUST(launch_start(w->launcher, &a->spec, &e));
    WAIT_UNTIL(exits(w) == 1);
}

static void
use_bubblewrap(struct world *w)
{
    if (access(BWRAP, X_OK) != 0)
        fail_msg("the package bubblewrap is missing: run tools/setup test");
    close_launcher(w);
    w->options.sandbox = STR(BWRAP);
    open_launcher(w);
}

static void
sandboxed_agent_has_the_environment_of_its_spec(void **state)
{
    struct world *w = *state;
    char expected[PATH_MAX + 64];
    struct agent a;

    use_bubblewrap(w);
    start_in_sandbox(&a, w, "tr '\\0' '\\n' </proc/$$/environ");
    snprintf(expected, sizeof(expected), "PATH=/usr/bin:/bin\nHOME=%s\n", w->home);
    assert_string_equal(log_text(w), expected);
}

static void
sandboxed_agent_sees_neither_state_nor_run_directory_nor_other_processes(void **state)
{
    struct world *w = *state;
    char script[3 * PATH_MAX + 200], secret[PATH_MAX + 16];
    struct agent a;
    FILE *f;

    use_bubblewrap(w);
    snprintf(secret, sizeof(secret), "%s/keyring", w->state);
    f = fopen(secret, "w");
    assert_non_null(f);
    fputs("a secret of the state directory", f);
    fclose(f);
    snprintf(script, sizeof(script),
        "ls %s %s | grep -v agents; cat %s/keyring; ls -d /proc/[0-9]* | wc -l; touch /etc/x; "
        "touch $HOME/mine && echo home; pwd",
        w->run, w->state, w->state);
    start_in_sandbox(&a, w, script);
    if (strstr(log_text(w), "a secret") != NULL || strstr(log_text(w), "shims") != NULL)
        fail_msg("the sandbox leaks: %s", log_text(w));
    assert_non_null(strstr(log_text(w), "No such file"));
    assert_non_null(strstr(log_text(w), "Read-only file system"));
    assert_non_null(strstr(log_text(w), "home\n"));
    assert_non_null(strstr(log_text(w), w->home));
    assert_int_equal(w->exits[0].status.exit_code, 0);
}

static void
exit_code_comes_through_and_a_killed_shim_takes_the_sandbox_along(void **state)
{
    struct world *w = *state;
    struct agent a;

    use_bubblewrap(w);
    start_in_sandbox(&a, w, "exit 7");
    assert_int_equal(w->exits[0].status.exit_code, 7);
    agent_init(&a, w, "echo $$ >$HOME/pids; exec sleep 1000");
    a.spec.sandbox = true;
    MUST(launch_start(w->launcher, &a.spec, &e));
    assert_int_equal(kill(parent_of(status(w).pid), SIGKILL), 0);
    WAIT_UNTIL(exits(w) == 2);
    assert_int_equal(w->exits[1].status.exit_code, 128 + SIGKILL);
}

static void
missing_program_and_missing_bubblewrap_are_said(void **state)
{
    struct world *w = *state;
    struct error e = {0};
    struct agent a;

    agent_init(&a, w, "true");
    a.spec.sandbox = true;
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "install the package bubblewrap"));
    use_bubblewrap(w);
    a.argv[0] = STR("no-such-program");
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "no-such-program is not in the agent's PATH"));
}

static void
limits_of_the_spec_bite(void **state)
{
    struct world *w = *state;
    struct agent a;

    agent_init(&a, w, "ulimit -n; ulimit -d; ulimit -c; exec head -c 200000000 /dev/zero | tail");
    a.spec.limits = (struct launch_limits){.memory_bytes = 64 << 20, .files = 100};
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_non_null(strstr(log_text(w), "100\n65536\n0\n"));
    assert_non_null(strstr(log_text(w), "memory exhausted"));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LAUNCH_TEST(sandboxed_agent_has_the_environment_of_its_spec),
        LAUNCH_TEST(sandboxed_agent_sees_neither_state_nor_run_directory_nor_other_processes),
        LAUNCH_TEST(exit_code_comes_through_and_a_killed_shim_takes_the_sandbox_along),
        LAUNCH_TEST(missing_program_and_missing_bubblewrap_are_said),
        LAUNCH_TEST(limits_of_the_spec_bite),
    };

    return launch_tests_run(tests, argc, argv);
}
