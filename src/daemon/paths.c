#include "daemon/paths.h"

#include "base/cleanup.h"
#include "base/ids.h"
#include "core/num.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Leaves room for our sockets' names below RUN, within the 108 bytes of a socket's path. */
enum { RUN_PATH_MAX = 88, DIRECTORY_MODE = 0711, LEFT_OVER_MS = 2000 };

/*
 * mkdir -p: parents as the umask of a shell would make them, the last one with our mode. what is
 * "state", and setting names what chooses another.
 */
static enum err
make_directories(const char *path, const char *what, const char *setting, struct error *e)
{
    char part[PATH_MAX];
    struct stat st;

    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) == 0)
            chmod(part, 0755);
        *slash = '/';
    }
    if (mkdir(path, DIRECTORY_MODE) != 0 && errno != EEXIST)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the directory %s cannot be made", path);
    if (stat(path, &st) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the directory %s cannot be used", path);
    if (!S_ISDIR(st.st_mode))
        return fail(e, ERR_STATE_UNUSABLE, "%s is no directory", path);
    if (st.st_uid != geteuid())
        return fail(e, ERR_STATE_UNUSABLE,
            "the %s directory %s belongs to uid %u, not to us (uid %u): use %sanother with %s",
            what, path, st.st_uid, geteuid(), st.st_uid == 0 ? "sudo again, or " : "", setting);
    if (chmod(path, DIRECTORY_MODE) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the mode of %s cannot be set", path);
    return ERR_OK;
}

void
paths_run_default(
    const char *state, unsigned uid, const char *xdg_runtime_dir, char *ret, size_t ret_bytes)
{
    unsigned char digest[crypto_generichash_BYTES];
    char name[17];

    crypto_generichash(
        digest, sizeof(digest), (const unsigned char *)state, strlen(state), NULL, 0);
    sodium_bin2hex(name, sizeof(name), digest, 8);
    if (uid == 0)
        snprintf(ret, ret_bytes, "/run/purser/%s", name);
    else if (xdg_runtime_dir != NULL && xdg_runtime_dir[0] == '/')
        snprintf(ret, ret_bytes, "%s/purser/%s", xdg_runtime_dir, name);
    else
        snprintf(ret, ret_bytes, "/tmp/purser-%u/%s", uid, name);
}

/* Below /tmp anybody could have made our directory first: it must be ours before we step in. */
static enum err
check_private_parent(const char *path, struct error *e)
{
    char parent[PATH_MAX];
    struct stat st;
    char *slash;

    snprintf(parent, sizeof(parent), "%s", path);
    slash = strrchr(parent, '/');
    if (slash == NULL || strncmp(parent, "/tmp/", 5) != 0)
        return ERR_OK;
    *slash = '\0';
    if (lstat(parent, &st) == 0 && !S_ISDIR(st.st_mode))
        return fail(e, ERR_STATE_UNUSABLE, "%s is no directory", parent);
    return make_directories(parent, "run", "--run-dir", e);
}

static enum err
open_run(const struct settings *s, struct paths *p, struct error *e)
{
    char run[PATH_MAX];
    enum err err;

    if (s->run_dir[0] != '\0')
        snprintf(run, sizeof(run), "%s", s->run_dir);
    else
        paths_run_default(p->state, geteuid(), getenv("XDG_RUNTIME_DIR"), run, sizeof(run));
    if (strlen(run) > RUN_PATH_MAX)
        return fail(e, ERR_STATE_UNUSABLE,
            "the run directory %s has a path of more than %d bytes, too long for the sockets in "
            "it: "
            "set run_dir to a shorter one",
            run, RUN_PATH_MAX);
    err = s->run_dir[0] == '\0' ? check_private_parent(run, e) : ERR_OK;
    if (err == ERR_OK)
        err = make_directories(run, "run", "--run-dir", e);
    if (err == ERR_OK)
        memcpy(p->run, run, strlen(run) + 1);
    return err;
}

bool
paths_open_to_all(const char *directory)
{
    char part[PATH_MAX];
    struct stat st;

    snprintf(part, sizeof(part), "%s", directory);
    for (char *slash = part + strlen(part); slash != NULL && slash != part;
         slash = strrchr(part, '/')) {
        *slash = '\0';
        if (part[0] != '\0' && (stat(part, &st) != 0 || (st.st_mode & S_IXOTH) == 0))
            return false;
    }
    return true;
}

static enum err
open_homes(const struct settings *s, struct paths *p, struct error *e)
{
    /* Without root every agent has our own uid, which reaches whatever we reach. */
    if (s->homes_dir[0] != '\0') {
        snprintf(p->homes, sizeof(p->homes), "%s", s->homes_dir);
    } else if (geteuid() != 0 || paths_open_to_all(p->state)) {
        snprintf(p->homes, sizeof(p->homes), "%s/homes", p->state);
    } else {
        snprintf(p->homes, sizeof(p->homes), "%s/homes", p->run);
        p->homes_in_run = true;
    }
    return make_directories(p->homes, "homes", "--homes-dir", e);
}

/* Needed by some workspaces only: a start that needs what is missing says so. */
static void
find_beside(const struct paths *p, const char *name, char *ret, size_t room)
{
    const char *slash = strrchr(p->program, '/');

    snprintf(ret, room, "%.*s/%s", (int)(slash - p->program), p->program, name);
    if (access(ret, X_OK) != 0)
        ret[0] = '\0';
}

static void
find_helpers(struct paths *p)
{
    find_beside(p, "purser-init", p->init, sizeof(p->init));
    find_beside(p, "purser-shim", p->shim, sizeof(p->shim));
    snprintf(p->sandbox, sizeof(p->sandbox), "/usr/bin/bwrap");
    if (access(p->sandbox, X_OK) != 0)
        p->sandbox[0] = '\0';
}

static enum err
find_module(const struct settings *s, struct paths *p, struct error *e)
{
    char folder[sizeof(p->program)];
    char *slash;

    if (s->module[0] != '\0') {
        snprintf(p->module, sizeof(p->module), "%s", s->module);
        if (access(p->module, R_OK) == 0)
            return ERR_OK;
        return fail_errno(
            e, ERR_GATEWAY_UNUSABLE, "the gateway's module %s cannot be read", p->module);
    }
    memcpy(folder, p->program, sizeof(folder));
    slash = strrchr(folder, '/');
    if (slash != NULL)
        *slash = '\0';
    snprintf(p->module, sizeof(p->module), "%s/ngx_http_purser_module.so", folder);
    if (access(p->module, R_OK) == 0)
        return ERR_OK;
    snprintf(p->module, sizeof(p->module), "/usr/lib/nginx/modules/ngx_http_purser_module.so");
    if (access(p->module, R_OK) == 0)
        return ERR_OK;
    return fail(e, ERR_GATEWAY_UNUSABLE,
        "ngx_http_purser_module.so is neither beside %s nor in /usr/lib/nginx/modules: name it "
        "with "
        "the setting module",
        p->program);
}

enum err
paths_open(const struct settings *s, struct paths *ret, struct error *e)
{
    struct paths p = {0};
    ssize_t n = readlink("/proc/self/exe", p.program, sizeof(p.program) - 1);
    char resolved[PATH_MAX];
    enum err err;

    if (n < 0)
        return fail_errno(e, ERR_INTERNAL, "the path of this program is not known");
    err = make_directories(s->state, "state", "STATE= / --state", e);
    if (err != ERR_OK)
        return err;
    if (realpath(s->state, resolved) == NULL || strlen(resolved) >= sizeof(p.state))
        return fail_errno(e, ERR_STATE_UNUSABLE, "the path %s cannot be used", s->state);
    memcpy(p.state, resolved, strlen(resolved) + 1);
    err = open_run(s, &p, e);
    if (err == ERR_OK)
        err = open_homes(s, &p, e);
    if (err == ERR_OK)
        err = find_module(s, &p, e);
    find_helpers(&p);
    if (err == ERR_OK)
        *ret = p;
    return err;
}

/* What stands in the lock file, in the place of a pid that cannot be read "unknown". */
static void
read_holder(int fd, char ret[static 24])
{
    ssize_t n = pread(fd, ret, 23, 0);

    ret[n < 0 ? 0 : n] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
    if (ret[0] == '\0')
        memcpy(ret, "unknown", sizeof("unknown"));
}

static bool
is_gone(const char *pid_text)
{
    uint64_t pid;

    return num_parse_u64(str_from_cstr(pid_text), &pid) && pid > 0 && pid <= INT_MAX &&
        kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

/*
 * Locks fd: 0, or errno, and who has it. A purserd that was killed may leave a child behind that has
 * not become its own program yet and holds the lock for so long.
 */
static int
lock_or_wait(int fd, char ret_holder[static 24])
{
    const struct timespec pause = {.tv_nsec = 10000000};
    int64_t until = clock_monotonic_ms() + LEFT_OVER_MS;

    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;

        read_holder(fd, ret_holder);
        if (error != EWOULDBLOCK || clock_monotonic_ms() >= until || !is_gone(ret_holder))
            return error;
        nanosleep(&pause, NULL);
    }
    return 0;
}

enum err
paths_lock(const struct paths *p, int *ret_fd, struct error *e)
{
    char path[sizeof(p->state) + 8], pid[24] = "";
    AUTO_CLOSE int fd = -1;
    int n, error;

    snprintf(path, sizeof(path), "%s/lock", p->state);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the lock file %s cannot be opened", path);
    error = lock_or_wait(fd, pid);
    if (error == EWOULDBLOCK)
        return fail(e, ERR_STATE_LOCKED,
            "another purserd (pid %s) runs on the state directory %s: stop it, or take another "
            "with --state",
            pid, p->state);
    if (error != 0) {
        errno = error;
        return fail_errno(e, ERR_STATE_UNUSABLE, "%s cannot be locked", path);
    }
    n = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n)
        return fail_errno(e, ERR_STATE_UNUSABLE, "%s cannot be written", path);
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}
