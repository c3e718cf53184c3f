/*
 * The built-in fake vendor and the demo client. The vendor speaks Anthropic Messages and the OpenAI
 * dialects over plain HTTP/1.1, checks the key it is called with, behaves as a call asks it to
 * (header x-sim or "sim: ..." in the last user message, see ask.h) and remembers what it delivered
 * (truth.h): GET /__sim/stats is what a ledger is held against. It is for demos, tests and
 * benchmarks; it knows nothing of purser.
 *
 * One thread, one epoll: thousands of paced streams cost little.
 */
#ifndef SIM_SIM_H
#define SIM_SIM_H

#include "base/error.h"

struct sim_key {
    const char *key;  /* NUL-terminated; only its digest and last four characters are kept */
    const char *name; /* how stats call it, usually the provider */
};

struct sim_options {
    const char *listen; /* "127.0.0.1:PORT"; port 0 takes a free one; NULL: 127.0.0.1:0 */
    const struct sim_key *keys;
    size_t keys_n;
    bool accept_any_key; /* any non-empty key is good; each gets a line of its own in stats */
    size_t calls_kept;   /* how many ended calls stats lists; 0: 10,000 */
};

struct sim;

/*
 * Binds, then serves in a thread of its own until sim_stop. ERR_USAGE for a bad address,
 * ERR_PORT_IN_USE, ERR_IO. Options are copied.
 */
enum err sim_start(const struct sim_options *o, struct sim **ret, struct error *e) MUST_CHECK;
/* Ends every connection and frees. NULL is fine. */
void sim_stop(struct sim *s);
/* "http://127.0.0.1:8099", no path; valid until sim_stop. */
const char *sim_url(const struct sim *s);

/*
 * purser sim [--listen 127.0.0.1:PORT] [--key KEY@NAME ...] [--accept-any-key] [--calls N]
 * argv[0] is "sim". Prints its URL as the first line of stdout when it is ready; serves until
 * SIGINT or SIGTERM. `sim call ...` goes to sim_call_main. Returns the exit code.
 */
int sim_main(int argc, char **argv);
/*
 * purser sim call [PROMPT]: one streamed call, told by nothing but its environment:
 * ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY; the model from
 * ANTHROPIC_MODEL, MOLECULE_MODEL or MODEL. argv[0] is "call". The answer goes to stdout, a line
 * with the usage to stderr. Returns 0, 1 (the vendor's sentence on stderr) or 2 (an environment
 * without what it needs).
 */
int sim_call_main(int argc, char **argv);

#endif
