/*
 * The recorder's file: made with all its space allocated, mapped by purserd, grown and shrunk at its
 * end while workers write it.
 */
#ifndef LEDGER_RECORDER_FILE_H
#define LEDGER_RECORDER_FILE_H

#include "base/ids.h"
#include "core/recorder.h"

struct recorder_file {
    int fd;
    size_t bytes; /* mapped: also what it may grow into */
    struct recorder recorder;
};

struct recorder_file_options {
    struct str path;
    uint32_t slots; /* wanted in all */
    struct id node;
    uint32_t uid; /* whose the file is, so that the workers can open it; 0: ours */
};

/*
 * An existing file is taken as it is. It is made anew for the wanted size when it is empty and no
 * worker has it. ERR_STATE_UNUSABLE when it cannot be made, or holds calls in another layout: those
 * are for the purser that wrote them.
 */
enum err recorder_file_open(
    const struct recorder_file_options *o, struct recorder_file *ret, struct error *e) MUST_CHECK;
void recorder_file_close(struct recorder_file *f);

/*
 * Towards so many slots, in whole lanes, while workers write. It grows at once, and an error leaves
 * it as it was. It shrinks as far as the lanes at its end are free and nobody's: until *ret_reached,
 * call it again. Nobody else may read slots of f meanwhile.
 */
enum err recorder_file_resize(
    struct recorder_file *f, uint32_t slots, bool *ret_reached, struct error *e) MUST_CHECK;

/* Tries for the lock that a living worker holds on its lane. */
bool recorder_file_lock(const struct recorder_file *f, uint32_t lane);
void recorder_file_unlock(const struct recorder_file *f, uint32_t lane);

#endif
