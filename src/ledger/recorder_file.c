#include "ledger/recorder_file.h"

#include "base/arena.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/*
 * Every worker needs a lane of its own, and after a reload the old workers keep theirs until their
 * last stream ends: many more lanes than processors. A worker takes another when one is full.
 */
enum { LANES_MIN = 16, LANES_MAX = 128, LANE_SLOTS = 512 };

static void
shape(uint32_t slots, uint32_t *ret_lanes, uint32_t *ret_per_lane)
{
    uint32_t wanted = slots / LANE_SLOTS;

    *ret_lanes = wanted < LANES_MIN ? LANES_MIN : wanted > LANES_MAX ? LANES_MAX : wanted;
    *ret_per_lane = slots / *ret_lanes == 0 ? 1 : slots / *ret_lanes;
}

/*
 * A new recorder beside the final name, whole before it gets it. Its space is allocated: a write to
 * a hole on a full disk would kill the worker that makes it.
 */
static enum err
make(const struct recorder_file_options *o, const char *path, struct error *e)
{
    uint32_t lanes, per_lane;
    size_t bytes;
    AUTO_CLOSE int fd = -1;
    AUTO_ARENA struct arena a;
    const char *fresh;
    void *memory;
    int err;

    shape(o->slots, &lanes, &per_lane);
    bytes = recorder_bytes(lanes, per_lane);
    arena_init(&a);
    fresh = arena_printf(&a, "%s.new", path).p;
    fd = open(fresh, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making the recorder %s", fresh);
    err = posix_fallocate(fd, 0, (off_t)bytes);
    if (err != 0) {
        errno = err;
        return fail_errno(
            e, ERR_STATE_UNUSABLE, "allocating %zu MiB for the recorder %s", bytes >> 20, fresh);
    }
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping the recorder %s", fresh);
    recorder_format(memory, lanes, per_lane, o->node.b);
    munmap(memory, bytes);
    if (fsync(fd) == -1 || rename(fresh, path) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making the recorder %s", path);
    return ERR_OK;
}

static struct flock
lane_lock(uint32_t lane, short type)
{
    return (struct flock){
        .l_type = type, .l_whence = SEEK_SET, .l_start = RECORDER_LOCK_OFF + lane, .l_len = 1};
}

/* Does a living worker have one of its lanes? */
static bool
is_owned(int fd)
{
    struct flock lock = lane_lock(0, F_WRLCK);

    lock.l_len = RECORDER_LANES_MAX;
    return fcntl(fd, F_OFD_GETLK, &lock) == -1 || lock.l_type != F_UNLCK;
}

/* The states stand behind the header in every layout so far. */
static size_t
used_slots(const struct recorder_header *h, size_t bytes)
{
    const uint8_t *states = (const uint8_t *)h + RECORDER_HEADER_BYTES;
    size_t n = (size_t)h->lanes * h->slots_per_lane, used = 0;

    for (size_t i = 0; i < n && RECORDER_HEADER_BYTES + i < bytes; i++)
        used += states[i] != RECORDER_FREE;
    return used;
}

/*
 * What stands in the way of this file: another layout, or another size than the settings say. It is
 * made anew when it is empty and nobody works with it; otherwise a size stays and a layout refuses.
 */
static enum err
check_existing(
    const struct recorder_file_options *o, const char *path, bool *ret_remake, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    struct recorder r;
    uint32_t lanes, per_lane;
    struct stat st;
    size_t used;
    void *memory;
    bool known, owned;

    *ret_remake = false;
    if (fd == -1 || fstat(fd, &st) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "opening the recorder %s", path);
    if (st.st_size < RECORDER_HEADER_BYTES)
        return fail(e, ERR_STATE_UNUSABLE, "%s is not a recorder: move it away", path);
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping the recorder %s", path);
    known = recorder_attach(memory, (size_t)st.st_size, &r);
    used = used_slots(memory, (size_t)st.st_size);
    shape(o->slots, &lanes, &per_lane);
    *ret_remake = !known || r.header->lanes != lanes || r.header->slots_per_lane != per_lane;
    munmap(memory, (size_t)st.st_size);
    owned = is_owned(fd);
    if (*ret_remake && (used > 0 || owned)) {
        *ret_remake = false;
        if (!known && owned)
            return fail(e, ERR_STATE_UNUSABLE,
                "nginx still runs with the module of another purser and writes %s: stop it first",
                path);
        if (!known)
            return fail(e, ERR_STATE_UNUSABLE,
                "%s holds %zu calls in the layout of another purser: start that one once more, it "
                "books them",
                path, used);
    }
    return ERR_OK;
}

enum err
recorder_file_open(
    const struct recorder_file_options *o, struct recorder_file *ret, struct error *e)
{
    AUTO_CLOSE int fd = -1;
    AUTO_ARENA struct arena a;
    struct recorder_file f;
    const char *path;
    struct stat st;
    void *memory;
    bool remake = true;
    enum err err = ERR_OK;

    arena_init(&a);
    path = arena_cstr(&a, o->path);
    if (access(path, F_OK) == 0)
        err = check_existing(o, path, &remake, e);
    if (err == ERR_OK && remake)
        err = make(o, path, e);
    if (err != ERR_OK)
        return err;
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "opening the recorder %s", path);
    if (o->uid != 0 && st.st_uid != o->uid && fchown(fd, o->uid, (gid_t)-1) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "giving the recorder %s to the gateway", path);
    memory = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping the recorder %s", path);
    if (!recorder_attach(memory, (size_t)st.st_size, &f.recorder)) {
        munmap(memory, (size_t)st.st_size);
        return fail(e, ERR_STATE_UNUSABLE, "%s is not a recorder: move it away", path);
    }
    f.bytes = (size_t)st.st_size;
    f.fd = TAKE_FD(fd);
    *ret = f;
    return ERR_OK;
}

void
recorder_file_close(struct recorder_file *f)
{
    munmap(f->recorder.header, f->bytes);
    close(f->fd);
}

bool
recorder_file_lock(const struct recorder_file *f, uint32_t lane)
{
    struct flock lock = lane_lock(lane, F_WRLCK);

    return fcntl(f->fd, F_OFD_SETLK, &lock) == 0;
}

void
recorder_file_unlock(const struct recorder_file *f, uint32_t lane)
{
    struct flock lock = lane_lock(lane, F_UNLCK);

    fcntl(f->fd, F_OFD_SETLK, &lock);
}
