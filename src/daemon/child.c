#include "daemon/child.h"

#include "base/ids.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Who lived for HEALTHY_MS died of something else than its start: it is needed at once. */
enum { PAUSE_FIRST_MS = 100, PAUSE_LAST_MS = 10000, HEALTHY_MS = 2000 };

/* In PATH, then where Debian keeps nginx: an ordinary user's PATH lacks the sbin folders. */
static void
exec_program(const struct child *c)
{
    static const char *const folders[] = {"/usr/local/sbin/", "/usr/sbin/", "/sbin/"};
    char *const *argv = (char *const *)c->argv;
    size_t n = strlen(argv[0]);

    execvp(argv[0], argv);
    for (size_t i = 0; errno == ENOENT && i < 3; i++) {
        size_t folder_n = strlen(folders[i]);
        char path[PATH_MAX];

        if (strchr(argv[0], '/') != NULL || folder_n + n >= sizeof(path))
            return;
        memcpy(path, folders[i], folder_n);
        memcpy(path + folder_n, argv[0], n + 1);
        execv(path, argv);
    }
}

/* Between fork and exec: only calls that are safe there, for the supervisor may have threads. */
static _Noreturn void
become(const struct child *c, pid_t parent, int null_fd, int report_fd)
{
    sigset_t none;
    int error;

    umask(077); /* nginx's logs are nobody else's */
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1); /* it died before we could ask to be told */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    dup2(null_fd, STDIN_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    exec_program(c);
    error = errno;
    if (write(report_fd, &error, sizeof(error)) < 0)
        _exit(126);
    _exit(127);
}

enum err
child_start(struct child *c, struct error *e)
{
    AUTO_CLOSE int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int report[2], error = 0;
    ssize_t n;
    pid_t parent = getpid(), pid;

    if (null_fd < 0 || pipe2(report, O_CLOEXEC) != 0)
        return fail_errno(e, ERR_IO, "starting %s", c->name);
    pid = fork();
    if (pid == 0)
        become(c, parent, null_fd, report[1]);
    close(report[1]);
    n = pid < 0 ? 0 : read(report[0], &error, sizeof(error));
    close(report[0]);
    if (pid < 0)
        return fail_errno(e, ERR_IO, "starting %s", c->name);
    if (n == sizeof(error)) {
        waitpid(pid, NULL, 0);
        errno = error;
        return fail_errno(e, ERR_IO, "%s cannot be started as \"%s\"", c->name, c->argv[0]);
    }
    c->pid = pid;
    c->started_ms = clock_monotonic_ms();
    c->restart_ms = 0;
    return ERR_OK;
}

void
child_status_text(int status, char ret[static 64])
{
    if (WIFSIGNALED(status))
        snprintf(ret, 64, "was killed by signal %d", WTERMSIG(status));
    else
        snprintf(ret, 64, "ended with code %d", WEXITSTATUS(status));
}

void
child_ended(struct child *c, int status)
{
    c->exit_status = status;
    c->pid = 0;
}

void
child_plan_restart(struct child *c)
{
    int64_t now = clock_monotonic_ms();
    char text[64];

    if (c->pause_ms == 0 || now - c->started_ms > HEALTHY_MS)
        c->pause_ms = PAUSE_FIRST_MS;
    else
        c->pause_ms = c->pause_ms * 2 < PAUSE_LAST_MS ? c->pause_ms * 2 : PAUSE_LAST_MS;
    c->restart_ms = now + c->pause_ms;
    child_status_text(c->exit_status, text);
    log_warn("up", "%s %s; it is started again in %d ms", c->name, text, c->pause_ms);
}

void
child_signal(const struct child *c, int signal)
{
    if (c->pid > 0)
        kill(-c->pid, signal);
}
