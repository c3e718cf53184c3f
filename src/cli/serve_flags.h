/* The settings as flags: what `purser up` and `purser serve` have in common. */
#ifndef CLI_SERVE_FLAGS_H
#define CLI_SERVE_FLAGS_H

#include "cli/options.h"
#include "daemon/settings.h"

enum { SERVE_OPTIONS_MAX = SETTINGS_MAX + 8 };

struct serve_flags {
    const char *config;
    const char *values[SETTINGS_MAX]; /* one per row of the settings' table */
    struct option options[SERVE_OPTIONS_MAX];
    size_t options_n;
};

/* Makes an option of --config and of every setting. The caller may add its own behind them. */
void serve_flags_init(struct serve_flags *f);
void serve_flags_add(struct serve_flags *f, struct option o);
/* What settings_load() needs; points into f. The environment counts, PURSER_CONFIG included. */
struct settings_input serve_flags_input(struct serve_flags *f);
/*
 * The flags again, as arguments for another purser: fills ret, NULL-ended, and returns their
 * number.
 */
size_t serve_flags_arguments(
    const struct serve_flags *f, struct arena *a, const char **ret, size_t max);

#endif
