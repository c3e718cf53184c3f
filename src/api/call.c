/* The answers of handlers, and the one way in which an error becomes JSON. */
#include "api/routes.h"

enum err
call_answer(struct call *c, int status, json_t *answer)
{
    json_decref(c->http->answer);
    c->http->status = status;
    c->http->answer = answer;
    return ERR_OK;
}

/* What may be wrong inside us is for the log, not for the client. */
static const char *
fixed_sentence(enum err code)
{
    switch (code) {
    case ERR_STORE_UNAVAILABLE:
        return "the store is not available; try again shortly";
    case ERR_INTERNAL:
    case ERR_OUT_OF_MEMORY:
    case ERR_IO:
    case ERR_STORE_TOO_NEW:
    case ERR_STATE_LOCKED:
    case ERR_STATE_UNUSABLE:
    case ERR_MASTER_KEY_UNREADABLE:
        return "something went wrong inside the server; its log says what";
    default:
        return NULL;
    }
}

void
call_fail(struct call *c, const struct error *e)
{
    const char *fixed = fixed_sentence(e->code);
    struct str sentence = fixed != NULL ? str_from_cstr(fixed) : str_from_cstr(e->text);
    json_t *answer = json_object();

    if (err_http_status(e->code) >= 500) {
        log_error("api", "%s %s failed code=%s: %s", http_method_name(c->http->method),
            c->route == NULL ? "-" : c->route->pattern, err_name(e->code), e->text);
    }
    json_object_set_new(answer, "error", json_str(sentence));
    json_object_set_new(answer, "code", json_string(err_name(e->code)));
    if (c->error_fields != NULL) {
        json_object_update(answer, c->error_fields);
        json_decref(c->error_fields);
        c->error_fields = NULL;
    }
    if (e->code == ERR_STORE_UNAVAILABLE)
        http_header_set(c->http, "Retry-After", STR("2"));
    (void)call_answer(c, err_http_status(e->code), answer);
}

void
call_error_field(struct call *c, const char *name, json_t *value)
{
    if (c->error_fields == NULL)
        c->error_fields = json_object();
    json_object_set_new(c->error_fields, name, value);
}

enum err
call_body(struct call *c, bool optional, struct error *e)
{
    if (c->body != NULL)
        return ERR_OK;
    if (optional && str_is_blank(c->http->body)) {
        c->body = json_object();
        return ERR_OK;
    }
    return json_object_parse(c->http->body, &c->body, e);
}

enum err
call_not_found(enum err code, const char *sentence, struct error *e)
{
    return code == ERR_NOT_FOUND ? fail(e, ERR_NOT_FOUND, "%s", sentence) : code;
}
