/* Usage for people: tables with spark lines, CSV, statements. */
#ifndef CLI_USAGE_PRINT_H
#define CLI_USAGE_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* An answer of GET /usage or GET /workspaces/:id/usage, grouped or not. */
void usage_print(const json_t *answer);
/*
 * Its rows (entries, groups, orgs or a statement's lines), one a line, with a head line. by: what
 * the groups are by, as it was asked for; may be NULL.
 */
void usage_print_csv(const json_t *answer, const char *by);
void usage_print_statement(const json_t *answer);

/* "2026-11-22", "2026-11-22T08:00:00Z", Unix milliseconds, or "7d" before now. Pure. */
bool usage_time_parse(const char *text, int64_t now_ms, int64_t *ret_ms);

#endif
