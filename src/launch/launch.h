/*
 * Running agents: takes a finished environment, starts one shim per agent, watches and stops them.
 * Knows nothing of billing, stores or HTTP. Agents outlive purserd; launcher_open() finds them
 * again.
 *
 * What is guaranteed:
 * - A workspace has at most one shim, and a shim at most one agent: the shim holds a lock on the
 *   workspace's run file from before the agent exists until all of the agent's processes are gone.
 * - purserd may die at any instant. A shim that had taken its lock by then goes on and is found
 *   again; one that had not starts nothing.
 * - A shim may die at any instant. Its agent is then killed as soon as purserd notices (at once, or
 *   in launcher_open) and reported with exit code 137: nobody keeps an agent that nobody watches.
 *   A process is killed only when it is proven to be the agent's, by pid and start time or by a uid
 *   that only this workspace has; what left the agent's session while the agent shared purserd's
 *   uid, and lost its parent, cannot be proven and is left alone.
 * - The end of every start that launch_start() reported as good is given to on_exit at least once,
 *   also when it came while no purserd was there; the start id tells repetitions. Only a purserd
 *   that dies right after starting the workspace anew may take the earlier end with it.
 *
 * All functions may be called from any thread.
 */
#ifndef LAUNCH_LAUNCH_H
#define LAUNCH_LAUNCH_H

#include "base/ids.h"
#include "vault/secret.h"

struct launcher;
struct buf;

/* Uids of this range belong to one workspace each: what runs under one may be killed with it. */
enum { LAUNCH_UID_FIRST = 200000, LAUNCH_UID_LAST = 1199999 };

static inline bool
launch_uid_is_private(uint32_t uid)
{
    return uid >= LAUNCH_UID_FIRST && uid <= LAUNCH_UID_LAST;
}

/* One variable of the agent's environment, in order. Exactly one of literal/secret is used. */
struct launch_env {
    struct str name;
    struct str literal;
    const struct secret
        *secret; /* borrowed; NULL: literal. Scrubbed from the log from 8 bytes on */
};

/* 0: the default of the launcher. What a launcher cannot limit it leaves alone. */
struct launch_limits {
    int64_t memory_bytes; /* a process: of its data (each); a container: of all of it */
    int64_t cpu_millis;   /* thousandths of a processor; containers only */
    int64_t processes;
    int64_t files; /* open at a time; processes only */
};

/* The agent runs in a container of this image instead of on the machine itself. */
struct launch_container {
    struct str image;
    struct str
        network; /* "bridge", "host", "none", a network's name; empty: the engine's default */
};

/* A file in HOME, made before the agent runs with its uid and mode 0600: see launch/homefile.h. */
struct launch_file {
    struct str path;              /* below HOME */
    const struct secret *content; /* borrowed */
    uint8_t stamp[32];            /* of what it is made from */
    bool refreshed;               /* the agent renews it by itself */
    bool secret;                  /* all of it is one credential: it stays out of the log */
};

struct launch_spec {
    struct id workspace;
    struct id start;        /* id of this start: names the run in logs and events */
    const struct str *argv; /* a program without '/' is looked up in the PATH of env */
    size_t argv_n;
    const struct launch_env *env;
    size_t env_n;
    const struct launch_file *files; /* those of an earlier start that are not here are removed */
    size_t files_n;
    struct str home;     /* private HOME: made, owned by the agent's uid, mode 0700. Absolute */
    struct str work_dir; /* empty: home */
    uint32_t uid,
        gid; /* uid 0: do not switch (not running as root). gid 0 with a uid: same as uid */
    struct launch_limits limits;
    const struct launch_container *container; /* NULL: a process */
    bool sandbox; /* a process sees neither state nor run directory nor others' processes */
};

enum launch_state { LAUNCH_NONE, LAUNCH_STARTING, LAUNCH_RUNNING, LAUNCH_EXITED };

struct launch_status {
    enum launch_state state;
    struct id start;
    int pid;
    int exit_code; /* EXITED: code, or 128 + signal */
    int64_t started_ms;
    int64_t ended_ms;
};

struct launch_options {
    struct str run_dir;   /* sockets and run files: RUN/shims. Absolute */
    struct str state_dir; /* logs: STATE/agents/<workspace>/log. Absolute */
    struct str program;   /* path of the purser binary, for "_shim" */
    struct str engine;    /* the container engine's API socket; empty: no containers */
    struct str init;      /* path of purser-init; with an engine */
    struct str shim;      /* path of purser-shim; empty: program does its work, more slowly */
    struct str sandbox;   /* path of bubblewrap; empty: no sandbox */
};

/*
 * An agent ended, by itself or by launch_stop(). Called from the launcher's own thread, which goes
 * on only when this returns. launch_start() may be called from here, launch_stop() not.
 */
typedef void launch_exit_fn(void *ctx, struct id workspace, const struct launch_status *status);

/* Makes RUN/shims, finds living shims and what ended meanwhile. on_exit may come before this
 * returns. */
enum err launcher_open(const struct launch_options *o, launch_exit_fn *on_exit, void *ctx,
    struct launcher **ret, struct error *e) MUST_CHECK;
/* Lets go of the shims; the agents go on. NULL is fine. */
void launcher_close(struct launcher *l);

/* What is said while an image is fetched, a line at a time. */
typedef void launch_progress_fn(void *ctx, struct str line);

/*
 * Fetches the container's image when the engine does not have it: minutes may pass, launch_start()
 * then does not wait for it. progress may be NULL.
 */
enum err launch_prepare(struct launcher *l, const struct launch_container *c,
    launch_progress_fn *progress, void *ctx, struct error *e) MUST_CHECK;

/*
 * Returns when the agent was exec'ed (or could not be: ERR_LAUNCH_FAILED with a sentence, and no
 * on_exit). A workspace runs at most once: ERR_CONFLICT. ERR_ENVIRONMENT_TOO_LARGE above 128 KiB
 * for an entry or 1 MiB for all; ERR_INVALID_REQUEST for what cannot be in an environment or argv.
 */
enum err launch_start(
    struct launcher *l, const struct launch_spec *spec, struct error *e) MUST_CHECK;
/*
 * SIGTERM to the process group, SIGKILL after grace_ms; returns when all of it is gone. What the
 * agent's own process leaves behind is killed at once. Nothing running: ERR_OK.
 */
enum err launch_stop(
    struct launcher *l, struct id workspace, int64_t grace_ms, struct error *e) MUST_CHECK;
struct launch_status launch_status(struct launcher *l, struct id workspace);
/* Every workspace that has a shim. Returns how many there are; fills at most max. */
size_t launch_list(struct launcher *l, struct id *ret_workspaces, size_t max);
/*
 * Appends the tail of the agent's log, at most max_bytes, secrets scrubbed. The last bytes may be
 * missing while the agent runs: what may yet turn out to be a secret is held back.
 */
enum err launch_log(struct launcher *l, struct id workspace, size_t max_bytes, struct buf *out,
    struct error *e) MUST_CHECK;
/* The workspace was removed: drops its status, run file and log. Running: ERR_CONFLICT. */
enum err launch_forget(struct launcher *l, struct id workspace, struct error *e) MUST_CHECK;

#endif
