/* The OpenAI dialects' part of answer.h, and what both files need to write JSON. */
#ifndef SIM_ANSWER_OPENAI_H
#define SIM_ANSWER_OPENAI_H

#include "sim/answer.h"

/* s as a JSON string, quotes included. */
void sim_answer_string(struct buf *b, struct str s);
/* The name the answer carries: the vendor serves whatever it is asked for, unless told otherwise.
 */
const char *sim_answer_model(const struct sim_ask *a);

void sim_chat_json(struct buf *b, const struct sim_ask *a, uint64_t id);
/* One chunk of a stream; role and text may be NULL. last: it says why the answer ends. */
void sim_chat_chunk(struct buf *b, const struct sim_ask *a, uint64_t id, const char *role,
    const struct str *text, bool last);
void sim_chat_tail(struct buf *b, const struct sim_ask *a, uint64_t id);

enum sim_part { SIM_PART_EMPTY, SIM_PART_FULL };
void sim_responses_object(struct buf *b, const struct sim_ask *a, uint64_t id, enum sim_part part);
void sim_responses_head(struct buf *b, const struct sim_ask *a, uint64_t id);
void sim_responses_delta(struct buf *b, uint64_t id, int64_t index, struct str text);
void sim_responses_tail(struct buf *b, const struct sim_ask *a, uint64_t id);

void sim_embeddings_json(struct buf *b, const struct sim_ask *a);

#endif
