/*
 * What one request asks of the fake vendor: the HTTP head, the few facts of the body that matter,
 * and the behaviour it wants.
 *
 * Behaviour comes as KEY=VALUE words, separated by blanks, in the header x-sim and, for agents that
 * cannot set headers, behind the last "sim:" of the last user message up to the end of that line.
 * A value with blanks stands in double quotes. Both may be given; the message wins. Keys:
 *   input= output= cache_read= cache_write_5m= cache_write_1h= reasoning=   tokens to report
 *   text="..."  answer with this text; words=N: a text of that many words
 *   model=NAME  the model the answer names
 *   events=N    content deltas of a stream (default: one a word)
 *   first_delay_ms=N delay_ms=N   before the first byte; between two events of a stream
 *   status=N retry_after=S        answer with that error
 *   die_before=1   close the socket instead of answering
 *   die_after=N    close it after N content deltas (JSON: in the middle of the body)
 *   cut_after=N    the same in the middle of the event behind them
 *   stall_after=N  say nothing more after N content deltas (JSON: never answer)
 *   error_after=N  an error event after N content deltas
 *   no_usage=1     never mention usage; late_usage=1: zeros first, the truth only at the end
 *   style=NAME     how a chat completion counts: choice (in the last choice, as Moonshot does),
 *                  hit_miss (as DeepSeek names them), beside (reasoning not in the output, as xAI
 *                  does), each (in every chunk, as far as it got)
 */
#ifndef SIM_ASK_H
#define SIM_ASK_H

#include "sim/head.h"

enum sim_kind {
    SIM_OTHER,
    SIM_HELLO, /* HEAD of anything: clients ask whether we are there */
    SIM_STATS,
    SIM_RESET,
    SIM_MODELS,
    SIM_COUNT_TOKENS,
    SIM_MESSAGES,
    SIM_CHAT,
    SIM_RESPONSES,
    SIM_EMBEDDINGS,
};

enum sim_style {
    SIM_STYLE_PLAIN,
    SIM_STYLE_CHOICE,
    SIM_STYLE_HIT_MISS,
    SIM_STYLE_BESIDE,
    SIM_STYLE_EACH,
    SIM_STYLE_COUNT
};

enum { SIM_MODEL_MAX = 127, SIM_TEXT_MAX = 1 << 20, SIM_EVENTS_MAX = 100000 };

struct sim_tokens {
    int64_t input, output, cache_read, cache_write_5m, cache_write_1h, reasoning;
};

struct sim_behaviour {
    struct sim_tokens tokens;
    int64_t words, events, first_delay_ms, delay_ms, status, retry_after;
    int64_t die_before, die_after, cut_after, stall_after, error_after, no_usage, late_usage;
    enum sim_style style;
    char model[SIM_MODEL_MAX + 1];
    struct buf text; /* the answer */
};

struct sim_ask {
    enum sim_kind kind;
    bool openai; /* which shape errors take */
    bool stream, include_usage;
    bool bad_json;
    char model[SIM_MODEL_MAX + 1];
    struct sim_behaviour b;
};

/* Judges path and method, reads the body, settles defaults. Release with sim_ask_done. */
void sim_ask_init(struct sim_ask *a, const struct sim_head *h, struct str body);
void sim_ask_done(struct sim_ask *a);

#endif
