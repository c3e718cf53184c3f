#include "daemon/run_dir.h"

#include "base/cleanup.h"
#include "launch/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { PATH_BYTES = 512 };

/* Is the record at name (in the open folder) that of an agent whose end is known to everybody? */
static bool
has_ended(int shims, const char *name)
{
    AUTO_CLOSE int file = -1;
    struct str text = str_from_cstr(name);
    struct record r;
    struct id id;

    if (!str_ends_with(text, STR(".run")))
        return true;
    if (!id_parse(str_slice(text, 0, text.n - 4), &id))
        return false;
    file = record_open(shims, id, false);
    return file >= 0 && record_lock(shims, id, file) && record_read(file, &r) &&
        r.state == LAUNCH_EXITED && r.reported;
}

static bool
all_ended(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;
    bool ended = true;

    if (d == NULL)
        return errno == ENOENT;
    while (ended && (entry = readdir(d)) != NULL)
        ended = has_ended(dirfd(d), entry->d_name);
    closedir(d);
    return ended;
}

/* Files and empty folders in path, then path itself. */
static bool
remove_flat(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *entry;

    if (d == NULL)
        return false;
    while ((entry = readdir(d)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            unlinkat(dirfd(d), entry->d_name, 0) != 0)
            unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR); /* what is not empty stays */
    }
    closedir(d);
    return rmdir(path) == 0;
}

bool
run_dir_remove(const char *run)
{
    char shims[PATH_BYTES], tmp[PATH_BYTES];

    snprintf(shims, sizeof(shims), "%s/shims", run);
    snprintf(tmp, sizeof(tmp), "%s/tmp", run);
    if (!all_ended(shims))
        return false;
    remove_flat(shims);
    remove_flat(tmp);
    return remove_flat(run);
}
