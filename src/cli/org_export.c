#include "cli/org_export.h"

#include "api/json.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>

enum err
org_export_save(struct client *c, const char *path, const char *file, struct error *e)
{
    AUTO_FCLOSE FILE *out = NULL;
    AUTO_CLOSE int fd = -1;
    enum err err;

    if (file == NULL)
        return client_download(c, path, stdout, e);
    fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    out = fd < 0 ? NULL : fdopen(fd, "w");
    if (out == NULL)
        return fail_errno(e, ERR_IO, "making %s", file);
    (void)TAKE_FD(fd);
    err = client_download(c, path, out, e);
    if (err == ERR_OK && fflush(out) != 0)
        err = fail_errno(e, ERR_IO, "writing %s", file);
    if (err != ERR_OK)
        unlink(file);
    return err;
}

/* All lines but the last one are hashed as they are read. */
enum err
org_export_digest(const char *file, char ret[static 65], struct error *e)
{
    AUTO_FCLOSE FILE *in = fopen(file, "re");
    AUTO_FREE char *line = NULL;
    AUTO_JSON json_t *last = NULL;
    crypto_hash_sha256_state state;
    uint8_t digest[crypto_hash_sha256_BYTES];
    size_t room = 0;
    ssize_t n;

    if (in == NULL)
        return fail_errno(e, ERR_USAGE, "reading %s", file);
    crypto_hash_sha256_init(&state);
    while ((n = getline(&line, &room, in)) > 0) {
        if (strncmp(line, "{\"end\":", 7) == 0) {
            last = json_loadb(line, (size_t)n, 0, NULL);
            break;
        }
        crypto_hash_sha256_update(&state, (const uint8_t *)line, (size_t)n);
    }
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(ret, 65, digest, sizeof(digest));
    if (last == NULL)
        return fail(
            e, ERR_INVALID_REQUEST, "%s is no whole export: its last line is missing", file);
    if (strcmp(ret, json_string_value(json_object_get(last, "sha256")) ?: "") != 0)
        return fail(
            e, ERR_INVALID_REQUEST, "%s was altered: it does not have the digest it names", file);
    return ERR_OK;
}
