/*
 * A container engine that speaks Docker's API on a Unix socket (Docker, podman). Only what an
 * agent's container needs. Nothing secret goes through here: neither into the engine's API nor into
 * what it stores (see container.h).
 */
#ifndef LAUNCH_ENGINE_H
#define LAUNCH_ENGINE_H

#include "base/error.h"
#include "base/ids.h"

struct engine_mount {
    struct str from; /* on this machine. No ':' in either path */
    struct str to;
    bool read_only;
};

struct engine_container {
    struct str name;
    struct str image;
    struct str program; /* entry point, inside */
    struct str
        network; /* "bridge", "host", "none", a network's name; empty: the engine's default */
    struct id workspace, start; /* labels */
    uint32_t uid, gid;          /* 0: the image's own user */
    int64_t memory_bytes;       /* 0: no limit, for all three */
    int64_t cpu_millis;         /* thousandths of a processor */
    int64_t processes;
    const struct engine_mount *mounts;
    size_t mounts_n;
};

struct engine_state {
    bool exists;
    bool running;
    int pid; /* as this machine sees it; 0: none */
    int exit_code;
};

/* One line of what the engine says while it fetches an image. */
typedef void engine_progress_fn(void *ctx, struct str line);

/* socket: the path of the engine's API. Errors are ERR_LAUNCH_FAILED with the engine's sentence. */
enum err engine_has_image(
    const char *socket, struct str image, bool *ret, struct error *e) MUST_CHECK;
/* Fetches the image; minutes may pass. progress may be NULL. */
enum err engine_pull(const char *socket, struct str image, engine_progress_fn *progress, void *ctx,
    struct error *e) MUST_CHECK;
enum err engine_create(
    const char *socket, const struct engine_container *c, struct error *e) MUST_CHECK;
enum err engine_start(const char *socket, struct str name, struct error *e) MUST_CHECK;
/* A container that is not there is a state, not an error. */
enum err engine_inspect(
    const char *socket, struct str name, struct engine_state *ret, struct error *e) MUST_CHECK;
/* Kills what runs in it and takes it away. ERR_OK: it is not there (any more). */
enum err engine_remove(const char *socket, struct str name, struct error *e) MUST_CHECK;

#endif
