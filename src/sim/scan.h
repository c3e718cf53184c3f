/*
 * Walks JSON text in place: no tree, no copy, one pass. For request bodies of up to 64 MB of which
 * a few values matter. A syntax error makes every later step say "no more" and sets bad.
 */
#ifndef SIM_SCAN_H
#define SIM_SCAN_H

#include "base/buf.h"

struct sim_scan {
    const char *p, *end;
    bool bad;
};

void sim_scan_init(struct sim_scan *s, struct str text);
/* The type of the value that comes next: one of { [ " t f n 0 (a number), or 0 at the end. */
char sim_scan_peek(struct sim_scan *s);
/* Steps into an object or array, then from member to member; false behind the last one. */
bool sim_scan_enter(struct sim_scan *s, char open);
/* *first is true before the first call. ret_key is raw, as between the quotes. */
bool sim_scan_member(struct sim_scan *s, bool *first, struct str *ret_key);
bool sim_scan_element(struct sim_scan *s, bool *first);
/* Takes the next value: raw text without the quotes of a string. */
struct str sim_scan_value(struct sim_scan *s);
/* True when nothing but white space is left. */
bool sim_scan_at_end(struct sim_scan *s);

/* Does a raw string, escapes resolved, equal plain? */
bool sim_scan_equals(struct str raw, struct str plain);
/* Appends a raw string with its escapes resolved (UTF-8). */
void sim_scan_unescape(struct buf *b, struct str raw);

#endif
