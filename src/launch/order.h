/*
 * What purserd tells a new shim: whom to run, as whom, where, with what. Sent once over the
 * inherited socket as ORDER_HEADER_BYTES of header and one body; strings are NUL-terminated on the
 * wire and environment entries have execve's form, so that nothing holding a secret is copied after
 * decoding. Decoding is pure and strict: every length is bounded and the body must be used up
 * exactly.
 */
#ifndef LAUNCH_ORDER_H
#define LAUNCH_ORDER_H

#include "launch/homefile.h"
#include "launch/record.h"

enum {
    ORDER_HEADER_BYTES = 8,
    ORDER_MAX_ARGS = 1024,
    ORDER_MAX_ENV = 1024,
    ORDER_MAX_PATH_BYTES = 4096,
    ORDER_MAX_NAME_BYTES = 255,
    ORDER_MAX_ENTRY_BYTES = 128 * 1024, /* the kernel's limit for one string, NUL included */
    ORDER_MAX_ENV_BYTES = 1024 * 1024,
    ORDER_MAX_ARGS_BYTES = 256 * 1024,
    ORDER_MAX_FILE_BYTES = 128 * 1024,
    ORDER_MAX_FILES_BYTES = HOMEFILES_MAX * (ORDER_MAX_FILE_BYTES + 1024),
    ORDER_MAX_BODY_BYTES =
        ORDER_MAX_ENV_BYTES + ORDER_MAX_ARGS_BYTES + ORDER_MAX_FILES_BYTES + 64 * 1024,
};

struct order_env {
    size_t name_n;
    size_t value_n; /* behind name and '=' */
    bool secret;
};

/* image empty: a process. */
struct order_container {
    const char *image;
    const char *network;
    const char *engine;
    const char *init;
};

/* Pointers lead into the decoded body. argv and envp end with NULL. */
struct order {
    struct id workspace;
    struct id start;
    uint32_t uid;
    uint32_t gid;
    const char *run_dir;
    const char *state_dir;
    const char *home;
    const char *work_dir;
    struct launch_limits limits;
    struct order_container container;
    const char *sandbox; /* path of bubblewrap; empty: none */
    size_t argv_n;
    size_t env_n;
    char *argv[ORDER_MAX_ARGS + 1];
    char *envp[ORDER_MAX_ENV + 1];
    struct order_env env[ORDER_MAX_ENV];
    size_t files_n;
    struct homefile files[HOMEFILES_MAX];
};

/* Header and body in locked memory. Errors as launch_start(). */
enum err order_encode(const struct launch_spec *spec, const struct launch_options *o,
    struct secret **ret, struct error *e) MUST_CHECK;
/* False for a header that is not ours or announces more than ORDER_MAX_BODY_BYTES. */
bool order_decode_header(const char header[static ORDER_HEADER_BYTES], size_t *ret_body_bytes);
/* False for anything but exactly what order_encode() makes; *ret is then undefined. */
bool order_decode(char *body, size_t n, struct order *ret);

/* What the shim answers, once: the agent was exec'ed (ERR_OK, record), or why not. */
enum { ORDER_ANSWER_BYTES = 4 + sizeof(((struct error *)0)->text) + RECORD_BYTES };

struct order_answer {
    struct error error;
    struct record record;
};

void order_answer_encode(
    const struct order_answer *a, unsigned char ret[static ORDER_ANSWER_BYTES]);
bool order_answer_decode(
    const unsigned char bytes[static ORDER_ANSWER_BYTES], struct order_answer *ret);

static inline bool
order_is_container(const struct order *o)
{
    return o->container.image[0] != '\0';
}

static inline struct str
order_env_name(const struct order *o, size_t i)
{
    return (struct str){o->envp[i], o->env[i].name_n};
}

static inline struct str
order_env_value(const struct order *o, size_t i)
{
    return (struct str){o->envp[i] + o->env[i].name_n + 1, o->env[i].value_n};
}

#endif
