#include "cli/workspace_ref.h"

#include "api/json.h"

enum err
workspace_ref(struct client *c, const char *text, char ret[static ID_TEXT_BYTES], struct error *e)
{
    AUTO_JSON json_t *answer = NULL;
    const json_t *row;
    const char *found = NULL;
    size_t i, hits = 0;
    struct id id;
    enum err err;

    if (id_parse(str_from_cstr(text), &id)) {
        id_text(id, ret);
        return ERR_OK;
    }
    err = client_call(c, "GET", "/workspaces", NULL, &answer, e);
    if (err != ERR_OK)
        return err;
    json_array_foreach(client_rows(answer), i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));

        if (name != NULL && strcmp(name, text) == 0) {
            found = json_string_value(json_object_get(row, "id"));
            hits++;
        }
    }
    if (found == NULL)
        return fail(e, ERR_NOT_FOUND, "there is no workspace \"%s\" (purser workspace list)", text);
    if (hits > 1)
        return fail(
            e, ERR_CONFLICT, "%zu workspaces are called \"%s\": name one by its id", hits, text);
    snprintf(ret, ID_TEXT_BYTES, "%s", found);
    return ERR_OK;
}
