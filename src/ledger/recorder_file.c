#include "ledger/recorder_file.h"

#include "base/arena.h"
#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

/*
 * Workers take lanes as they need them, and old workers keep some until their last stream ends: many
 * more lanes than processors. What is made large has larger lanes, so that it can grow, too.
 */
enum { LANES_MIN = 16, LANES_FIRST_MAX = RECORDER_LANES_MAX / 4, LANE_SLOTS = 256 };

static void
shape(uint32_t slots, uint32_t *ret_lanes, uint32_t *ret_per_lane)
{
    uint32_t lanes = slots / LANE_SLOTS;

    lanes = lanes < LANES_MIN ? LANES_MIN : lanes > LANES_FIRST_MAX ? LANES_FIRST_MAX : lanes;
    *ret_per_lane = slots / lanes == 0 ? 1 : slots / lanes;
    *ret_lanes = slots / *ret_per_lane;
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
byte_lock(off_t first, off_t n, short type)
{
    return (struct flock){.l_type = type, .l_whence = SEEK_SET, .l_start = first, .l_len = n};
}

/* Does an nginx have it open, or a worker of an older layout a lane? */
static bool
is_in_use(int fd)
{
    struct flock lock = byte_lock(RECORDER_USE_OFF, 1 + RECORDER_LANES_MAX, F_WRLCK);

    return fcntl(fd, F_OFD_GETLK, &lock) == -1 || lock.l_type != F_UNLCK;
}

/* The states stand behind the header in every layout so far. */
static size_t
used_slots(const struct recorder_header *h, size_t bytes)
{
    const uint8_t *states = (const uint8_t *)h + RECORDER_HEADER_BYTES;
    size_t n = (size_t)atomic_load(&h->lanes) * h->slots_per_lane, used = 0;

    for (size_t i = 0; i < n && RECORDER_HEADER_BYTES + i < bytes; i++)
        used += states[i] != RECORDER_FREE;
    return used;
}

/* What holds calls or is in use stays; if it cannot be read, that is for a person to settle. */
static enum err
check_needed(
    const struct recorder_header *h, size_t bytes, const char *path, int fd, struct error *e)
{
    size_t needed = recorder_header_bytes(h), used = used_slots(h, bytes);

    if (needed > 0 && needed <= bytes)
        return ERR_OK;
    if (is_in_use(fd))
        return fail(e, ERR_STATE_UNUSABLE,
            "nginx still runs with the module of another purser and writes %s: stop it first",
            path);
    if (needed > 0)
        return fail(e, ERR_STATE_UNUSABLE,
            "%s holds %zu calls, but its end is missing (%zu of %zu bytes): bring the whole file "
            "back, or move it away and they are never booked",
            path, used, bytes, needed);
    return fail(e, ERR_STATE_UNUSABLE,
        "%s holds %zu calls in the layout of another purser (%u, this one has %d): start that one "
        "once more, it books them",
        path, used, h->version, RECORDER_VERSION);
}

/*
 * What stands in the way of this file: another layout, or another size than the settings say. It is
 * made anew when it is empty and nobody works with it.
 */
static enum err
check_existing(
    const struct recorder_file_options *o, const char *path, bool *ret_remake, struct error *e)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CLOEXEC);
    const struct recorder_header *h;
    uint32_t lanes, per_lane;
    struct stat st;
    size_t bytes;
    enum err err = ERR_OK;

    if (fd == -1 || fstat(fd, &st) == -1)
        return fail_errno(e, ERR_STATE_UNUSABLE, "opening the recorder %s", path);
    bytes = (size_t)st.st_size;
    if (bytes < RECORDER_HEADER_BYTES)
        return fail(e, ERR_STATE_UNUSABLE, "%s is not a recorder: move it away", path);
    h = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (h == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping the recorder %s", path);
    shape(o->slots, &lanes, &per_lane);
    *ret_remake = recorder_header_bytes(h) != recorder_bytes(lanes, per_lane) ||
        recorder_header_bytes(h) > bytes || h->slots_per_lane != per_lane;
    if (!recorder_header_is_one(h))
        err = fail(e, ERR_STATE_UNUSABLE, "%s is not a recorder: move it away", path);
    else if (*ret_remake && (used_slots(h, bytes) > 0 || is_in_use(fd))) {
        *ret_remake = false;
        err = check_needed(h, bytes, path, fd, e);
    }
    munmap((void *)h, bytes);
    return err;
}

