/*
 * "What would purser decide?" from names alone, without a store or a server: a scenario in, the
 * decision with its trace and the environment plan out. Behind `purser explain` and `registry
 * diff`.
 */
#ifndef REGISTRY_SCENARIO_H
#define REGISTRY_SCENARIO_H

#include "base/arena.h"
#include "core/envplan.h"
#include "registry/registry_load.h"

#include <jansson.h>

enum { SCENARIO_NAMES_MAX = 256 };

struct scenario {
    struct str runtime, model;
    bool override_present;
    struct str override_raw;
    bool auth_given; /* otherwise the secrets imply the auth names */
    struct str auth[SCENARIO_NAMES_MAX];
    size_t auth_n;
    struct env_secret secrets[SCENARIO_NAMES_MAX];
    size_t secrets_n;
    bool gateway; /* the gateway is there, with a key for every upstream */
    bool refuse_shadowed;
    int64_t now_ms; /* for prices in force */
};

/* Holds pointers into itself and into the scenario: do not copy it. */
struct scenario_result {
    struct billing_facts facts;
    struct billing_decision decision;
    struct derive_trace trace;
    struct env_plan_facts plan_facts;
    struct env_plan plan;
    struct env_row rows[ENV_PLAN_ROWS_MAX];
    struct str implied_auth[SCENARIO_NAMES_MAX];
};

/* Without secrets, auth names or override; the gateway is there. */
void scenario_init(struct scenario *s, struct str runtime, struct str model, int64_t now_ms);
/* Of two scopes of one name the workspace's wins. ERR_USAGE when there are too many. */
enum err scenario_add_secret(struct scenario *s, struct arena *a, struct str name,
    enum env_scope scope, struct error *e) MUST_CHECK;
enum err scenario_add_auth(struct scenario *s, struct str name, struct error *e) MUST_CHECK;

void scenario_decide(
    const struct scenario *s, struct registry_set *set, struct scenario_result *ret);

/*
 * One line of `purser explain --batch`: {"runtime", "model", "auth", "override", "secrets",
 * "gateway"}, all but the first two optional. ERR_USAGE on anything else. Texts go to the arena.
 */
enum err scenario_from_json(struct scenario *s, struct arena *a, struct str line, int64_t now_ms,
    struct error *e) MUST_CHECK;
/* A new reference: {provider, resolved_mode, source, error, refusal, warnings, env}. */
json_t *scenario_answer(const struct scenario_result *result);

#endif
