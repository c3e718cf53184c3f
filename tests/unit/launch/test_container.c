/*
 * Agents in containers of a real podman, started here on folders of its own. Skips, with the
 * reason, where podman cannot run (not root, or no podman).
 */
#include "world.h"

#include "launch/container.h"
#include "launch/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define IMAGE "localhost/purser-test:1"

struct podman {
    const char *missing; /* why there is none; NULL: it runs */
    char folder[64];
    char socket[80];
    pid_t service;
};
static struct podman podman;

static int
shell(const char *format, ...)
{
    char command[2048];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    return system(command);
}

/* An image of a static busybox; nothing is fetched from anywhere. */
static bool
import_image(void)
{
    return shell("set -e; cd %s; mkdir -p image/bin image/tmp image/etc; "
                 "cp /bin/busybox image/bin/; "
                 "for a in sh env cat ls sleep tr id touch; do ln -sf busybox image/bin/$a; done; "
                 "tar -C image -cf image.tar .; "
                 "podman --root %s/root --runroot %s/run --storage-driver vfs import image.tar "
                 "%s >import.log 2>&1",
               podman.folder, podman.folder, podman.folder, IMAGE) == 0;
}

static bool
engine_answers(void)
{
    struct engine_state state;
    struct error e;

    return engine_inspect(podman.socket, STR("nobody"), &state, &e) == ERR_OK;
}

static int
podman_start(void **state)
{
    if (geteuid() != 0)
        podman.missing = "podman with uids of their own needs root";
    else if (shell("command -v podman >/dev/null && command -v runc >/dev/null") != 0)
        podman.missing = "podman and runc are not installed";
    else if (shell("test -x /bin/busybox && ! ldd /bin/busybox >/dev/null 2>&1") != 0)
        podman.missing = "no static /bin/busybox to make an image of (package busybox-static)";
    if (podman.missing != NULL || world_init(state) != 0)
        return 0;
    snprintf(podman.folder, sizeof(podman.folder), "/tmp/purser-podman-XXXXXX");
    assert_non_null(mkdtemp(podman.folder));
    snprintf(podman.socket, sizeof(podman.socket), "%s/api.sock", podman.folder);
    if (!import_image()) {
        podman.missing = "podman cannot import an image here";
        return 0;
    }
    podman.service = fork();
    if (podman.service == 0) {
        char root[80], run[80], url[100];

        snprintf(root, sizeof(root), "%s/root", podman.folder);
        snprintf(run, sizeof(run), "%s/run", podman.folder);
        snprintf(url, sizeof(url), "unix://%s", podman.socket);
        setpgid(0, 0);
        if (freopen("/dev/null", "w", stderr) == NULL)
            _exit(1);
        execlp("podman", "podman", "--root", root, "--runroot", run, "--storage-driver", "vfs",
            "--runtime", "runc", "system", "service", "-t", "0", url, NULL);
        _exit(127);
    }
    WAIT_UNTIL(engine_answers());
    return 0;
}

static int
podman_stop(void **state)
{
    if (podman.service > 0) {
        kill(podman.service, SIGTERM);
        waitpid(podman.service, NULL, 0);
    }
    if (podman.folder[0] != '\0')
        shell("umount -R %s/root/vfs %s/root 2>/dev/null; rm -rf %s", podman.folder, podman.folder,
            podman.folder);
    return 0;
}

/* At the top of the build directory, three steps above this program. */
static void
find_init(char ret[static PATH_MAX + 16])
{
    char program[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);

    assert_true(n > 0);
    program[n] = '\0';
    for (int i = 0; i < 3; i++)
        *strrchr(program, '/') = '\0';
    snprintf(ret, PATH_MAX + 16, "%s/purser-init", program);
    assert_int_equal(access(ret, X_OK), 0);
}

static void
need_podman(struct world *w)
{
    static char init[PATH_MAX + 16];

    if (podman.missing != NULL) {
        print_message("# skipped: %s\n", podman.missing);
        skip();
    }
    close_launcher(w);
    find_init(init);
    w->options.engine = str_from_cstr(podman.socket);
    w->options.init = str_from_cstr(init);
    open_launcher(w);
}

static const struct launch_container busybox = {STR_INIT(IMAGE), STR_INIT("none")};

static void
boxed(struct agent *a, struct world *w, const char *script)
{
    agent_init(a, w, script);
    a->env[0].literal = STR("/bin");
    a->spec.container = &busybox;
}

static bool
container_exists(struct world *w)
{
    char name[CONTAINER_NAME_BYTES];
    struct engine_state state;

    container_name(w->workspace, name);
    MUST(engine_inspect(podman.socket, str_from_cstr(name), &state, &e));
    return state.exists;
}

static void
contained_agent_has_the_environment_of_its_spec(void **state)
{
    struct world *w = *state;
    AUTO_SECRET struct secret *key = NULL;
    char expected[2 * PATH_MAX + 128];
    struct agent a;

    need_podman(w);
    MUST(secret_new(STR("container-secret-1"), &key, &e));
    boxed(&a, w, "tr '\\0' '\\n' </proc/$$/environ; id -u; pwd; touch $HOME/mine && echo wrote");
    a.env[2] = (struct launch_env){STR("KEY"), STR_NONE, key};
    a.spec.env_n = 3;
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(exits(w) == 1);
    snprintf(expected, sizeof(expected), "PATH=/bin\nHOME=%s\nKEY=[KEY]\n%u\n%s\nwrote\n", w->home,
        w->uid, w->home);
    assert_string_equal(log_text(w), expected);
    assert_int_equal(w->exits[0].status.exit_code, 0);
    assert_false(container_exists(w));
}