/* Mapped with room to grow into: what is behind the file's end comes to be when the file does. */
static enum err
map(const char *path, int fd, struct recorder_file *ret, struct error *e)
{
    struct recorder_header h;
    struct stat st;
    void *memory;

    if (pread(fd, &h, sizeof(h), 0) != sizeof(h) || fstat(fd, &st) == -1 ||
        recorder_header_bytes(&h) == 0 || (size_t)st.st_size < recorder_header_bytes(&h))
        return fail(e, ERR_STATE_UNUSABLE, "%s is not a whole recorder: move it away", path);
    ret->bytes = recorder_map_bytes(&h);
    memory = mmap(NULL, ret->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return fail_errno(e, ERR_STATE_UNUSABLE, "mapping the recorder %s", path);
    ENSURE(recorder_attach(memory, ret->bytes, &ret->recorder));
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
    err = map(path, fd, &f, e);
    if (err != ERR_OK)
        return err;
    f.fd = TAKE_FD(fd);
    *ret = f;
    return ERR_OK;
}

static enum err
grow(struct recorder_file *f, uint32_t lanes, struct error *e)
{
    uint32_t per_lane = f->recorder.header->slots_per_lane;
    size_t now = recorder_bytes(recorder_lanes(&f->recorder), per_lane);
    size_t bytes = recorder_bytes(lanes, per_lane);
    int err;

    if (bytes == 0)
        return fail(e, ERR_STATE_UNUSABLE,
            "the recorder can grow to %u calls: for more it is made anew, at a start that finds it "
            "empty and nginx stopped",
            RECORDER_LANES_MAX * per_lane);
    err = posix_fallocate(f->fd, (off_t)now, (off_t)(bytes - now));
    /* A power cut must not find a header that speaks of more than there is. */
    if (err == 0 && fdatasync(f->fd) == -1)
        err = errno;
    if (err != 0) {
        (void)!ftruncate(f->fd, (off_t)now);
        errno = err;
        return fail_errno(
            e, ERR_STATE_UNUSABLE, "allocating %zu MiB more for the recorder", (bytes - now) >> 20);
    }
    recorder_set_lanes(&f->recorder, lanes);
    return ERR_OK;
}

/*
 * Who takes a lane looks how many there are while it holds the lock: it is told either that the lane
 * is taken or that it is gone.
 */
static enum err
shrink(struct recorder_file *f, uint32_t lanes, struct error *e)
{
    struct recorder *r = &f->recorder;
    uint32_t before = recorder_lanes(r), left = before;
    enum err err = ERR_OK;

    while (left > lanes && recorder_lane_is_free(r, left - 1) && recorder_file_lock(f, left - 1)) {
        if (!recorder_lane_is_free(r, left - 1)) {
            recorder_file_unlock(f, left - 1);
            break;
        }
        left--;
    }
    if (left == before)
        return ERR_OK;
    recorder_set_lanes(r, left);
    if (fdatasync(f->fd) == -1 ||
        ftruncate(f->fd, (off_t)recorder_bytes(left, r->header->slots_per_lane)) == -1)
        err = fail_errno(e, ERR_STATE_UNUSABLE, "shrinking the recorder");
    for (uint32_t lane = left; lane < before; lane++)
        recorder_file_unlock(f, lane);
    return err;
}

enum err
recorder_file_resize(struct recorder_file *f, uint32_t slots, bool *ret_reached, struct error *e)
{
    uint32_t per_lane = f->recorder.header->slots_per_lane, now = recorder_lanes(&f->recorder);
    uint32_t lanes = slots < per_lane ? 1 : slots / per_lane;
    enum err err;

    if (lanes == now)
        err = ERR_OK;
    else
        err = lanes > now ? grow(f, lanes, e) : shrink(f, lanes, e);
    *ret_reached = recorder_lanes(&f->recorder) == lanes;
    return err;
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
    struct flock lock = byte_lock(RECORDER_LOCK_OFF + lane, 1, F_WRLCK);

    return fcntl(f->fd, F_OFD_SETLK, &lock) == 0;
}

void
recorder_file_unlock(const struct recorder_file *f, uint32_t lane)
{
    struct flock lock = byte_lock(RECORDER_LOCK_OFF + lane, 1, F_UNLCK);

    fcntl(f->fd, F_OFD_SETLK, &lock);
}
