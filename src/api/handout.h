/*
 * What a plan becomes when it is handed out, to a start or to a run: the environment and the files
 * with their values joined in, the usage token where the mode needs one, and a start's workspace
 * token. The only place where a
 * plan's names meet secrets.
 */
#ifndef API_HANDOUT_H
#define API_HANDOUT_H

#include "api/plan.h"
#include "store/token_row.h"

/* A token that is made for one start or run. */
struct handout_token {
    struct auth_token_text text;
    struct token_row row;
    struct secret *secret; /* NULL: the plan needs none */
};

/* Zero-initialised. */
struct handout {
    struct handout_token usage; /* what the agent calls the gateway with */
    struct handout_token own;   /* the workspace's: what it registers and reports with */
    struct launch_env *env;     /* in the plan's order */
    size_t env_n;
    struct launch_file *files;
    size_t files_n;
    struct secret *contents[ENV_PLAN_FILES_MAX];
};

/* What starts and runs have in common; all of it outlives the handout. */
struct handout_source {
    struct api *api;
    struct arena *arena;
    const struct gathered *gathered; /* with values */
    const struct plan *plan;
    struct id decision;
    int64_t expires_ms; /* of the tokens; 0: when the start ends */
};

/* Makes the tokens that the plan needs, and their rows; neither stored nor published yet. */
enum err handout_tokens(
    const struct handout_source *s, struct handout *h, struct error *e) MUST_CHECK;
/* Stores them. */
enum err handout_store_tx(struct store_tx *tx, const struct handout *h, struct error *e) MUST_CHECK;
/* Tells the gateway of the usage token, if there is one. */
enum err handout_publish(
    const struct handout_source *s, const struct handout *h, struct error *e) MUST_CHECK;
/* Joins the values in. Views point into the gathered values and into h. */
enum err handout_join(
    const struct handout_source *s, struct handout *h, struct error *e) MUST_CHECK;
void handout_done(struct handout *h);
#define AUTO_HANDOUT __attribute__((cleanup(handout_done)))

/* Publishes a stored usage token (again). */
enum err handout_publish_row(
    struct api *a, struct arena *arena, const struct token_row *row, struct error *e) MUST_CHECK;

#endif
