/*
 * Files in an agent's HOME that purser makes and takes away again. Written as the agent's user, so
 * that whatever the agent put in the way (links, folders) leads nowhere it could not go itself; each
 * is complete or not there, mode 0600. What was made is noted outside of HOME, in the file "files":
 * a file that no longer applies is removed, and one that the agent renews by itself is written again
 * only when what it is made from changed.
 */
#ifndef LAUNCH_HOMEFILE_H
#define LAUNCH_HOMEFILE_H

#include "base/error.h"

#include <stdint.h>

enum { HOMEFILE_STAMP_BYTES = 32, HOMEFILES_MAX = 8, HOMEFILE_PATH_MAX = 255 };

struct homefile {
    const char *path; /* below HOME, without ".." */
    struct str content;
    unsigned char stamp[HOMEFILE_STAMP_BYTES]; /* of what it is made from */
    bool refreshed;
    bool secret; /* all of it is one credential */
};

struct homefile_place {
    const char *home;  /* is there already */
    int notes;         /* the folder of the notes; only we can write there */
    uint32_t uid, gid; /* whose files they are; uid 0: ours */
};

/* After this HOME has exactly these of our files. ERR_LAUNCH_FAILED names the one that cannot be. */
enum err homefile_sync(const struct homefile_place *place, const struct homefile *files, size_t n,
    struct error *e) MUST_CHECK;

/* The workspace was removed: so are the notes. */
void homefile_forget(int notes);

#endif
