/* Can it be launched at all? Asked before a shim gets the order. */
#ifndef LAUNCH_ORDER_CHECK_H
#define LAUNCH_ORDER_CHECK_H

#include "launch/launch.h"

/*
 * ERR_INVALID_REQUEST, ERR_ENVIRONMENT_TOO_LARGE; ERR_LAUNCH_FAILED when this machine has not what
 * the agent is to run in.
 */
enum err order_check(
    const struct launch_spec *spec, const struct launch_options *o, struct error *e) MUST_CHECK;

/* The value of a variable, a secret's too. */
static inline struct str
launch_env_value(const struct launch_env *env)
{
    return env->secret != NULL ? secret_expose(env->secret) : env->literal;
}

#endif
