/* backup.json: what is taken names its files in full; all else is refused with a sentence. */
#include "cli/backup_manifest.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str text = {(const char *)data, n};
    json_t *manifest = NULL;
    const json_t *file;
    struct error e;
    size_t i;

    if (backup_manifest_parse(text, "folder", 4, &manifest, &e) != ERR_OK) {
        ENSURE(manifest == NULL && e.text[0] != '\0');
        return 0;
    }
    ENSURE(json_integer_value(json_object_get(manifest, "migration")) <= 4);
    json_array_foreach(json_object_get(manifest, "files"), i, file)
    {
        ENSURE(json_is_string(json_object_get(file, "name")) &&
            json_is_string(json_object_get(file, "sha256")));
    }
    json_decref(manifest);
    return 0;
}
