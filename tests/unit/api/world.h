/*
 * A whole control plane for a test: real store, vault, registry and HTTP over a Unix socket in a
 * directory of its own. Only the gateway and the agents' processes are stood in for (world.c),
 * since what is tested here is what the API asks of them.
 */
#ifndef TEST_API_WORLD_H
#define TEST_API_WORLD_H

#include "api/impl.h"
#include "registry/registry_load.h"
#include "store/decision_row.h"
#include "store/event_row.h"

#include <jansson.h>

struct world {
    char dir[64];
    struct store *store;
    struct vault *vault;
    struct registry_set *registry;
    struct api *api;
    char admin[TOKEN_TEXT_BYTES + 1];
    char org[ID_TEXT_BYTES];   /* slug "demo" */
    char other[ID_TEXT_BYTES]; /* slug "other" */
    unsigned made;             /* workspaces: "w1", "w2" ... */
};

/* What the stand-ins saw and how they behave. */
struct stand_in {
    bool gateway_present;
    bool has_platform_key;
    enum err publish_error, launch_error;
    int published, revoked, launched, stopped, settled;
    uint8_t digest[32];
    char models[512];
    /* The environment of the last start, "NAME=value\n" ... */
    char env[16384];
    char argv[1024];
    struct launch_status status; /* of the one workspace that runs */
    struct id running;
    /* Called once, then forgotten: while a start is planned, and before one is stopped. */
    void (*on_plan)(void);
    void (*on_stop)(void);
    void (*on_revoke)(void);
};
extern struct stand_in stand_in;

/* cmocka set-up and tear-down; *state is a struct world. */
int world_setup(void **state);
int world_teardown(void **state);
/* Stops the API and makes a new one on the same store, as a restart of purserd does. */
void world_restart(struct world *w);

struct answer {
    int status;
    json_t *json; /* NULL: no body */
    char head[4096];
};
void answer_done(struct answer *a);
#define AUTO_ANSWER __attribute__((cleanup(answer_done)))

/*
 * One request. token NULL: none. org NULL: no X-Molecule-Org-Id. body NULL: none. headers: further
 * lines, each with \r\n, or NULL.
 */
struct answer ask_with(struct world *w, const char *token, const char *org, const char *headers,
    const char *method, const char *path, const char *body);
/* As the admin of the demo org. */
struct answer ask(struct world *w, const char *method, const char *path, const char *body);

const char *answer_text(const struct answer *a, const char *key); /* "" when it is no string */
/* status and "code" of an error. */
#define assert_answer(a, expected_status, expected_code)                                           \
    do {                                                                                           \
        const struct answer *a_ = &(a);                                                            \
        if (a_->status != (expected_status) ||                                                     \
            strcmp(answer_text(a_, "code"), (expected_code)) != 0) {                               \
            char *dump_ = json_dumps(a_->json, JSON_INDENT(1));                                    \
            fail_msg("got %d %s, expected %d %s", a_->status, dump_ == NULL ? "-" : dump_,         \
                (expected_status), (expected_code));                                               \
        }                                                                                          \
    } while (0)

/* A workspace of the demo org that is not started; its id goes to ret. */
void make_workspace(struct world *w, const char *fields, char ret[static ID_TEXT_BYTES]);
/* Fields of a workspace that runs on the platform's key. */
#define PLATFORM_MODEL "\"model\":\"anthropic/claude-opus-4-7\",\"command\":\"agent -x\""

/* What the store has about a workspace of the demo org. */
struct look {
    struct id org, workspace;
    struct arena arena;
    struct decision_row *decisions;
    size_t decisions_n;
    struct event_row *events;
    size_t events_n;
    int64_t live_tokens;
};
struct look look(struct world *w, const char *id);
void look_done(struct look *l);

/* Waits until the workspace's row says so. */
void wait_status(struct world *w, const char *id, const char *status);
/* "/workspaces/<id><tail>" in a buffer of the call's own; good for the next few calls. */
const char *path_of(const char *id, const char *tail);
/* Waits until the condition holds (bounded). */
#define wait_until(condition)                                                                      \
    do {                                                                                           \
        int64_t until_ = clock_monotonic_ms() + 10000;                                             \
        while (!(condition)) {                                                                     \
            assert_true(clock_monotonic_ms() < until_);                                            \
            usleep(2000);                                                                          \
        }                                                                                          \
    } while (0)

#endif
