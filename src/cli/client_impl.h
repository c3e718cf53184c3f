/* What the files of the client share: its inside, and one request's beginning and end. */
#ifndef CLI_CLIENT_IMPL_H
#define CLI_CLIENT_IMPL_H

#include "cli/client.h"

#include <curl/curl.h>

enum { CLIENT_ANSWER_MAX = 64 << 20 };

struct client {
    CURL *curl;
    char *server;
    char *org;    /* id or slug; NULL: not chosen */
    char *header; /* one more header line; NULL: none */
    struct secret *token;
};

/* Of every request; with the token in it, so it is freed by client_headers_free(), which wipes. */
struct curl_slist *client_headers(const struct client *c);
void client_headers_free(struct curl_slist *headers);
/* Sets what every request has. headers and detail stay the caller's until it is through. */
void client_set_up(struct client *c, const char *path, struct curl_slist *headers,
    char detail[static CURL_ERROR_SIZE]);
/* There is no answer: why, and what to do about it. detail is curl's own sentence. */
enum err client_no_answer(
    const struct client *c, CURLcode code, const char *detail, struct error *e) MUST_CHECK;
/* An answer that says no, as an error. */
enum err client_refusal(long status, const json_t *answer, struct error *e) MUST_CHECK;
/* Nobody chose an org: an admin means the only one there is. */
enum err client_choose_only_org(struct client *c, struct error *e) MUST_CHECK;

#endif
