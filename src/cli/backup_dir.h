/*
 * A backup: a folder (0700) with a copy of the store, the files of the state directory without
 * which the copy is of no use, and backup.json, which names each with size and SHA-256 and tells
 * counts and digests of the store's tables.
 */
#ifndef CLI_BACKUP_DIR_H
#define CLI_BACKUP_DIR_H

#include "base/error.h"

#include <jansson.h>

struct backup_wish {
    struct str store; /* URL of the store */
    const char *state;
    const char *folder;
    bool without_store; /* PostgreSQL: its own tools do it */
    bool without_keys;  /* leave out what opens the secrets */
};

/* Makes folder, which must not exist. *ret_manifest is backup.json. */
enum err backup_dir_make(
    const struct backup_wish *wish, json_t **ret_manifest, struct error *e) MUST_CHECK;
/*
 * Puts a backup into a state directory that has none of its files yet. Every file is compared with
 * the manifest before, the restored store with its digests after; on failure nothing is left.
 */
enum err backup_dir_restore(
    const char *folder, const char *state, json_t **ret_manifest, struct error *e) MUST_CHECK;

#endif
