#include "launch/record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const unsigned char magic[4] = {'P', 'R', 'R', '1'};

enum { CHECK_BYTES = 16, CHECK_AT = RECORD_BYTES - CHECK_BYTES };
enum { CLAIM_TRIES = 200, CLAIM_TRY_MS = 5 };

static void
put_u64(unsigned char **at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        *(*at)++ = (unsigned char)(value >> (8 * i));
}

static uint64_t
take_u64(const unsigned char **at)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value |= (uint64_t) * (*at)++ << (8 * i);
    return value;
}

static void
put_id(unsigned char **at, struct id id)
{
    memcpy(*at, id.b, sizeof(id.b));
    *at += sizeof(id.b);
}

static struct id
take_id(const unsigned char **at)
{
    struct id id;

    memcpy(id.b, *at, sizeof(id.b));
    *at += sizeof(id.b);
    return id;
}

void
record_encode(const struct record *r, unsigned char ret[static RECORD_BYTES])
{
    unsigned char *at = ret;

    memset(ret, 0, RECORD_BYTES);
    memcpy(at, magic, sizeof(magic));
    at += sizeof(magic);
    *at++ = (unsigned char)r->state;
    *at++ = r->reported ? 1 : 0;
    *at++ = r->container ? 1 : 0;
    at += 1;
    put_id(&at, r->workspace);
    put_id(&at, r->start);
    put_id(&at, r->boot);
    put_u64(&at, (uint32_t)r->pid | (uint64_t)r->uid << 32);
    put_u64(&at, r->pid_ticks);
    put_u64(&at, (uint32_t)r->exit_code);
    put_u64(&at, (uint64_t)r->started_ms);
    put_u64(&at, (uint64_t)r->ended_ms);
    ENSURE(at <= ret + CHECK_AT);
    crypto_generichash(ret + CHECK_AT, CHECK_BYTES, ret, CHECK_AT, NULL, 0);
}

bool
record_decode(const unsigned char *bytes, size_t n, struct record *ret)
{
    unsigned char check[CHECK_BYTES];
    const unsigned char *at = bytes + sizeof(magic);
    uint64_t both;

    if (n != RECORD_BYTES || memcmp(bytes, magic, sizeof(magic)) != 0)
        return false;
    crypto_generichash(check, CHECK_BYTES, bytes, CHECK_AT, NULL, 0);
    if (memcmp(check, bytes + CHECK_AT, CHECK_BYTES) != 0)
        return false;
    if (at[0] > LAUNCH_EXITED || at[1] > 1 || at[2] > 1)
        return false;
    ret->state = (enum launch_state)at[0];
    ret->reported = at[1] == 1;
    ret->container = at[2] == 1;
    at += 4;
    ret->workspace = take_id(&at);
    ret->start = take_id(&at);
    ret->boot = take_id(&at);
    both = take_u64(&at);
    ret->pid = (int32_t)(uint32_t)both;
    ret->uid = (uint32_t)(both >> 32);
    ret->pid_ticks = take_u64(&at);
    ret->exit_code = (int32_t)(uint32_t)take_u64(&at);
    ret->started_ms = (int64_t)take_u64(&at);
    ret->ended_ms = (int64_t)take_u64(&at);
    return true;
}

struct launch_status
record_status(const struct record *r)
{
    return (struct launch_status){
        .state = r->state,
        .start = r->start,
        .pid = r->pid,
        .exit_code = r->exit_code,
        .started_ms = r->started_ms,
        .ended_ms = r->ended_ms,
    };
}

void
record_name(struct id workspace, const char *suffix, char ret[static RECORD_NAME_BYTES])
{
    char text[ID_TEXT_BYTES];

    id_text(workspace, text);
    snprintf(ret, RECORD_NAME_BYTES, "%s%s", text, suffix);
}

int
record_open(int dir, struct id workspace, bool create)
{
    char name[RECORD_NAME_BYTES];

    record_name(workspace, ".run", name);
    return openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0), 0600);
}

bool
record_lock(int dir, struct id workspace, int file)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char name[RECORD_NAME_BYTES];
    struct stat mine, there;

    if (fcntl(file, F_OFD_SETLK, &lock) != 0)
        return false;
    record_name(workspace, ".run", name);
    if (fstat(file, &mine) != 0 || fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) != 0 ||
        mine.st_ino != there.st_ino || mine.st_dev != there.st_dev) {
        record_unlock(file);
        return false;
    }
    return true;
}

int
record_claim(int dir, struct id workspace, bool create)
{
    for (int i = 0; i < CLAIM_TRIES; i++) {
        /* Anew each time: the file may have been removed and made again. */
        int file = record_open(dir, workspace, create);

        if (file < 0 || record_lock(dir, workspace, file))
            return file;
        close(file);
        poll(NULL, 0, CLAIM_TRY_MS);
    }
    errno = EAGAIN;
    return -1;
}

void
record_unlock(int file)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

    /* Cannot fail for a descriptor that is open. */
    ENSURE(fcntl(file, F_OFD_SETLK, &lock) == 0);
}

bool
record_read(int file, struct record *ret)
{
    unsigned char bytes[RECORD_BYTES];
    ssize_t n = pread(file, bytes, sizeof(bytes), 0);

    return n == RECORD_BYTES && record_decode(bytes, (size_t)n, ret);
}

enum err
record_write(int file, const struct record *r, struct error *e)
{
    unsigned char bytes[RECORD_BYTES];

    record_encode(r, bytes);
    if (pwrite(file, bytes, sizeof(bytes), 0) != RECORD_BYTES)
        return fail_errno(e, ERR_IO, "cannot write the run file");
    /* What is not an end means nothing after a crash of the machine: the agent is gone with it. */
    if (r->state == LAUNCH_EXITED && !r->reported && fdatasync(file) != 0)
        return fail_errno(e, ERR_IO, "cannot sync the run file");
    return ERR_OK;
}
