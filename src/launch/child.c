#include "launch/child.h"

#include "launch/container.h"
#include "launch/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    MAX_FILES_SOFT = 8192,
    MAX_FILES_HARD = 65536,
    MAX_PROCESSES = 4096, /* of a private uid */
};

_Noreturn static void
give_up(const struct child_pipes *pipes, enum child_step step)
{
    struct child_failure failure = {step, errno};

    /* Below PIPE_BUF: whole or not at all. The reader takes a missing one for a dead child. */
    if (write(pipes->report, &failure, sizeof(failure)) < 0)
        _exit(126);
    _exit(127);
}

static void
wait_for_go(const struct child_pipes *pipes)
{
    char byte;
    ssize_t n;

    do {
        n = read(pipes->go, &byte, 1);
    } while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(0);
}

static void
reset_signals(void)
{
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int i = 1; i <= SIGRTMAX; i++)
        sigaction(i, &plain, NULL); /* fails for SIGKILL, SIGSTOP and libc's own */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* At most soft and hard, never more than there was. */
static bool
limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard)
{
    struct rlimit now;

    if (getrlimit(resource, &now) != 0)
        return false;
    now.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
    now.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
    return setrlimit(resource, &now) == 0;
}

static bool
set_limits(const struct order *order)
{
    const struct launch_limits *l = &order->limits;
    rlim_t files = l->files > 0 ? (rlim_t)l->files : MAX_FILES_HARD;
    rlim_t processes = l->processes > 0 ? (rlim_t)l->processes : MAX_PROCESSES;

    /* One byte, not none: the kernel ignores none when cores are piped to a program. */
    return limit(RLIMIT_CORE, 1, 1) &&
        limit(RLIMIT_NOFILE, files < MAX_FILES_SOFT ? files : MAX_FILES_SOFT, files) &&
        (l->memory_bytes == 0 ||
            limit(RLIMIT_DATA, (rlim_t)l->memory_bytes, (rlim_t)l->memory_bytes)) &&
        (!launch_uid_is_private(order->uid) || limit(RLIMIT_NPROC, processes, processes));
}

static bool
become(const struct order *order)
{
    if (order->uid == 0)
        return true;
    if (setgroups(0, NULL) != 0 || setresgid(order->gid, order->gid, order->gid) != 0 ||
        setresuid(order->uid, order->uid, order->uid) != 0)
        return false;
    if (setuid(0) == 0) {
        errno = EPERM;
        return false;
    }
    return true;
}

static bool
connect_output(const struct child_pipes *pipes)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(pipes->output, STDOUT_FILENO) < 0 ||
        dup2(pipes->output, STDERR_FILENO) < 0)
        return false;
    /* Everything was opened close-on-exec; this holds also for what a library opens. */
    return close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) == 0;
}

static const char *
find_variable(const struct order *order, struct str name)
{
    for (size_t i = 0; i < order->env_n; i++) {
        if (str_equal(order_env_name(order, i), name))
            return order_env_value(order, i).p;
    }
    return NULL;
}

/* Returns on failure, with errno. */
static void
run_program(const struct order *order, const char *path)
{
    if (order->sandbox[0] == '\0')
        execve(path, order->argv, order->envp);
    else if (access(path, X_OK) == 0)
        sandbox_exec(order, path);
}

/* The program of argv[0] in the agent's own PATH, absolute folders only. Returns on failure. */
static void
exec_in_path(const struct order *order)
{
    const char *at = find_variable(order, STR("PATH"));
    int error = ENOENT;

    if (at == NULL)
        at = "/usr/local/bin:/usr/bin:/bin";
    while (*at != '\0') {
        size_t n = strcspn(at, ":");
        char path[ORDER_MAX_PATH_BYTES];
        int length = snprintf(path, sizeof(path), "%.*s/%s", (int)n, at, order->argv[0]);

        if (*at == '/' && length > 0 && (size_t)length < sizeof(path)) {
            run_program(order, path);
            if (errno != ENOENT && errno != ENOTDIR)
                error = errno;
        }
        at += n;
        at += *at == ':';
    }
    errno = error;
}

_Noreturn void
child_run(const struct order *order, const struct child_pipes *pipes, struct secret *memory)
{
    if (setsid() < 0)
        give_up(pipes, CHILD_STEP_SESSION);
    wait_for_go(pipes);
    reset_signals();
    umask(0077);
    if (order_is_container(order))
        container_run(order, pipes, memory);
    if (!set_limits(order))
        give_up(pipes, CHILD_STEP_LIMITS);
    if (!become(order))
        give_up(pipes, CHILD_STEP_USER);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        give_up(pipes, CHILD_STEP_PRIVILEGES);
    if (chdir(order->home) != 0)
        give_up(pipes, CHILD_STEP_HOME);
    if (chdir(order->work_dir) != 0)
        give_up(pipes, CHILD_STEP_WORK_DIR);
    if (!connect_output(pipes))
        give_up(pipes, CHILD_STEP_OUTPUT);
    if (strchr(order->argv[0], '/') != NULL)
        run_program(order, order->argv[0]);
    else
        exec_in_path(order);
    give_up(pipes, CHILD_STEP_EXEC);
}

enum err
child_explain(const struct order *order, const struct child_failure *failure, const char *text,
    struct error *e)
{
    errno = failure->error;
    switch (failure->step) {
    case CHILD_STEP_CONTAINER:
        return fail(e, ERR_LAUNCH_FAILED, "%s", text);
    case CHILD_STEP_SESSION:
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot make a session for the agent");
    case CHILD_STEP_LIMITS:
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot limit the agent's resources");
    case CHILD_STEP_USER:
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot switch to uid %u", (unsigned)order->uid);
    case CHILD_STEP_PRIVILEGES:
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot give up privileges");
    case CHILD_STEP_HOME:
        return fail_errno(e, ERR_LAUNCH_FAILED,
            "uid %u cannot enter its HOME %.200s (every folder above it needs mode o+x)",
            (unsigned)order->uid, order->home);
    case CHILD_STEP_WORK_DIR:
        return fail_errno(
            e, ERR_LAUNCH_FAILED, "cannot enter the working directory %.200s", order->work_dir);
    case CHILD_STEP_OUTPUT:
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot connect the agent's output");
    default:
        break;
    }
    if (failure->error == ENOENT && strchr(order->argv[0], '/') == NULL)
        return fail(e, ERR_LAUNCH_FAILED,
            "program %.200s is not in the agent's PATH: install it in /usr/local/bin, say, or name "
            "another command (purser workspace set NAME -- /path/to/program)",
            order->argv[0]);
    return fail_errno(e, ERR_LAUNCH_FAILED, "cannot run program %.200s", order->argv[0]);
}
