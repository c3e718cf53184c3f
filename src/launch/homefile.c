#include "launch/homefile.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sodium.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum {
    NOTE_MAX_BYTES = HOMEFILES_MAX * 2 * (HOMEFILE_PATH_MAX + 2 * HOMEFILE_STAMP_BYTES + 2),
    OPEN_FOLDER = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW,
};

/* What was made earlier. */
struct note {
    char path[HOMEFILE_PATH_MAX + 1];
    unsigned char stamp[HOMEFILE_STAMP_BYTES];
};

struct notes {
    struct note of[HOMEFILES_MAX * 2];
    size_t n;
};

static struct note *
note_find(struct notes *notes, const char *path)
{
    for (size_t i = 0; i < notes->n; i++) {
        if (strcmp(notes->of[i].path, path) == 0)
            return &notes->of[i];
    }
    return NULL;
}

/* A line is a stamp in hex, a blank and a path. What cannot be read counts as never made. */
static void
notes_read(int dir, struct notes *ret)
{
    AUTO_CLOSE int fd = openat(dir, "files", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[NOTE_MAX_BYTES];
    struct str rest = {text, 0};
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text));

    *ret = (struct notes){0};
    rest.n = n > 0 ? (size_t)n : 0;
    while (rest.n > 0 && ret->n < HOMEFILES_MAX * 2) {
        size_t eol = str_find_char(rest, '\n'), blank = 2 * HOMEFILE_STAMP_BYTES;
        struct str line = str_slice(rest, 0, eol);
        struct note *note = &ret->of[ret->n];

        rest = str_slice(rest, eol < rest.n ? eol + 1 : eol, rest.n);
        if (line.n < blank + 2 || line.n - blank - 1 > HOMEFILE_PATH_MAX ||
            sodium_hex2bin(note->stamp, sizeof(note->stamp), line.p, blank, NULL, NULL, NULL) != 0)
            continue;
        memcpy(note->path, line.p + blank + 1, line.n - blank - 1);
        note->path[line.n - blank - 1] = '\0';
        ret->n++;
    }
}

static enum err
write_all(int fd, struct str s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        s = str_slice(s, (size_t)n, s.n);
    }
    return ERR_OK;
}

/* Is it there just so? Then there is nothing to write. */
static bool
has_content(int dir, const char *name, struct str content)
{
    AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char piece[4096];
    struct stat st;
    ssize_t n = 0;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (st.st_mode & 07777) != 0600)
        return false;
    while ((n = read(fd, piece, sizeof(piece))) > 0 && (size_t)n <= content.n &&
        memcmp(piece, content.p, (size_t)n) == 0)
        content = str_slice(content, (size_t)n, content.n);
    explicit_bzero(piece, sizeof(piece));
    return n == 0 && content.n == 0;
}

/*
 * New content under a name, whole or not at all. lasting: also when the power fails; what every
 * start compares with what it should be does not need that.
 */
static enum err
replace(int dir, const char *name, struct str content, bool lasting)
{
    char part[NAME_MAX + 1];
    AUTO_CLOSE int fd = -1;

    snprintf(part, sizeof(part), ".%.200s.purser", name);
    if (unlinkat(dir, part, 0) != 0 && errno != ENOENT)
        return ERR_IO;
    fd = openat(dir, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write_all(fd, content) != ERR_OK || (lasting && fdatasync(fd) != 0))
        return ERR_IO;
    return renameat(dir, part, dir, name) == 0 ? ERR_OK : ERR_IO;
}

static enum err
notes_write(int dir, const struct notes *notes, struct error *e)
{
    char text[NOTE_MAX_BYTES + 1], hex[2 * HOMEFILE_STAMP_BYTES + 1];
    size_t n = 0;

    for (size_t i = 0; i < notes->n; i++) {
        sodium_bin2hex(hex, sizeof(hex), notes->of[i].stamp, HOMEFILE_STAMP_BYTES);
        n += (size_t)snprintf(text + n, sizeof(text) - n, "%s %s\n", hex, notes->of[i].path);
    }
    if (replace(dir, "files", (struct str){text, n}, true) != ERR_OK)
        return fail_errno(e, ERR_IO, "cannot note which files were made in the agent's HOME");
    return ERR_OK;
}

/* ---- in the process that is the agent's user ---- */

