#include "launch/agentlog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static const char current[] = "log";
static const char previous[] = "log.1";

static int
open_current(int dir)
{
    return openat(dir, current, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

enum err
agentlog_open(int dir, struct agentlog *ret, struct error *e)
{
    struct stat st;
    int file = open_current(dir);

    if (file < 0 || fstat(file, &st) != 0) {
        fail_errno(e, ERR_IO, "cannot open the agent's log");
        cleanup_close(&file);
        close(dir);
        return e->code;
    }
    *ret = (struct agentlog){.dir = dir, .file = file, .bytes = (size_t)st.st_size};
    return ERR_OK;
}

void
agentlog_done(struct agentlog *l)
{
    cleanup_close(&l->file);
    cleanup_close(&l->dir);
    l->file = l->dir = -1;
}

static void
rotate(struct agentlog *l)
{
    cleanup_close(&l->file);
    if (renameat(l->dir, current, l->dir, previous) != 0)
        unlinkat(l->dir, current, 0);
    l->file = open_current(l->dir);
    l->bytes = 0;
}

void
agentlog_write(struct agentlog *l, struct str piece)
{
    while (piece.n > 0) {
        ssize_t n;
        size_t room;

        if (l->bytes >= AGENTLOG_MAX_BYTES)
            rotate(l);
        room = AGENTLOG_MAX_BYTES - l->bytes;
        n = write(l->file, piece.p, piece.n < room ? piece.n : room);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        l->bytes += (size_t)n;
        piece = str_slice(piece, (size_t)n, piece.n);
    }
}

/* The last at most max bytes of the file. */
static void
add_tail(int file, size_t size, size_t max, struct buf *out)
{
    size_t want = size < max ? size : max;
    off_t at = (off_t)(size - want);
    size_t left = want;

    while (left > 0) {
        size_t step = left < 65536 ? left : 65536;
        char *room = buf_reserve(out, step);
        ssize_t n = room == NULL ? -1 : pread(file, room, step, at);

        if (n <= 0)
            break;
        buf_grown(out, (size_t)n);
        at += n;
        left -= (size_t)n;
    }
}

enum err
agentlog_tail(int dir, size_t max_bytes, struct buf *out, struct error *e)
{
    /* The newer one first: rotated in between, both names lead to it. */
    AUTO_CLOSE int file = openat(dir, current, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_CLOSE int older = openat(dir, previous, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st = {0}, older_st = {0};
    size_t newer_bytes = 0;

    if (file >= 0 && fstat(file, &st) != 0)
        return fail_errno(e, ERR_IO, "cannot read the agent's log");
    if (older >= 0 && fstat(older, &older_st) != 0)
        return fail_errno(e, ERR_IO, "cannot read the agent's older log");
    if (file >= 0)
        newer_bytes = (size_t)st.st_size < max_bytes ? (size_t)st.st_size : max_bytes;
    if (older >= 0 && (file < 0 || older_st.st_ino != st.st_ino))
        add_tail(older, (size_t)older_st.st_size, max_bytes - newer_bytes, out);
    if (file >= 0)
        add_tail(file, (size_t)st.st_size, newer_bytes, out);
    if (!buf_ok(out))
        return fail(e, ERR_PAYLOAD_TOO_LARGE, "the log's tail is larger than asked for");
    return ERR_OK;
}

void
agentlog_remove(int dir)
{
    unlinkat(dir, current, 0);
    unlinkat(dir, previous, 0);
}
