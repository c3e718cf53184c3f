/*
 * purser-init: the first process of an agent's container, static and small. Fetches command and
 * environment from the socket that only this container has, once; runs the agent with exactly
 * those; passes SIGTERM on, collects orphans, and ends as the agent ended.
 */
#include "init/initwire.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CANNOT_RUN = 127 };

struct agent {
    char *body;
    size_t body_bytes;
    const char *work_dir;
    char **argv;
    char **envp;
    int output;
    int report;
};

_Noreturn static void
die(const char *what)
{
    fprintf(stderr, "purser-init: %s: %s\n", what, strerror(errno));
    _exit(CANNOT_RUN);
}

static int
connect_home(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = INITWIRE_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("cannot reach purser");
    return fd;
}

static void
read_full(int fd, char *p, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, p, n);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die("purser went away");
        p += got;
        n -= (size_t)got;
    }
}

static void
receive_header(int fd, struct initwire_header *header, struct agent *a)
{
    union {
        char bytes[CMSG_SPACE(sizeof(int) * INITWIRE_FDS)];
        struct cmsghdr align;
    } control;
    struct iovec io = {header, sizeof(*header)};
    struct msghdr message = {.msg_iov = &io,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof(control.bytes)};
    struct cmsghdr *c;
    int fds[INITWIRE_FDS];

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != (ssize_t)sizeof(*header))
        die("purser sent no order");
    c = CMSG_FIRSTHDR(&message);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(fds)) ||
        !initwire_header_check(header))
        die("purser sent another order than this init understands");
    memcpy(fds, CMSG_DATA(c), sizeof(fds));
    a->output = fds[0];
    a->report = fds[1];
}

static void
receive(struct agent *a)
{
    struct initwire_header header;
    int fd = connect_home();

    receive_header(fd, &header, a);
    a->body_bytes = header.body_bytes;
    a->body = malloc(a->body_bytes + 1);
    a->argv = calloc(header.argv_n + 1, sizeof(*a->argv));
    a->envp = calloc(header.env_n + 1, sizeof(*a->envp));
    if (a->body == NULL || a->argv == NULL || a->envp == NULL)
        die("no memory");
    read_full(fd, a->body, a->body_bytes);
    close(fd);
    if (!initwire_read(&header, a->body, &a->work_dir, a->argv, a->envp)) {
        errno = EPROTO;
        die("purser sent half an order");
    }
}

_Noreturn static void
give_up(const struct agent *a, enum initwire_step step)
{
    struct initwire_failure failure = {step, errno};

    if (write(a->report, &failure, sizeof(failure)) < 0)
        _exit(CANNOT_RUN - 1);
    _exit(CANNOT_RUN);
}

/* The program of argv[0] in the agent's own PATH, absolute folders only. Returns on failure. */
static void
exec_in_path(const struct agent *a)
{
    const char *path = "/usr/local/bin:/usr/bin:/bin";
    int error = ENOENT;

    for (char **e = a->envp; *e != NULL; e++) {
        if (strncmp(*e, "PATH=", 5) == 0)
            path = *e + 5;
    }
    while (*path != '\0') {
        size_t n = strcspn(path, ":");
        char program[4096];
        int length = snprintf(program, sizeof(program), "%.*s/%s", (int)n, path, a->argv[0]);

        if (*path == '/' && length > 0 && (size_t)length < sizeof(program)) {
            execve(program, a->argv, a->envp);
            if (errno != ENOENT && errno != ENOTDIR)
                error = errno;
        }
        path += n;
        path += *path == ':';
    }
    errno = error;
}

_Noreturn static void
run_agent(const struct agent *a, const sigset_t *before)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    setsid();
    sigprocmask(SIG_SETMASK, before, NULL);
    if (chdir(a->work_dir) != 0)
        give_up(a, INITWIRE_WORK_DIR);
    if ((null >= 0 && dup2(null, STDIN_FILENO) < 0) || dup2(a->output, STDOUT_FILENO) < 0 ||
        dup2(a->output, STDERR_FILENO) < 0)
        give_up(a, INITWIRE_EXEC);
    if (strchr(a->argv[0], '/') != NULL)
        execve(a->argv[0], a->argv, a->envp);
    else
        exec_in_path(a);
    give_up(a, INITWIRE_EXEC);
}

/* Returns the agent's exit code once it ended; the container ends with us, and all in it. */
static int
watch(pid_t agent, const sigset_t *watched)
{
    for (;;) {
        int status, got = sigwaitinfo(watched, NULL);
        pid_t pid;

        if (got == SIGTERM || got == SIGINT)
            kill(-agent, SIGTERM);
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
            if (pid == agent)
                return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

int
main(void)
{
    struct rlimit no_core = {1, 1};
    struct agent a = {0};
    sigset_t watched, before;
    pid_t agent;

    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    setrlimit(RLIMIT_CORE, &no_core);
    umask(0077);
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigprocmask(SIG_BLOCK, &watched, &before);
    receive(&a);
    agent = fork();
    if (agent < 0)
        die("cannot fork");
    if (agent == 0)
        run_agent(&a, &before);
    explicit_bzero(a.body, a.body_bytes);
    close(a.output);
    close(a.report);
    return watch(agent, &watched);
}
