/*
 * Texts that an agent sends about itself, before they are kept or shown: the values of its
 * workspace's secrets and every credential of our own form are taken out. As in its log, a secret
 * that was encoded or cut in pieces is not recognised.
 */
#ifndef API_REDACT_H
#define API_REDACT_H

#include "api/gather.h"

/* Zero-initialised but for call and workspace. Opens the secrets when there is a text to see. */
struct redactor {
    struct call *call;
    struct id workspace;
    bool loaded;
    bool failed; /* they cannot be opened: then no text is kept at all */
    struct gathered gathered;
};

/* The result lives in the request's arena. */
struct str redact(struct redactor *r, struct str text);
/* A new reference; of every text in it, the names of members too. */
json_t *redact_json(struct redactor *r, json_t *value);
void redactor_done(struct redactor *r);
#define AUTO_REDACTOR AUTO(redactor_done)

#endif
