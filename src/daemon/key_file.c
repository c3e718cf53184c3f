#include "daemon/key_file.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEX_BYTES = KEY_FILE_BYTES * 2 };

/* Whole and durable before it has its name: half a key would be a lost one. */
static enum err
make(const char *path, struct error *e)
{
    char fresh[4096], hex[HEX_BYTES + 2];
    uint8_t key[KEY_FILE_BYTES];
    AUTO_CLOSE int fd = -1;
    bool good;

    snprintf(fresh, sizeof(fresh), "%s.new", path);
    fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "making %s", fresh);
    randombytes_buf(key, sizeof(key));
    sodium_bin2hex(hex, sizeof(hex), key, sizeof(key));
    hex[HEX_BYTES] = '\n';
    good = write(fd, hex, HEX_BYTES + 1) == HEX_BYTES + 1 && fsync(fd) == 0 &&
        rename(fresh, path) == 0;
    sodium_memzero(key, sizeof(key));
    sodium_memzero(hex, sizeof(hex));
    return good ? ERR_OK : fail_errno(e, ERR_STATE_UNUSABLE, "writing %s", path);
}

enum err
key_file_open(const char *path, uint8_t ret[static KEY_FILE_BYTES], struct error *e)
{
    char hex[HEX_BYTES + 1];
    AUTO_CLOSE int fd = -1;
    struct stat st;
    size_t n = 0;
    bool good;

    if (access(path, F_OK) != 0 && make(path, e) != ERR_OK)
        return e->code;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "reading %s", path);
    if (st.st_uid != geteuid() || (st.st_mode & 077) != 0)
        return fail(e, ERR_STATE_UNUSABLE, "%s must be ours and have mode 0600", path);
    good = read(fd, hex, HEX_BYTES) == HEX_BYTES &&
        sodium_hex2bin(ret, KEY_FILE_BYTES, hex, HEX_BYTES, NULL, &n, NULL) == 0 &&
        n == KEY_FILE_BYTES;
    sodium_memzero(hex, sizeof(hex));
    return good ? ERR_OK
                : fail(e, ERR_STATE_UNUSABLE, "%s holds no key: 64 hexadecimal digits", path);
}
