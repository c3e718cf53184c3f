/*
 * What agents say of themselves, through the real route into a real store: whatever members follow
 * the id, the answer is 200 or a refusal, and the workspace can be read afterwards. The first byte
 * says which of the three messages it is.
 */
#include "api/world.h"

#include "base/buf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum { BODY_MAX = 1 << 20 };

static struct world *world;
static char workspace[ID_TEXT_BYTES], token[128];

static void
close_world(void)
{
    world_teardown((void **)&world);
}

static void
open_world(void)
{
    AUTO_ANSWER struct answer made = {0};
    AUTO_ANSWER struct answer key = {0};

    world_setup((void **)&world);
    atexit(close_world);
    made = ask(world, "POST", "/workspaces", "{\"name\":\"e\",\"runtime\":\"external\"}");
    snprintf(workspace, sizeof(workspace), "%s", answer_text(&made, "id"));
    key = ask(world, "POST", path_of(workspace, "/tokens"), "{}");
    snprintf(token, sizeof(token), "%s", answer_text(&key, "auth_token"));
    ENSURE(workspace[0] != '\0' && token[0] != '\0');
}

static void
say(const char *path, const char *id_field, struct str members)
{
    AUTO_ANSWER struct answer a = {0};
    AUTO_ANSWER struct answer after = {0};
    AUTO_BUF struct buf body;

    buf_init(&body, BODY_MAX);
    buf_addf(&body, "{\"%s\":\"%s\"%.*s}", id_field, workspace, STR_ARG(members));
    if (!buf_ok(&body))
        return;
    a = ask_with(world, token, NULL, NULL, "POST", path, buf_cstr(&body));
    ENSURE(a.status == 200 || (a.status >= 400 && a.status < 500));
    after = ask(world, "GET", path_of(workspace, ""), NULL);
    ENSURE(after.status == 200 && json_is_object(after.json));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct str members = {(const char *)data + (n > 0), n - (n > 0)};

    if (world == NULL)
        open_world();
    if (n > 0 && data[0] == 'r')
        say("/registry/register", "id", members);
    else if (n > 0 && data[0] == 'c')
        say("/registry/update-card", "workspace_id", members);
    else
        say("/registry/heartbeat", "workspace_id", members);
    return 0;
}
