/* The wire dialects an agent may speak, and how a vendor wants its credential. */
#ifndef CORE_DIALECT_H
#define CORE_DIALECT_H

#include "core/str.h"

enum dialect {
    DIALECT_ANTHROPIC,         /* POST {base}/v1/messages; base without /v1 */
    DIALECT_OPENAI_CHAT,       /* POST {base}/chat/completions; base with /v1 */
    DIALECT_OPENAI_RESPONSES,  /* POST {base}/responses; base with /v1 */
    DIALECT_OPENAI_EMBEDDINGS, /* POST {base}/embeddings; base with /v1 */
    DIALECT_COUNT
};

enum auth_header {
    AUTH_HEADER_NONE,
    AUTH_HEADER_X_API_KEY,    /* x-api-key: KEY */
    AUTH_HEADER_BEARER,       /* Authorization: Bearer KEY */
    AUTH_HEADER_API_KEY,      /* api-key: KEY */
    AUTH_HEADER_X_GOOG,       /* x-goog-api-key: KEY */
    AUTH_HEADER_OAUTH_BEARER, /* Bearer plus the vendor's OAuth beta header */
    AUTH_HEADER_COUNT
};

/* "anthropic", "openai-chat", "openai-responses", "openai-embeddings": as the registry file spells them. */
struct str dialect_name(enum dialect d);
bool dialect_from_name(struct str name, enum dialect *ret);
struct str auth_header_name(enum auth_header h);
bool auth_header_from_name(struct str name, enum auth_header *ret);

#endif
