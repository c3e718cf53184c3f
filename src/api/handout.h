/*
 * What a plan becomes when it is handed out, to a start or to a run: the environment and the files
 * with their values joined in, and the usage token where the mode needs one. The only place where a
 * plan's names meet secrets.
 */
#ifndef API_HANDOUT_H
#define API_HANDOUT_H

#include "api/plan.h"
#include "store/token_row.h"

/* Zero-initialised. */
struct handout {
    struct auth_token_text token; /* empty while handout_token() was not called */
    struct token_row token_row;
    struct secret *token_secret;
    struct launch_env *env; /* in the plan's order */
    size_t env_n;
    struct launch_file *files;
    size_t files_n;
    struct secret *contents[ENV_FILES_MAX];
};

/* What starts and runs have in common; all of it outlives the handout. */
struct handout_source {
    struct api *api;
    struct arena *arena;
    const struct gathered *gathered; /* with values */
    const struct plan *plan;
    struct id decision;
    int64_t expires_ms; /* of the token; 0: when the start ends */
};

/* Makes the token and its row, neither stored nor published yet. Nothing when the plan needs none. */
enum err handout_token(
    const struct handout_source *s, struct handout *h, struct error *e) MUST_CHECK;
/* Tells the gateway of the token, if there is one. */
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
