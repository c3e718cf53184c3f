#include "vault/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "core/num.h"

enum { HEX_BYTES = 2 * KEY_BYTES, FILE_PATH_MAX = 4096 };

#define WAY_OUT                                                                                    \
    "; put the file back from a backup (without it the stored secrets stay sealed); if there is "  \
    "no"                                                                                           \
    " backup, move the file and the store away, start again and set every secret anew"

static const struct str title = STR_INIT("purser-keyring 1");

const struct seal_key *
keyring_find(const struct keyring *k, int64_t id)
{
    for (size_t i = 0; i < k->n; i++) {
        if (k->keys[i].id == id)
            return &k->keys[i].key;
    }
    return NULL;
}

static bool
hex_read(struct str hex, uint8_t ret[static KEY_BYTES])
{
    size_t n = 0;

    return hex.n == HEX_BYTES &&
        sodium_hex2bin(ret, KEY_BYTES, hex.p, hex.n, NULL, &n, NULL) == 0 && n == KEY_BYTES;
}

/* Takes a line off text: "WORD REST\n". False when it does not begin with word or has no end. */
static bool
take_line(struct str *text, struct str word, struct str *ret_rest)
{
    size_t end = str_find_char(*text, '\n');
    struct str line = str_slice(*text, 0, end);

    if (end == text->n || !str_starts_with(line, word) || line.n == word.n || line.p[word.n] != ' ')
        return false;
    *ret_rest = str_slice(line, word.n + 1, line.n);
    *text = str_slice(*text, end + 1, text->n);
    return true;
}

static bool
parse_key(struct str line, struct keyring *k)
{
    size_t space = str_find_char(line, ' ');
    int64_t id;

    if (space == line.n || k->n == KEYRING_KEYS_MAX ||
        !num_parse_i64(str_slice(line, 0, space), &id) ||
        id <= (k->n == 0 ? 0 : k->keys[k->n - 1].id))
        return false;
    k->keys[k->n].id = id;
    if (!hex_read(str_slice(line, space + 1, line.n), k->keys[k->n].key.b))
        return false;
    k->n++;
    return true;
}

static bool
parse(struct str text, struct keyring *k)
{
    uint8_t check[KEY_BYTES], found[KEY_BYTES];
    const char *begin = text.p;
    struct str line;
    size_t checked;

    if (!str_starts_with(text, title) || text.n <= title.n || text.p[title.n] != '\n')
        return false;
    text = str_slice(text, title.n + 1, text.n);
    if (!take_line(&text, STR("fingerprint"), &line) || !hex_read(line, k->fingerprint.b))
        return false;
    while (take_line(&text, STR("key"), &line)) {
        if (!parse_key(line, k))
            return false;
    }
    if (!take_line(&text, STR("current"), &line) || !num_parse_i64(line, &k->current))
        return false;
    checked = (size_t)(text.p - begin);
    if (!take_line(&text, STR("check"), &line) || !hex_read(line, found) || text.n != 0)
        return false;
    crypto_hash_sha256(check, (const uint8_t *)begin, checked);
    return sodium_memcmp(check, found, sizeof(check)) == 0 && keyring_find(k, k->current) != NULL;
}

static enum err
read_all(int fd, const char *path, char *room, size_t *ret_n, struct error *e)
{
    size_t n = 0;
    ssize_t got;

    while ((got = read(fd, room + n, KEYRING_TEXT_MAX - n)) != 0) {
        if (got < 0 && errno != EINTR)
            return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "reading the master key %s", path);
        n += got > 0 ? (size_t)got : 0;
    }
    *ret_n = n;
    return ERR_OK;
}

/*
 * Ours, nobody else's to read, and a plain file: else anybody could have put it there or seen it.
 */
static enum err
check_owner(int fd, const char *path, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "looking at the master key %s", path);
    if (!S_ISREG(st.st_mode))
        return fail(
            e, ERR_MASTER_KEY_UNREADABLE, "the master key %s is not a plain file" WAY_OUT, path);
    if (st.st_uid != geteuid())
        return fail(e, ERR_MASTER_KEY_UNREADABLE,
            "the master key %s belongs to user %u, purser runs as %u: run it as that user or chown "
            "the file",
            path, (unsigned)st.st_uid, (unsigned)geteuid());
    if ((st.st_mode & 077) != 0)
        return fail(e, ERR_MASTER_KEY_UNREADABLE,
            "the master key %s can be reached by others (mode %04o): chmod 600 it, and if somebody "
            "may"
            " have read it, rotate the keys",
            path, (unsigned)(st.st_mode & 07777));
    return ERR_OK;
}

