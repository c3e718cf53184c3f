/*
 * The environment of `purser run`: what the server handed out, and the few names that may come from
 * the caller: a short list of harmless ones where the plan leaves them open, and those that
 * --inherit names. Nothing else of the caller's environment gets in, and no inherited name replaces
 * what the decision set or took away.
 */
#ifndef CLI_RUN_ENV_H
#define CLI_RUN_ENV_H

#include "base/error.h"

#include <jansson.h>

struct run_env {
    char **entries; /* "NAME=value", NULL at the end; for execve */
    size_t n;
};

/*
 * answer: of POST /workspaces/:id/runs. inherit: "PATH,HOME", may be NULL. home: set as HOME unless
 * it is inherited; NULL: none. ERR_USAGE for a name that may not be inherited.
 */
enum err run_env_make(const json_t *answer, const char *inherit, const char *home,
    struct run_env *ret, struct error *e) MUST_CHECK;
/* Wipes the values. */
void run_env_done(struct run_env *env);
/* Is name in the list? */
bool run_env_inherits(const char *inherit, const char *name);

static inline void
run_env_cleanup(struct run_env *env)
{
    run_env_done(env);
}
#define AUTO_RUN_ENV __attribute__((cleanup(run_env_cleanup)))

#endif
