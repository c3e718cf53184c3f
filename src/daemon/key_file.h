/* A random key in a file of our own, made when it is not there yet. */
#ifndef DAEMON_KEY_FILE_H
#define DAEMON_KEY_FILE_H

#include "base/error.h"

#include <stdint.h>

enum { KEY_FILE_BYTES = 32 };

/*
 * Reads 64 hexadecimal digits from path, a file of ours with mode 0600. Wipe ret when done with it.
 * ERR_STATE_UNUSABLE.
 */
enum err key_file_open(
    const char *path, uint8_t ret[static KEY_FILE_BYTES], struct error *e) MUST_CHECK;

#endif
