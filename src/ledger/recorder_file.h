/* The recorder's file: made once with all its space allocated, mapped by purserd. */
#ifndef LEDGER_RECORDER_FILE_H
#define LEDGER_RECORDER_FILE_H

#include "base/ids.h"
#include "core/recorder.h"

struct recorder_file {
    int fd;
    size_t bytes;
    struct recorder recorder;
};

struct recorder_file_options {
    struct str path;
    uint32_t slots; /* wanted in all; what is in use keeps its size */
    struct id node;
    uint32_t uid; /* whose the file is, so that the workers can open it; 0: ours */
};

/*
 * An existing file is taken as it is, and made anew with the wanted size when it is empty and no
 * worker has it. ERR_STATE_UNUSABLE when it cannot be made, or is in use in another layout.
 */
enum err recorder_file_open(
    const struct recorder_file_options *o, struct recorder_file *ret, struct error *e) MUST_CHECK;
void recorder_file_close(struct recorder_file *f);

/* Tries for the lock that a living worker holds on its lane. */
bool recorder_file_lock(const struct recorder_file *f, uint32_t lane);
void recorder_file_unlock(const struct recorder_file *f, uint32_t lane);

#endif
