#include "cli/backup_dir.h"

#include "api/json.h"
#include "base/buf.h"
#include "base/ids.h"
#include "cli/backup_manifest.h"
#include "store/backup.h"
#include "store/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST BACKUP_MANIFEST
#define STORE "purser.db"

enum { COPY_BYTES = 64 * 1024 };

/* What the state directory keeps beside the store. The recorder is no part: it is drained. */
static const struct {
    const char *name;
    bool is_key; /* opens secrets, or is one */
} files[] = {
    {"node-id", false},
    {"master-key", true},
    {"node-key", true},
    {"alert-key", true},
    {"admin-token", true},
};
enum { FILES_N = sizeof(files) / sizeof(files[0]) };

struct copied {
    int64_t bytes;
    unsigned char digest[crypto_hash_sha256_BYTES];
};

/* to < 0: only reads. */
static enum err
copy_bytes(int from, int to, struct copied *ret, struct error *e)
{
    unsigned char bytes[COPY_BYTES];
    crypto_hash_sha256_state hash;
    ssize_t n;

    *ret = (struct copied){0};
    crypto_hash_sha256_init(&hash);
    while ((n = read(from, bytes, sizeof(bytes))) > 0) {
        crypto_hash_sha256_update(&hash, bytes, (unsigned long long)n);
        ret->bytes += n;
        if (to >= 0 && write(to, bytes, (size_t)n) != n)
            return fail_errno(e, ERR_IO, "writing");
    }
    sodium_memzero(bytes, sizeof(bytes));
    if (n < 0)
        return fail_errno(e, ERR_IO, "reading");
    crypto_hash_sha256_final(&hash, ret->digest);
    if (to >= 0 && fsync(to) != 0)
        return fail_errno(e, ERR_IO, "writing");
    return ERR_OK;
}

/* The copy is new and ours alone. ERR_NOT_FOUND when there is nothing to copy. */
static enum err
copy_file(int from_dir, int to_dir, const char *name, struct copied *ret, struct error *e)
{
    AUTO_CLOSE int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_CLOSE int to = -1;

    if (from < 0 && errno == ENOENT)
        return fail(e, ERR_NOT_FOUND, "there is no %s", name);
    if (from >= 0)
        to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (to < 0)
        return fail_errno(e, ERR_IO, "copying %s", name);
    return copy_bytes(from, to, ret, e) == ERR_OK ? ERR_OK : (wrap(e, "copying %s", name), e->code);
}

static enum err
digest_file(int dir, const char *name, struct copied *ret, struct error *e)
{
    AUTO_CLOSE int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return fail_errno(e, ERR_IO, "the backup's %s cannot be read", name);
    return copy_bytes(fd, -1, ret, e);
}

static void
note_file(json_t *list, const char *name, const struct copied *c)
{
    json_array_append_new(list,
        json_pack("{s:s, s:I, s:o}", "name", name, "bytes", (json_int_t)c->bytes, "sha256",
            json_hex(c->digest, sizeof(c->digest))));
}

static enum err
tables_of(const char *path, json_t **ret, struct error *e)
{
    AUTO(arena_done) struct arena arena;
    struct copy_table *tables;
    struct store *store;
    enum err err;
    size_t n;

    if (store_open(str_from_cstr(path), &store, e) != ERR_OK)
        return e->code;
    arena_init(&arena);
    err = store_digest(store, &arena, &tables, &n, e);
    if (err == ERR_OK) {
        *ret = json_array();
        for (size_t i = 0; i < n; i++)
            json_array_append_new(*ret,
                json_pack("{s:s, s:I, s:o}", "table", tables[i].name, "rows",
                    (json_int_t)tables[i].rows, "sha256",
                    json_hex(tables[i].digest, COPY_DIGEST_BYTES)));
    }
    store_close(store);
    return err;
}

static enum err
make_store_copy(
    const struct backup_wish *w, int dir, json_t *list, json_t **ret_tables, struct error *e)
{
    char path[4096];
    struct copied c;

    snprintf(path, sizeof(path), "%s/" STORE, w->folder);
    if (store_backup(w->store, str_from_cstr(path), e) != ERR_OK ||
        tables_of(path, ret_tables, e) != ERR_OK || digest_file(dir, STORE, &c, e) != ERR_OK)
        return e->code;
    note_file(list, STORE, &c);
    return ERR_OK;
}

static enum err
write_manifest(int dir, const json_t *manifest, struct error *e)
{
    AUTO_CLOSE int fd = openat(dir, MANIFEST, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0 || json_dumpfd(manifest, fd, JSON_INDENT(2)) != 0 || write(fd, "\n", 1) != 1 ||
        fsync(fd) != 0 || fsync(dir) != 0)
        return fail_errno(e, ERR_IO, "writing " MANIFEST);
    return ERR_OK;
}

static void
remove_all(int dir)
{
    for (int i = 0; i < FILES_N; i++)
        unlinkat(dir, files[i].name, 0);
    unlinkat(dir, STORE, 0);
    unlinkat(dir, STORE "-wal", 0);
    unlinkat(dir, STORE "-shm", 0);
    unlinkat(dir, STORE ".lock", 0);
    unlinkat(dir, MANIFEST, 0);
}