/* Opens the folder that path's last component is in. The descriptor, or -1 with errno. */
static int
open_folder(const char *home, const char *path, bool create, const char **ret_name)
{
    int dir = open(home, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char name[HOMEFILE_PATH_MAX + 1];

    for (const char *slash; dir >= 0 && (slash = strchr(path, '/')) != NULL; path = slash + 1) {
        int next;

        snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
        if (create && mkdirat(dir, name, 0700) != 0 && errno != EEXIST) {
            close(dir);
            return -1;
        }
        next = openat(dir, name, OPEN_FOLDER);
        close(dir);
        dir = next;
    }
    *ret_name = path;
    return dir;
}

static enum err
put(const struct homefile_place *place, const struct homefile *file, bool same_source)
{
    const char *name;
    AUTO_CLOSE int dir = open_folder(place->home, file->path, true, &name);

    if (dir < 0)
        return ERR_IO;
    if (file->refreshed && same_source && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return ERR_OK;
    if (has_content(dir, name, file->content))
        return ERR_OK;
    return replace(dir, name, file->content, file->refreshed);
}

/* Gone as well: what the agent moved away or put something else in the place of. */
static enum err
take_away(const struct homefile_place *place, const char *path)
{
    const char *name;
    AUTO_CLOSE int dir = open_folder(place->home, path, false, &name);

    if (dir >= 0 && unlinkat(dir, name, 0) == 0)
        return ERR_OK;
    return errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == EISDIR ? ERR_OK
                                                                                    : ERR_IO;
}

/* What the child says when it did not work: errno, and the file's place in the list. */
struct trouble {
    int error;
    size_t file;
};

static bool
become(const struct homefile_place *place)
{
    return place->uid == 0 ||
        (setgroups(0, NULL) == 0 && setresgid(place->gid, place->gid, place->gid) == 0 &&
            setresuid(place->uid, place->uid, place->uid) == 0);
}

static bool
is_wanted(const struct homefile *files, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(files[i].path, path) == 0)
            return true;
    }
    return false;
}

static enum err
work(const struct homefile_place *place, const struct homefile *files, size_t n,
    struct notes *notes, size_t *ret_at)
{
    *ret_at = 0;
    if (!become(place))
        return ERR_IO;
    for (size_t i = 0; i < notes->n; i++) {
        if (!is_wanted(files, n, notes->of[i].path) &&
            take_away(place, notes->of[i].path) != ERR_OK)
            return ERR_IO;
    }
    for (*ret_at = 0; *ret_at < n; (*ret_at)++) {
        const struct homefile *file = &files[*ret_at];
        const struct note *note = note_find(notes, file->path);

        if (put(place, file,
                note != NULL && memcmp(note->stamp, file->stamp, sizeof(file->stamp)) == 0) !=
            ERR_OK)
            return ERR_IO;
    }
    return ERR_OK;
}

static enum err
work_as_agent(const struct homefile_place *place, const struct homefile *files, size_t n,
    struct notes *notes, struct error *e)
{
    struct trouble trouble = {0};
    int report[2];
    ssize_t got;
    pid_t pid;

    if (pipe2(report, O_CLOEXEC) != 0)
        return fail_errno(e, ERR_IO, "cannot make a pipe");
    pid = fork();
    if (pid == 0) {
        if (work(place, files, n, notes, &trouble.file) != ERR_OK) {
            trouble.error = errno;
            if (write(report[1], &trouble, sizeof(trouble)) < 0)
                _exit(2);
            _exit(1);
        }
        _exit(0);
    }
    close(report[1]);
    got = pid < 0 ? 0 : read(report[0], &trouble, sizeof(trouble));
    close(report[0]);
    if (pid < 0)
        return fail_errno(e, ERR_LAUNCH_FAILED, "cannot fork");
    waitpid(pid, NULL, 0);
    if (got == 0)
        return ERR_OK;
    errno = trouble.error;
    return fail_errno(e, ERR_LAUNCH_FAILED, "cannot make %s in the agent's HOME %.150s",
        trouble.file < n ? files[trouble.file].path : "files", place->home);
}

/* What is noted while the work is under way: everything that may be there, unchanged or not. */
static void
notes_expect(struct notes *notes, const struct homefile *files, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct note *note = note_find(notes, files[i].path);

        if (note == NULL && notes->n < HOMEFILES_MAX * 2) {
            note = &notes->of[notes->n++];
            *note = (struct note){0};
            snprintf(note->path, sizeof(note->path), "%s", files[i].path);
        }
    }
}

static bool
notes_equal(const struct notes *a, const struct notes *b)
{
    return a->n == b->n && memcmp(a->of, b->of, a->n * sizeof(a->of[0])) == 0;
}

enum err
homefile_sync(
    const struct homefile_place *place, const struct homefile *files, size_t n, struct error *e)
{
    struct notes before, notes;
    struct notes done = {.n = n};

    ENSURE(n <= HOMEFILES_MAX);
    notes_read(place->notes, &before);
    if (n == 0 && before.n == 0)
        return ERR_OK;
    notes = before;
    notes_expect(&notes, files, n);
    if ((!notes_equal(&notes, &before) && notes_write(place->notes, &notes, e) != ERR_OK) ||
        work_as_agent(place, files, n, &notes, e) != ERR_OK)
        return e->code;
    for (size_t i = 0; i < n; i++) {
        snprintf(done.of[i].path, sizeof(done.of[i].path), "%s", files[i].path);
        if (files[i].refreshed) /* of the others nobody asks what they were made from */
            memcpy(done.of[i].stamp, files[i].stamp, sizeof(done.of[i].stamp));
    }
    return notes_equal(&done, &notes) ? ERR_OK : notes_write(place->notes, &done, e);
}

void
homefile_forget(int notes)
{
    unlinkat(notes, "files", 0);
}
