#include "cli/run_child.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const int passed_on[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

static void
watched(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGCHLD);
    for (size_t i = 0; i < sizeof(passed_on) / sizeof(passed_on[0]); i++)
        sigaddset(ret, passed_on[i]);
}

_Noreturn static void
child_main(char **argv, char **envp, const sigset_t *before, int report, pid_t parent)
{
    int error;

    sigprocmask(SIG_SETMASK, before, NULL);
    /* Nobody is left to end the run: the process ends, too. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() == parent)
        execvpe(argv[0], argv, envp);
    error = errno;
    if (write(report, &error, sizeof(error)) < 0)
        _exit(126);
    _exit(127);
}

enum err
run_child_start(char **argv, char **envp, struct run_child *ret, struct error *e)
{
    pid_t parent = getpid();
    sigset_t block;
    int report[2], error = 0;
    ssize_t n;

    /* The values are in our memory, too. */
    prctl(PR_SET_DUMPABLE, 0);
    if (pipe2(report, O_CLOEXEC) != 0)
        return fail_errno(e, ERR_IO, "cannot make a pipe");
    watched(&block);
    sigprocmask(SIG_BLOCK, &block, &ret->before);
    ret->pid = fork();
    if (ret->pid == 0)
        child_main(argv, envp, &ret->before, report[1], parent);
    close(report[1]);
    do {
        n = ret->pid < 0 ? 0 : read(report[0], &error, sizeof(error));
    } while (n < 0 && errno == EINTR);
    close(report[0]);
    if (ret->pid > 0 && n == 0)
        return ERR_OK;
    if (ret->pid > 0)
        waitpid(ret->pid, NULL, 0);
    sigprocmask(SIG_SETMASK, &ret->before, NULL);
    errno = error;
    return fail_errno(e, ERR_LAUNCH_FAILED, "cannot run %s", argv[0]);
}

int
run_child_wait(struct run_child *child)
{
    sigset_t wait;
    int status = 0;

    watched(&wait);
    for (;;) {
        siginfo_t info;
        int number;

        if (waitpid(child->pid, &status, WNOHANG) == child->pid)
            break;
        number = sigwaitinfo(&wait, &info);
        /* What a terminal sends goes to the child by itself. */
        if (number > 0 && number != SIGCHLD && info.si_code != SI_KERNEL)
            kill(child->pid, number);
    }
    sigprocmask(SIG_SETMASK, &child->before, NULL);
    return status;
}

int
run_child_exit_code(int status)
{
    const struct rlimit no_core = {0, 0};

    if (!WIFSIGNALED(status))
        return WEXITSTATUS(status);
    setrlimit(RLIMIT_CORE, &no_core);
    signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
    return 128 + WTERMSIG(status);
}
