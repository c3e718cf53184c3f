/* Tokens for workspaces and orgs, made once and shown once. */
#ifndef API_TOKEN_H
#define API_TOKEN_H

#include "api/impl.h"

enum { TOKENS_LIVE_MAX = 50 };

/* A new token of workspace of c->org. ERR_TOO_MANY_TOKENS. The caller wipes ret_text. */
enum err token_mint_workspace(struct call *c, struct id workspace, struct auth_token_text *ret_text,
    struct id *ret_id, struct error *e) MUST_CHECK;

#endif
