#include "core/dialect.h"

static const struct str dialect_names[DIALECT_COUNT] = {
    [DIALECT_ANTHROPIC] = STR_INIT("anthropic"),
    [DIALECT_OPENAI_CHAT] = STR_INIT("openai-chat"),
    [DIALECT_OPENAI_RESPONSES] = STR_INIT("openai-responses"),
    [DIALECT_OPENAI_EMBEDDINGS] = STR_INIT("openai-embeddings"),
};

static const struct str header_names[AUTH_HEADER_COUNT] = {
    [AUTH_HEADER_NONE] = STR_INIT("none"),
    [AUTH_HEADER_X_API_KEY] = STR_INIT("x-api-key"),
    [AUTH_HEADER_BEARER] = STR_INIT("bearer"),
    [AUTH_HEADER_API_KEY] = STR_INIT("api-key"),
    [AUTH_HEADER_X_GOOG] = STR_INIT("x-goog-api-key"),
    [AUTH_HEADER_OAUTH_BEARER] = STR_INIT("oauth-bearer"),
};

struct str
dialect_name(enum dialect d)
{
    return dialect_names[d];
}

bool
dialect_from_name(struct str name, enum dialect *ret)
{
    for (int d = 0; d < DIALECT_COUNT; d++) {
        if (str_equal(name, dialect_names[d])) {
            *ret = (enum dialect)d;
            return true;
        }
    }
    return false;
}

struct str
auth_header_name(enum auth_header h)
{
    return header_names[h];
}

bool
auth_header_from_name(struct str name, enum auth_header *ret)
{
    for (int h = 0; h < AUTH_HEADER_COUNT; h++) {
        if (str_equal(name, header_names[h])) {
            *ret = (enum auth_header)h;
            return true;
        }
    }
    return false;
}
