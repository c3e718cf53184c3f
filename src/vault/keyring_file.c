#include "vault/keyring.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define NONCE_BYTES crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG_BYTES crypto_aead_xchacha20poly1305_ietf_ABYTES
#define SEALED_TITLE "purser-keyring-sealed 1\nsealed "

enum {
    FILE_PATH_MAX = 4096,
    SEALED_BYTES_MAX = KEYRING_TEXT_MAX + NONCE_BYTES + TAG_BYTES,
    FILE_TEXT_MAX = 2 * SEALED_BYTES_MAX + 64
};

#define WAY_OUT                                                                                    \
    "; put the file back from a backup (without it the stored secrets stay sealed); if there is "  \
    "no backup, move the file and the store away, start again and set every secret anew"

static enum err
read_all(int fd, const char *path, char *room, size_t *ret_n, struct error *e)
{
    size_t n = 0;
    ssize_t got;

    while ((got = read(fd, room + n, FILE_TEXT_MAX - n)) != 0) {
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
            "may have read it, rotate the keys",
            path, (unsigned)(st.st_mode & 07777));
    return ERR_OK;
}

static bool
path_copy(struct str path, const char *suffix, char ret[static FILE_PATH_MAX])
{
    int n = snprintf(ret, FILE_PATH_MAX, "%.*s%s", STR_ARG(path), suffix);

    return path.n > 0 && n > 0 && n < FILE_PATH_MAX;
}

static bool
is_sealed(struct str text)
{
    return str_starts_with(text, STR(SEALED_TITLE));
}

/* Opens the sealed form with whichever outer key fits; *ret_key is which. */
static bool
open_sealed(struct str text, const struct outer_keys *outer, char room[static KEYRING_TEXT_MAX],
    size_t *ret_n, size_t *ret_key)
{
    uint8_t sealed[SEALED_BYTES_MAX];
    size_t n = 0;
    struct str hex = str_slice(text, sizeof(SEALED_TITLE) - 1, text.n);

    if (hex.n == 0 || hex.p[hex.n - 1] != '\n' ||
        sodium_hex2bin(sealed, sizeof(sealed), hex.p, hex.n - 1, NULL, &n, NULL) != 0 ||
        2 * n != hex.n - 1 || n < NONCE_BYTES + TAG_BYTES)
        return false;
    for (size_t i = 0; i < outer->n; i++) {
        if (crypto_aead_xchacha20poly1305_ietf_decrypt((uint8_t *)room, NULL, NULL,
                sealed + NONCE_BYTES, n - NONCE_BYTES, (const uint8_t *)SEALED_TITLE,
                sizeof(SEALED_TITLE) - 1, sealed, outer->keys[i]) == 0) {
            *ret_n = n - NONCE_BYTES - TAG_BYTES;
            *ret_key = i;
            return true;
        }
    }
    return false;
}

enum err
keyring_read(struct str path, const struct outer_keys *outer, struct secret **ret, bool *ret_stale,
    struct error *e)
{
    char name[FILE_PATH_MAX];
    AUTO_SECRET struct secret *text = NULL;
    AUTO_SECRET struct secret *inner = NULL;
    AUTO_SECRET struct secret *ring = NULL;
    size_t n = 0, inner_n = 0, key = 0;
    struct str plain;

    if (!path_copy(path, "", name))
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "the master key's path is empty or too long");
    AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "opening the master key %s", name);
    if (check_owner(fd, name, e) != ERR_OK || secret_new_room(FILE_TEXT_MAX, &text, e) != ERR_OK ||
        secret_new_room(KEYRING_TEXT_MAX, &inner, e) != ERR_OK ||
        secret_new_room(sizeof(struct keyring), &ring, e) != ERR_OK ||
        read_all(fd, name, secret_room(text), &n, e) != ERR_OK)
        return e->code;
    plain = (struct str){secret_room(text), n};
    if (is_sealed(plain) && outer == NULL)
        return fail(e, ERR_MASTER_KEY_UNREADABLE,
            "the master key %s is sealed under an outer key, and there is none: set key_file or "
            "key_command to where it is",
            name);
    if (is_sealed(plain)) {
        if (!open_sealed(plain, outer, secret_room(inner), &inner_n, &key))
            return fail(e, ERR_MASTER_KEY_UNREADABLE,
                "the master key %s does not open with the outer key: it was sealed under another "
                "one, or is cut or garbled" WAY_OUT,
                name);
        plain = (struct str){secret_room(inner), inner_n};
        *ret_stale = key != 0;
    } else {
        *ret_stale = outer != NULL;
    }
    if (!keyring_parse(plain, (struct keyring *)(void *)secret_room(ring)))
        return fail(
            e, ERR_MASTER_KEY_UNREADABLE, "the master key %s is cut or garbled" WAY_OUT, name);
    *ret = TAKE(ring);
    return ERR_OK;
}

