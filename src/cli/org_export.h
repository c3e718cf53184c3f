/* Exports of an org as files: written whole or not at all, and read again for their digest. */
#ifndef CLI_ORG_EXPORT_H
#define CLI_ORG_EXPORT_H

#include "cli/client.h"

/* To standard output when file is NULL; otherwise to a new file of mode 0600. */
enum err org_export_save(
    struct client *c, const char *path, const char *file, struct error *e) MUST_CHECK;
/* The digest its last line names, in hex. ERR_INVALID_REQUEST when the lines before are not that. */
enum err org_export_digest(const char *file, char ret[static 65], struct error *e) MUST_CHECK;

#endif
