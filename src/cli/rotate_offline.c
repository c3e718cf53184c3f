#include "cli/rotate_offline.h"

#include "api/auth.h"
#include "base/cleanup.h"
#include "core/num.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

enum { WAIT_MS = 10000, LOOK_EVERY_MS = 20 };

/* The pid of the purserd that holds the state directory's lock; 0: none runs. */
static enum err
running_pid(const char *state, pid_t *ret, struct error *e)
{
    char path[PATH_MAX], text[24] = "";
    AUTO_CLOSE int fd = -1;
    int64_t pid;

    snprintf(path, sizeof(path), "%s/lock", state);
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    *ret = 0;
    if (fd < 0 && errno == ENOENT)
        return fail(e, ERR_STATE_UNUSABLE,
            "%s is no state directory of purser: name it with --state", state);
    if (fd < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "opening %s", path);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0)
        return ERR_OK;
    if (pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
        !num_parse_i64(str_trim(str_from_cstr(text)), &pid) || pid <= 1)
        return fail(e, ERR_STATE_UNUSABLE, "%s does not say which purserd holds it", path);
    *ret = (pid_t)pid;
    return ERR_OK;
}

static bool
is_taken(const char *state)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/admin-token.new", state);
    return stat(path, &st) != 0 && errno == ENOENT;
}

static enum err
tell(const char *state, pid_t pid, struct error *e)
{
    if (kill(pid, SIGUSR1) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "telling purserd (pid %d)", (int)pid);
    for (int waited = 0; waited < WAIT_MS; waited += LOOK_EVERY_MS) {
        if (is_taken(state))
            return ERR_OK;
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_MS * 1000000L}, NULL);
    }
    return fail(e, ERR_STORE_UNAVAILABLE,
        "purserd (pid %d) did not take the new token yet: its log says why; it tries again when "
        "it starts",
        (int)pid);
}

enum err
rotate_offline(const char *state, struct error *e)
{
    AUTO(auth_token_wipe) struct auth_token_text token = {0};
    char resolved[PATH_MAX];
    pid_t pid;
    enum err err;

    if (realpath(state, resolved) == NULL)
        return fail_errno(e, ERR_STATE_UNUSABLE, "%s cannot be used: name it with --state", state);
    err = running_pid(resolved, &pid, e);
    if (err == ERR_OK)
        err = auth_admin_offer(str_from_cstr(resolved), &token, e);
    if (err == ERR_OK) /* one that started meanwhile may have looked too early */
        err = running_pid(resolved, &pid, e);
    if (err == ERR_OK && pid != 0)
        err = tell(resolved, pid, e);
    if (err != ERR_OK)
        return err;
    printf("%s\n", token.text);
    if (pid == 0)
        fprintf(stderr,
            "purser: no purserd runs on %s: the new token is in force, and the old one ends, when "
            "it starts\n",
            resolved);
    return ERR_OK;
}