static bool
path_copy(struct str path, const char *suffix, char ret[static FILE_PATH_MAX])
{
    int n = snprintf(ret, FILE_PATH_MAX, "%.*s%s", STR_ARG(path), suffix);

    return path.n > 0 && n > 0 && n < FILE_PATH_MAX;
}

enum err
keyring_read(struct str path, struct secret **ret, struct error *e)
{
    char name[FILE_PATH_MAX];
    AUTO_SECRET struct secret *text = NULL;
    AUTO_SECRET struct secret *ring = NULL;
    size_t n = 0;

    if (!path_copy(path, "", name))
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "the master key's path is empty or too long");
    AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "opening the master key %s", name);
    if (check_owner(fd, name, e) != ERR_OK ||
        secret_new_room(KEYRING_TEXT_MAX, &text, e) != ERR_OK ||
        secret_new_room(sizeof(struct keyring), &ring, e) != ERR_OK ||
        read_all(fd, name, secret_room(text), &n, e) != ERR_OK)
        return e->code;
    if (!parse((struct str){secret_room(text), n}, (struct keyring *)(void *)secret_room(ring)))
        return fail(
            e, ERR_MASTER_KEY_UNREADABLE, "the master key %s is cut or garbled" WAY_OUT, name);
    *ret = TAKE(ring);
    return ERR_OK;
}

/* Writes a keyring with one fresh key into locked memory; returns its length. */
static size_t
compose(char room[static KEYRING_TEXT_MAX])
{
    uint8_t keys[2][KEY_BYTES], check[KEY_BYTES];
    char hex[2][HEX_BYTES + 1], check_hex[HEX_BYTES + 1];
    int n;

    randombytes_buf(keys, sizeof(keys));
    sodium_bin2hex(hex[0], sizeof(hex[0]), keys[0], KEY_BYTES);
    sodium_bin2hex(hex[1], sizeof(hex[1]), keys[1], KEY_BYTES);
    n = snprintf(room, KEYRING_TEXT_MAX, "%s\nfingerprint %s\nkey 1 %s\ncurrent 1\n", title.p,
        hex[0], hex[1]);
    crypto_hash_sha256(check, (const uint8_t *)room, (size_t)n);
    sodium_bin2hex(check_hex, sizeof(check_hex), check, sizeof(check));
    n += snprintf(room + n, KEYRING_TEXT_MAX - (size_t)n, "check %s\n", check_hex);
    sodium_memzero(keys, sizeof(keys));
    sodium_memzero(hex, sizeof(hex));
    return (size_t)n;
}

static bool
write_durably(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t put = write(fd, p, n);

        if (put < 0 && errno != EINTR)
            return false;
        p += put > 0 ? put : 0;
        n -= put > 0 ? (size_t)put : 0;
    }
    return fsync(fd) == 0;
}

static bool
sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[FILE_PATH_MAX];

    snprintf(folder, sizeof(folder), "%.*s", slash == NULL ? 1 : (int)(slash - path) + 1,
        slash == NULL ? "." : path);
    AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0;
}

/* Whole or not at all: written aside, then linked, which unlike a rename never replaces a file. */
enum err
keyring_make(struct str path, struct error *e)
{
    char name[FILE_PATH_MAX], aside[FILE_PATH_MAX];
    AUTO_SECRET struct secret *text = NULL;
    bool written, linked;
    int saved;

    if (!path_copy(path, "", name) || !path_copy(path, ".new", aside))
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "the master key's path is empty or too long");
    if (secret_new_room(KEYRING_TEXT_MAX, &text, e) != ERR_OK)
        return e->code;
    unlink(aside); /* of a start that was killed */
    AUTO_CLOSE int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "making the master key %s", name);
    written =
        fchmod(fd, 0600) == 0 && write_durably(fd, secret_room(text), compose(secret_room(text)));
    linked = written && link(aside, name) == 0;
    saved = errno;
    unlink(aside);
    errno = saved;
    if (!linked || !sync_folder_of(name))
        return fail_errno(e, written && saved == EEXIST ? ERR_CONFLICT : ERR_MASTER_KEY_UNREADABLE,
            "making the master key %s", name);
    return ERR_OK;
}
