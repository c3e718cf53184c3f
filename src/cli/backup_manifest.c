#include "cli/backup_manifest.h"

static const char *
text_of(const json_t *o, const char *name)
{
    return json_string_value(json_object_get(o, name));
}

static bool
files_check(const json_t *files)
{
    const json_t *file;
    size_t i;

    json_array_foreach(files, i, file)
    {
        if (text_of(file, "name") == NULL || text_of(file, "sha256") == NULL)
            return false;
    }
    return json_is_array(files);
}

enum err
backup_manifest_parse(
    struct str text, const char *folder, int known_migration, json_t **ret, struct error *e)
{
    json_t *j = json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES, NULL);
    const json_t *format = json_object_get(j, "format");
    const json_t *migration = json_object_get(j, "migration");
    const char *by = text_of(j, "purser");
    enum err err = ERR_OK;

    if (!json_is_integer(format) || !json_is_integer(migration))
        err = fail(
            e, ERR_INVALID_REQUEST, "%s is no backup: it has no readable " BACKUP_MANIFEST, folder);
    else if (json_integer_value(format) != BACKUP_MANIFEST_FORMAT ||
        json_integer_value(migration) > known_migration)
        err = fail(e, ERR_STORE_TOO_NEW,
            "the backup was made by a later purser (%.40s): use that version",
            by != NULL ? by : "it does not say which");
    else if (!files_check(json_object_get(j, "files")))
        err = fail(e, ERR_INVALID_REQUEST,
            "%s is no backup: the list of files in " BACKUP_MANIFEST " is broken", folder);
    if (err == ERR_OK)
        *ret = j;
    else
        json_decref(j);
    return err;
}