/* What the file will hold, in locked memory: the keyring's text, or that sealed. */
static enum err
file_text(
    const struct keyring *k, const struct outer_keys *outer, struct secret **ret, struct error *e)
{
    AUTO_SECRET struct secret *text = NULL;
    uint8_t sealed[SEALED_BYTES_MAX];
    char line[FILE_TEXT_MAX];
    size_t n;

    if (secret_new_room(KEYRING_TEXT_MAX, &text, e) != ERR_OK)
        return e->code;
    n = keyring_compose(k, secret_room(text));
    if (outer == NULL)
        return secret_new((struct str){secret_room(text), n}, ret, e);
    randombytes_buf(sealed, NONCE_BYTES);
    crypto_aead_xchacha20poly1305_ietf_encrypt(sealed + NONCE_BYTES, NULL,
        (const uint8_t *)secret_room(text), n, (const uint8_t *)SEALED_TITLE,
        sizeof(SEALED_TITLE) - 1, NULL, sealed, outer->keys[0]);
    n += NONCE_BYTES + TAG_BYTES;
    memcpy(line, SEALED_TITLE, sizeof(SEALED_TITLE) - 1);
    sodium_bin2hex(line + sizeof(SEALED_TITLE) - 1, sizeof(line) - sizeof(SEALED_TITLE), sealed, n);
    n = sizeof(SEALED_TITLE) - 1 + 2 * n;
    line[n++] = '\n';
    return secret_new((struct str){line, n}, ret, e);
}

static bool
write_durably(int fd, struct str text)
{
    while (text.n > 0) {
        ssize_t put = write(fd, text.p, text.n);

        if (put < 0 && errno != EINTR)
            return false;
        text = str_slice(text, put > 0 ? (size_t)put : 0, text.n);
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

/* Whole or not at all: written aside, and brought into place by one step. */
static enum err
put_file(struct str path, const struct secret *text, bool replace, struct error *e)
{
    char name[FILE_PATH_MAX], aside[FILE_PATH_MAX];
    bool written, placed;
    int saved;

    if (!path_copy(path, "", name) || !path_copy(path, ".new", aside))
        return fail(e, ERR_MASTER_KEY_UNREADABLE, "the master key's path is empty or too long");
    unlink(aside); /* of a start that was killed */
    AUTO_CLOSE int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fail_errno(e, ERR_MASTER_KEY_UNREADABLE, "making the master key %s", name);
    written = fchmod(fd, 0600) == 0 && write_durably(fd, secret_expose(text));
    /* Unlike a rename a link never replaces a file. */
    placed = written && (replace ? rename(aside, name) : link(aside, name)) == 0;
    saved = errno;
    unlink(aside);
    errno = saved;
    if (!placed || !sync_folder_of(name))
        return fail_errno(e, written && saved == EEXIST ? ERR_CONFLICT : ERR_MASTER_KEY_UNREADABLE,
            "making the master key %s", name);
    return ERR_OK;
}

enum err
keyring_replace(
    struct str path, const struct outer_keys *outer, const struct keyring *k, struct error *e)
{
    AUTO_SECRET struct secret *text = NULL;
    enum err err = file_text(k, outer, &text, e);

    return err == ERR_OK ? put_file(path, text, true, e) : err;
}

enum err
keyring_make(struct str path, const struct outer_keys *outer, struct error *e)
{
    AUTO_SECRET struct secret *ring = NULL;
    AUTO_SECRET struct secret *text = NULL;
    enum err err = secret_new_room(sizeof(struct keyring), &ring, e);

    if (err != ERR_OK)
        return err;
    keyring_fresh((struct keyring *)(void *)secret_room(ring));
    err = file_text((const struct keyring *)(const void *)secret_room(ring), outer, &text, e);
    return err == ERR_OK ? put_file(path, text, false, e) : err;
}