static enum err
fill(const struct backup_wish *w, int state, int dir, json_t **ret, struct error *e)
{
    AUTO_JSON json_t *list = json_array();
    AUTO_JSON json_t *tables = NULL;
    enum err err = ERR_OK;

    for (int i = 0; i < FILES_N && err == ERR_OK; i++) {
        struct copied c;

        if (files[i].is_key && w->without_keys)
            continue;
        err = copy_file(state, dir, files[i].name, &c, e);
        if (err == ERR_OK)
            note_file(list, files[i].name, &c);
        else if (err == ERR_NOT_FOUND) /* an admin token that was taken away, say */
            err = ERR_OK;
    }
    if (err == ERR_OK && !w->without_store)
        err = make_store_copy(w, dir, list, &tables, e);
    if (err != ERR_OK)
        return err;
    *ret = json_pack("{s:i, s:s, s:I, s:i, s:b, s:O, s:O?}", "format", BACKUP_MANIFEST_FORMAT,
        "purser", PURSER_VERSION, "made_at", (json_int_t)clock_ms(), "migration",
        store_version_known(), "keys", !w->without_keys, "files", list, "tables", tables);
    return write_manifest(dir, *ret, e);
}

enum err
backup_dir_make(const struct backup_wish *w, json_t **ret_manifest, struct error *e)
{
    AUTO_CLOSE int state = open(w->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int dir = -1;

    if (state < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the state directory %s", w->state);
    if (mkdir(w->folder, 0700) != 0)
        return fail_errno(e, errno == EEXIST ? ERR_CONFLICT : ERR_IO,
            "%s cannot be made; a backup gets a new folder", w->folder);
    dir = open(w->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fail_errno(e, ERR_IO, "opening %s", w->folder);
    if (fill(w, state, dir, ret_manifest, e) == ERR_OK)
        return ERR_OK;
    remove_all(dir);
    rmdir(w->folder);
    return e->code;
}

static enum err
read_manifest(int dir, const char *folder, json_t **ret, struct error *e)
{
    AUTO_CLOSE int fd = openat(dir, MANIFEST, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    AUTO_BUF struct buf text;
    char *room;
    ssize_t n = 0;

    buf_init(&text, BACKUP_MANIFEST_MAX_BYTES);
    while (fd >= 0 && (room = buf_reserve(&text, COPY_BYTES)) != NULL &&
        (n = read(fd, room, COPY_BYTES)) > 0)
        buf_grown(&text, (size_t)n);
    if (fd < 0 || n < 0)
        return fail_errno(e, ERR_INVALID_REQUEST, "%s is no backup: reading " MANIFEST, folder);
    if (!buf_ok(&text))
        return fail(e, ERR_INVALID_REQUEST, "%s is no backup: " MANIFEST " is too large", folder);
    return backup_manifest_parse(buf_str(&text), folder, store_version_known(), ret, e);
}

static bool
is_ours(const char *name)
{
    for (int i = 0; i < FILES_N; i++) {
        if (strcmp(name, files[i].name) == 0)
            return true;
    }
    return strcmp(name, STORE) == 0;
}

/* Copies what the manifest names, and compares what was copied with it. */
static enum err
restore_files(int dir, int state, const json_t *manifest, struct error *e)
{
    const json_t *list = json_object_get(manifest, "files");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *file = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(file, "name"));
        const char *expected = json_string_value(json_object_get(file, "sha256"));
        char hex[2 * crypto_hash_sha256_BYTES + 1];
        struct copied c;

        if (!is_ours(name))
            return fail(
                e, ERR_INVALID_REQUEST, MANIFEST " names a file that is no part of a backup");
        if (copy_file(dir, state, name, &c, e) != ERR_OK)
            return e->code;
        sodium_bin2hex(hex, sizeof(hex), c.digest, sizeof(c.digest));
        if (strcmp(hex, expected) != 0)
            return fail(e, ERR_CONFLICT,
                "%s is not what was backed up: its SHA-256 differs. Take another backup", name);
    }
    return fsync(state) == 0 ? ERR_OK : fail_errno(e, ERR_IO, "writing the state directory");
}

static enum err
compare_tables(const char *state, const json_t *manifest, struct error *e)
{
    const json_t *expected = json_object_get(manifest, "tables");
    AUTO_JSON json_t *found = NULL;
    char path[4096];

    if (!json_is_array(expected))
        return ERR_OK;
    snprintf(path, sizeof(path), "%s/" STORE, state);
    if (tables_of(path, &found, e) != ERR_OK)
        return e->code;
    if (json_integer_value(json_object_get(manifest, "migration")) == store_version_known() &&
        !json_equal(expected, found))
        return fail(e, ERR_CONFLICT, "the restored store does not hold what was backed up");
    return ERR_OK;
}

static enum err
nothing_there(int state, const char *path, struct error *e)
{
    for (int i = 0; i <= FILES_N; i++) {
        const char *name = i < FILES_N ? files[i].name : STORE;

        if (faccessat(state, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
            return fail(e, ERR_CONFLICT,
                "%s holds %s already: restore into a new state directory, nothing is overwritten",
                path, name);
    }
    return ERR_OK;
}

enum err
backup_dir_restore(const char *folder, const char *path, json_t **ret, struct error *e)
{
    AUTO_CLOSE int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    AUTO_CLOSE int state = -1;
    AUTO_JSON json_t *manifest = NULL;

    if (dir < 0)
        return fail_errno(e, ERR_NOT_FOUND, "the backup %s", folder);
    if (read_manifest(dir, folder, &manifest, e) != ERR_OK)
        return e->code;
    if (mkdir(path, 0711) != 0 && errno != EEXIST)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the state directory %s cannot be made", path);
    state = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return fail_errno(e, ERR_STATE_UNUSABLE, "the state directory %s", path);
    if (nothing_there(state, path, e) != ERR_OK)
        return e->code;
    if (restore_files(dir, state, manifest, e) != ERR_OK ||
        compare_tables(path, manifest, e) != ERR_OK) {
        remove_all(state);
        return e->code;
    }
    *ret = TAKE(manifest);
    return ERR_OK;
}
