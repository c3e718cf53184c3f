/*
 * What the fake vendor says, in each dialect's own shape. Answers are whole (answer_json) or come
 * in steps: step 0 is the head of the stream, steps 1..events carry the text, the step behind them
 * closes it.
 */
#ifndef SIM_ANSWER_H
#define SIM_ANSWER_H

#include "sim/ask.h"

/* The body of a whole answer of any kind but stats. */
void sim_answer_json(struct buf *b, const struct sim_ask *a, uint64_t id);
/* The vendor's way to say no. */
void sim_answer_error(struct buf *b, bool openai, int status, const char *message);

/* The server-sent events of one step. */
void sim_answer_head(struct buf *b, const struct sim_ask *a, uint64_t id);
/* index counts from 0 to events - 1. */
void sim_answer_delta(struct buf *b, const struct sim_ask *a, uint64_t id, int64_t index);
void sim_answer_tail(struct buf *b, const struct sim_ask *a, uint64_t id);
/* An error event, as overload in mid-stream looks. */
void sim_answer_broken(struct buf *b, const struct sim_ask *a);

/* Tokens of the text in the first n deltas. */
int64_t sim_answer_generated(const struct sim_ask *a, int64_t n);
/* Does step 0 already tell the prompt's tokens? Only Anthropic's does. */
bool sim_answer_head_has_usage(const struct sim_ask *a);
/* Does the end tell them? */
bool sim_answer_tail_has_usage(const struct sim_ask *a);

#endif
