/* backup.json, the list of a backup's files: read from a folder that anybody may have written. */
#ifndef CLI_BACKUP_MANIFEST_H
#define CLI_BACKUP_MANIFEST_H

#include "base/error.h"

#include <jansson.h>

#define BACKUP_MANIFEST "backup.json"

enum { BACKUP_MANIFEST_FORMAT = 1, BACKUP_MANIFEST_MAX_BYTES = 1 << 20 };

/*
 * An object of our format whose migration this purser knows, with "files": each has the texts
 * "name" and "sha256". folder is named in errors. ERR_INVALID_REQUEST when it is none of ours,
 * ERR_STORE_TOO_NEW when a later purser made it.
 */
enum err backup_manifest_parse(struct str text, const char *folder, int known_migration,
    json_t **ret, struct error *e) MUST_CHECK;

#endif
