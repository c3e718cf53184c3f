/* Who asks: a bearer token becomes a principal by one look-up of its digest in the store. */
#ifndef API_AUTH_H
#define API_AUTH_H

#include "store/store.h"

/* Bits, as a route lists who may use it. */
enum {
    WHO_OPEN = 1, /* nobody in particular */
    WHO_ADMIN = 2,
    WHO_ORG = 4,        /* an org token that may write */
    WHO_ORG_READ = 8,   /* an org token that may only read */
    WHO_WORKSPACE = 16, /* a workspace's token, for its own workspace */
    WHO_AGENT = 64,     /* the same, made for one start: it makes no credential that outlives it */
    WHO_USAGE = 32,     /* a usage token: it may see what its workspace spent, and no more */
    WHO_SELF = WHO_WORKSPACE | WHO_AGENT,
};

struct principal {
    unsigned who;        /* exactly one bit of the above */
    struct id token;     /* zero: none */
    struct id org;       /* zero: the admin, until he chose one */
    struct id workspace; /* zero: not bound to one */
    bool suspended;      /* its org is */
};

/*
 * header is the Authorization header. ERR_UNAUTHORIZED when it is missing, malformed, unknown,
 * revoked or expired.
 */
enum err auth_principal(
    struct store *s, struct str header, struct principal *ret, struct error *e) MUST_CHECK;

/* A new credential's text and digest. ret_text must be wiped by the caller. */
struct auth_token_text {
    char text[TOKEN_TEXT_BYTES + 1];
    uint8_t digest[TOKEN_DIGEST_BYTES];
};

/*
 * Makes the admin token when there is none: a store row, and its text in STATE/admin-token (0600).
 * Says nothing about the token's text. When a row exists nothing is done.
 */
enum err auth_bootstrap_admin(struct store *s, struct str state_dir, struct error *e) MUST_CHECK;

/*
 * A new admin token in the place of every one before, in the store and in STATE/admin-token; the old
 * one is worth nothing when this returns. The caller wipes ret_text.
 */
enum err auth_admin_rotate(struct store *s, struct str state_dir, struct auth_token_text *ret_text,
    struct error *e) MUST_CHECK;
/*
 * For the owner of STATE who lost the admin token: writes a new one to STATE/admin-token.new, which
 * nobody else can. auth_admin_adopt() puts it in force: when purserd starts (within
 * auth_bootstrap_admin()), or at once when it gets SIGUSR1. A crash at any point is made good by
 * calling it again. *ret_adopted: there was one.
 */
enum err auth_admin_offer(
    struct str state_dir, struct auth_token_text *ret_text, struct error *e) MUST_CHECK;
enum err auth_admin_adopt(
    struct store *s, struct str state_dir, bool *ret_adopted, struct error *e) MUST_CHECK;

void auth_token_make(enum token_kind kind, struct auth_token_text *ret);
void auth_token_wipe(struct auth_token_text *t);

#endif
