/*
 * Files in an agent's HOME, for runtimes that variables alone do not steer. The registry holds their
 * lines with references ("${model}"); here a line becomes pieces: literals, and names of variables
 * whose values are joined in at the last moment, as every other value is. No value is ever in here.
 */
#ifndef CORE_ENVFILE_H
#define CORE_ENVFILE_H

#include "core/registry.h"

/* What a line may refer to. */
enum env_reference {
    ENV_REF_MODEL,          /* ${model}: the effective model */
    ENV_REF_PROVIDER,       /* ${provider}: the resolved provider's name */
    ENV_REF_BASE_URL,       /* ${base_url}: the gateway's, the workspace's own or the provider's */
    ENV_REF_CREDENTIAL,     /* ${credential}: the credential's value */
    ENV_REF_CREDENTIAL_ENV, /* ${credential_env}: the name of the variable that holds it */
    ENV_REF_COUNT
};

enum env_part_of {
    ENV_PART_LITERAL,
    ENV_PART_VARIABLE,        /* the value of the variable named by text */
    ENV_PART_WORKSPACE_TOKEN, /* this start's workspace token; text is empty */
};

struct env_part {
    enum env_part_of of;
    struct str text;
    bool quoted; /* stands in double quotes: to be escaped as JSON and TOML want it */
};

/* ENV_FILES_MAX: of the registry; a plan may have ours besides. */
enum { ENV_FILES_MAX = 4, ENV_PLAN_FILES_MAX = ENV_FILES_MAX + 1, ENV_FILE_PARTS_MAX = 48 };

/* Below HOME: the folder that is ours alone, and the file with the start's workspace token. */
#define ENV_OWN_FOLDER ".purser"
#define ENV_WORKSPACE_TOKEN_FILE ENV_OWN_FOLDER "/workspace-token"

struct env_file {
    struct str path; /* below HOME; made with mode 0600 */
    bool refreshed;  /* the agent rewrites it: written only when what it is made from changed */
    bool secret;     /* all of it is one credential: it stays out of the log */
    struct env_part parts[ENV_FILE_PARTS_MAX];
    size_t parts_n;
};

/* What the references stand for in one plan. */
struct env_file_facts {
    const struct registry *registry;
    const struct registry_runtime *runtime;
    struct str provider; /* "platform" on platform_managed */
    struct env_part of[ENV_REF_COUNT];
};

/*
 * The files of this runtime for this provider. Returns how many; they point into the registry and
 * the facts. ENV_FILES_MAX and ENV_FILE_PARTS_MAX hold for every registry that loads.
 */
size_t env_files_make(const struct env_file_facts *f, struct env_file ret[static ENV_FILES_MAX]);

/* How a line goes on. */
enum env_scan { ENV_SCAN_END, ENV_SCAN_REFERENCE, ENV_SCAN_UNKNOWN };

/*
 * The next reference of a line: before is the literal in front of it (at the end: all that is left),
 * line moves behind it. ENV_SCAN_UNKNOWN: "${" without a name we know and "}".
 */
enum env_scan env_file_scan(
    struct str *line, struct str *ret_before, enum env_reference *ret, bool *ret_quoted);

/* Does the file refer to it? */
bool env_file_refers(
    const struct registry *r, const struct registry_file *file, enum env_reference wanted);

#endif
