/* Secrets come from stdin or from a prompt that does not echo: never from the command line. */
#ifndef CLI_SECRET_INPUT_H
#define CLI_SECRET_INPUT_H

#include "vault/secret.h"

/*
 * The whole of stdin without its last line end; from a terminal one line, asked for by name.
 * ERR_USAGE when nothing comes, or more than 64 KiB.
 */
enum err secret_input(const char *name, struct secret **ret, struct error *e) MUST_CHECK;
/* A whole file, "-": stdin; at most 1 MiB. ERR_USAGE when it cannot be read or is larger. */
enum err secret_input_file(const char *path, struct secret **ret, struct error *e) MUST_CHECK;

#endif
