#include "launch/folder.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

enum { OPEN_FLAGS = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW };

/* The last component must be a folder, not a link to one: the agent may own the one above. */
static enum err
make_and_open(int at, const char *name, mode_t mode, int *ret_dir, struct error *e)
{
    bool made = mkdirat(at, name, mode) == 0;
    AUTO_CLOSE int dir = -1;

    if (!made && errno != EEXIST)
        return fail_errno(e, ERR_IO, "cannot make folder %s", name);
    dir = openat(at, name, OPEN_FLAGS);
    if (dir < 0)
        return fail_errno(e, ERR_IO, "cannot open folder %s", name);
    /* Whatever the umask is. */
    if (made && fchmod(dir, mode) != 0)
        return fail_errno(e, ERR_IO, "cannot set the mode of folder %s", name);
    *ret_dir = TAKE_FD(dir);
    return ERR_OK;
}

enum err
folder_open_shims(const char *run_dir, int *ret_dir, struct error *e)
{
    AUTO_CLOSE int run = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (run < 0)
        return fail_errno(e, ERR_IO, "cannot open the run directory %s", run_dir);
    return make_and_open(run, "shims", 0700, ret_dir, e);
}

enum err
folder_open_agent(const char *state_dir, struct id workspace, bool create, uint32_t uid,
    int *ret_dir, struct error *e)
{
    AUTO_CLOSE int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int agents = -1;
    mode_t mode = uid != 0 ? 0711 : 0700;
    char name[ID_TEXT_BYTES];
    int dir;

    if (state < 0)
        return fail_errno(e, ERR_IO, "cannot open the state directory %s", state_dir);
    id_text(workspace, name);
    if (create) {
        if (make_and_open(state, "agents", mode, &agents, e) != ERR_OK)
            return e->code;
        return make_and_open(agents, name, mode, ret_dir, e);
    }
    agents = openat(state, "agents", OPEN_FLAGS);
    dir = agents < 0 ? -1 : openat(agents, name, OPEN_FLAGS);
    if (dir < 0)
        return fail_errno(
            e, errno == ENOENT ? ERR_NOT_FOUND : ERR_IO, "no folder of agent %s", name);
    *ret_dir = dir;
    return ERR_OK;
}

/* Opens the folder above path's last component, making what is missing. */
static enum err
open_above(const char *path, uint32_t uid, const char **ret_name, int *ret_dir, struct error *e)
{
    AUTO_CLOSE int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const char *at = path + 1;

    for (const char *slash; (slash = strchr(at, '/')) != NULL; at = slash + 1) {
        char name[NAME_MAX + 1];
        size_t n = (size_t)(slash - at);
        int next;

        if (n > NAME_MAX)
            return fail(e, ERR_INVALID_REQUEST, "a part of the path %s is too long", path);
        memcpy(name, at, n);
        name[n] = '\0';
        if (n == 0 || strcmp(name, ".") == 0)
            continue;
        next = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (next < 0 && make_and_open(dir, name, uid != 0 ? 0711 : 0700, &next, e) != ERR_OK)
            return wrap(e, "%s", path);
        close(dir);
        dir = next;
    }
    *ret_name = at;
    *ret_dir = TAKE_FD(dir);
    return ERR_OK;
}

enum err
folder_make_home(const char *path, uint32_t uid, uint32_t gid, struct error *e)
{
    AUTO_CLOSE int above = -1;
    AUTO_CLOSE int home = -1;
    const char *name = NULL;
    struct stat st;

    if (open_above(path, uid, &name, &above, e) != ERR_OK ||
        make_and_open(above, name, 0700, &home, e) != ERR_OK)
        return wrap(e, "HOME of the agent");
    if (fstat(home, &st) != 0)
        return fail_errno(e, ERR_IO, "cannot look at HOME %s", path);
    if (st.st_uid != geteuid() && st.st_uid != uid)
        return fail(e, ERR_LAUNCH_FAILED, "HOME %s belongs to uid %u", path, (unsigned)st.st_uid);
    if (uid != 0 && fchown(home, uid, gid) != 0)
        return fail_errno(e, ERR_IO, "cannot give HOME %s to uid %u", path, (unsigned)uid);
    if (fchmod(home, 0700) != 0)
        return fail_errno(e, ERR_IO, "cannot set the mode of HOME %s", path);
    return ERR_OK;
}