static void
nothing_secret_is_in_the_engines_api_or_storage(void **state)
{
    struct world *w = *state;
    AUTO_SECRET struct secret *key = NULL;
    struct agent a;

    need_podman(w);
    MUST(secret_new(STR("engine-must-not-see-this"), &key, &e));
    boxed(&a, w, "echo $KEY; exec sleep 1000");
    a.env[2] = (struct launch_env){STR("KEY"), STR_NONE, key};
    a.spec.env_n = 3;
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(strstr(log_text(w), "[KEY]") != NULL);
    /* Container's configuration, the engine's database, logs, bundles, the mounted folder. */
    assert_int_equal(shell("grep -rqs --exclude-dir=proc --exclude-dir=sys --devices=skip "
                           "engine-must-not-see-this %s %s",
                         podman.folder, w->base) >>
            8,
        1);
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
    assert_false(container_exists(w));
}

static void
stop_asks_first_and_the_exit_code_comes_through(void **state)
{
    struct world *w = *state;
    struct agent a;

    need_podman(w);
    boxed(&a, w, "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 1; done");
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(strstr(log_text(w), "up") != NULL);
    MUST(launch_stop(w->launcher, w->workspace, PATIENCE_MS, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 7);
    assert_non_null(strstr(log_text(w), "bye"));
    assert_false(container_exists(w));
}

static void
deaf_container_is_killed_after_the_grace(void **state)
{
    struct world *w = *state;
    struct agent a;

    need_podman(w);
    boxed(&a, w, "trap '' TERM; echo up; while :; do sleep 1; done");
    MUST(launch_start(w->launcher, &a.spec, &e));
    WAIT_UNTIL(strstr(log_text(w), "up") != NULL);
    MUST(launch_stop(w->launcher, w->workspace, 100, &e));
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 128 + SIGKILL);
    assert_false(container_exists(w));
}

static void
contained_agent_outlives_the_launcher_and_is_found_again(void **state)
{
    struct world *w = *state;
    struct agent a;

    need_podman(w);
    boxed(&a, w, "exec sleep 1000");
    MUST(launch_start(w->launcher, &a.spec, &e));
    close_launcher(w);
    open_launcher(w);
    assert_int_equal(status(w).state, LAUNCH_RUNNING);
    assert_true(id_equal(status(w).start, a.spec.start));
    assert_int_equal(launch_start(w->launcher, &a.spec, &(struct error){0}), ERR_CONFLICT);
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
    assert_false(container_exists(w));
}

static void
container_of_a_killed_shim_is_taken_away(void **state)
{
    struct world *w = *state;
    struct agent a;

    need_podman(w);
    boxed(&a, w, "exec sleep 1000");
    MUST(launch_start(w->launcher, &a.spec, &e));
    assert_int_equal(kill(parent_of(status(w).pid), SIGKILL), 0);
    WAIT_UNTIL(exits(w) == 1);
    assert_int_equal(w->exits[0].status.exit_code, 128 + SIGKILL);
    assert_false(container_exists(w));
    MUST(launch_start(w->launcher, &a.spec, &e));
    MUST(launch_stop(w->launcher, w->workspace, 0, &e));
}

static void
what_cannot_start_is_said_and_leaves_nothing(void **state)
{
    static const struct launch_container missing = {
        STR_INIT("localhost/no-such-image:1"), STR_INIT("none")};
    struct world *w = *state;
    struct error e = {0};
    struct agent a;

    need_podman(w);
    boxed(&a, w, "true");
    a.argv[0] = STR("no-such-program");
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "program no-such-program is not in the agent's PATH"));
    assert_false(container_exists(w));
    boxed(&a, w, "true");
    a.spec.container = &missing;
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "no-such-image"));
    close_launcher(w);
    w->options.engine = STR("/nonexistent/engine.sock");
    open_launcher(w);
    boxed(&a, w, "true");
    assert_int_equal(launch_start(w->launcher, &a.spec, &e), ERR_LAUNCH_FAILED);
    assert_non_null(strstr(e.text, "no container engine answers at /nonexistent/engine.sock"));
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        LAUNCH_TEST(contained_agent_has_the_environment_of_its_spec),
        LAUNCH_TEST(nothing_secret_is_in_the_engines_api_or_storage),
        LAUNCH_TEST(stop_asks_first_and_the_exit_code_comes_through),
        LAUNCH_TEST(deaf_container_is_killed_after_the_grace),
        LAUNCH_TEST(contained_agent_outlives_the_launcher_and_is_found_again),
        LAUNCH_TEST(container_of_a_killed_shim_is_taken_away),
        LAUNCH_TEST(what_cannot_start_is_said_and_leaves_nothing),
    };

    if (argc > 1 && strcmp(argv[1], "_shim") == 0)
        return shim_main(argc, argv);
    return cmocka_run_group_tests(tests, podman_start, podman_stop);
}
