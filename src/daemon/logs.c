#include "daemon/logs.h"

#include "base/cleanup.h"
#include "base/ids.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char put_aside[] = "access.log.";

static void
closedir_cleanup(DIR **dir)
{
    if (*dir != NULL)
        closedir(*dir);
}
#define AUTO_DIR __attribute__((cleanup(closedir_cleanup)))

static bool
was_written_before(const struct stat *st, int64_t before_ms)
{
    return S_ISREG(st->st_mode) &&
        (int64_t)st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / 1000000 < before_ms;
}

static void
remove_old(DIR *dir, int64_t before_ms)
{
    const struct dirent *entry;
    struct stat st;

    while ((entry = readdir(dir)) != NULL) {
        if (strncmp(entry->d_name, put_aside, sizeof(put_aside) - 1) == 0 &&
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            was_written_before(&st, before_ms))
            unlinkat(dirfd(dir), entry->d_name, 0);
    }
}

enum err
logs_rotate(
    const char *state_dir, int64_t now_ms, int64_t before_ms, bool *ret_rotated, struct error *e)
{
    AUTO_DIR DIR *dir = opendir(state_dir);
    char today[25], name[sizeof(put_aside) + sizeof(today)];
    struct stat st;

    if (dir == NULL)
        return fail_errno(e, ERR_IO, "%s cannot be read", state_dir);
    clock_text(now_ms, today);
    today[10] = '\0';
    snprintf(name, sizeof(name), "%s%s", put_aside, today);
    *ret_rotated = false;
    if (fstatat(dirfd(dir), "access.log", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0 &&
        faccessat(dirfd(dir), name, F_OK, AT_SYMLINK_NOFOLLOW) != 0) {
        if (renameat(dirfd(dir), "access.log", dirfd(dir), name) != 0)
            return fail_errno(e, ERR_IO, "%s/access.log cannot be put aside", state_dir);
        *ret_rotated = true;
    }
    remove_old(dir, before_ms);
    return ERR_OK;
}

/* Its shim appends, and goes on with the emptied file. */
static int
drop_current(int agent, int64_t before_ms)
{
    AUTO_CLOSE int fd = openat(agent, "log", O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && was_written_before(&st, before_ms) &&
        ftruncate(fd, 0) == 0;
}

static int
drop_previous(int agent, int64_t before_ms)
{
    struct stat st;

    return fstatat(agent, "log.1", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        was_written_before(&st, before_ms) && unlinkat(agent, "log.1", 0) == 0;
}

int
logs_drop_agents(const char *state_dir, int64_t before_ms)
{
    const struct dirent *entry;
    char path[1100];
    int n = 0;

    snprintf(path, sizeof(path), "%s/agents", state_dir);

    AUTO_DIR DIR *dir = opendir(path);

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        AUTO_CLOSE int agent = -1;

        if (entry->d_name[0] == '.')
            continue;
        agent = openat(dirfd(dir), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (agent >= 0)
            n += drop_current(agent, before_ms) + drop_previous(agent, before_ms);
    }
    return n;
}
