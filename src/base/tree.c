#include "base/tree.h"

#include "base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>

enum { DEPTH_MAX = 256 };

/* Everything in the folder dir_fd, which is closed. False: errno says why. */
static bool
empty(int dir_fd, int depth)
{
    DIR *dir = fdopendir(dir_fd);
    struct dirent *entry;
    bool good = true;

    if (dir == NULL) {
        close(dir_fd);
        return false;
    }
    while (good && (errno = 0, entry = readdir(dir)) != NULL) {
        int fd;

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (unlinkat(dir_fd, entry->d_name, 0) == 0)
            continue;
        fd = depth == DEPTH_MAX
            ? -1
            : openat(dir_fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        good =
            fd >= 0 && empty(fd, depth + 1) && unlinkat(dir_fd, entry->d_name, AT_REMOVEDIR) == 0;
    }
    good = good && errno == 0;
    closedir(dir);
    return good;
}

enum err
tree_remove(const char *path, struct error *e)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0 && errno == ENOENT)
        return ERR_OK;
    if (fd < 0 || !empty(fd, 0) || rmdir(path) != 0)
        return fail_errno(e, ERR_IO, "removing %s", path);
    return ERR_OK;
}
