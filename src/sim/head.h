/* The HTTP/1.1 frame of a request: its head and where its body ends. */
#ifndef SIM_HEAD_H
#define SIM_HEAD_H

#include "base/buf.h"

#include <stdint.h>

enum { SIM_BODY_MAX = 64 * 1024 * 1024 };

/* Views into the request's bytes. */
struct sim_head {
    struct str method, target, path; /* path: the target without its query */
    struct str key;                  /* x-api-key, or the Bearer token */
    struct str wish;                 /* x-sim */
    struct str headers;              /* all header lines */
    size_t bytes;                    /* of the head, blank line included */
    int64_t content_length;          /* -1: none */
    bool http_1_0, close, chunked, expect_continue, upgrade, anthropic;
};

enum sim_head_result { SIM_HEAD_OK, SIM_HEAD_MORE, SIM_HEAD_BAD };

/* Where a body stands while it arrives. Zero it for each request. */
struct sim_body {
    size_t from, bytes; /* the body, once whole */
    size_t at;          /* first byte behind what was taken: the next request starts here */
};

/* Reads the head at the start of text. */
enum sim_head_result sim_head_parse(struct str text, struct sim_head *ret);
/*
 * Looks whether the whole body is among the n bytes at p, which begin with the head; call again
 * when there are more. Chunks are joined in place.
 */
enum sim_head_result sim_body_take(
    struct sim_body *body, const struct sim_head *h, char *p, size_t n);
/* Digits only; -1 for anything else. */
int64_t sim_number(struct str digits);

#endif
