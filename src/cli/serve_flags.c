#include "cli/serve_flags.h"

#include <unistd.h>

void
serve_flags_init(struct serve_flags *f)
{
    size_t n;
    const struct setting *rows = settings_table(&n);

    *f = (struct serve_flags){0};
    serve_flags_add(
        f, (struct option){"config", "FILE", "settings file (PURSER_CONFIG)", .text = &f->config});
    for (size_t i = 0; i < n; i++)
        serve_flags_add(f,
            (struct option){rows[i].name, rows[i].argument, rows[i].help, .text = &f->values[i]});
}

void
serve_flags_add(struct serve_flags *f, struct option o)
{
    ENSURE(f->options_n < SERVE_OPTIONS_MAX);
    f->options[f->options_n++] = o;
}

struct settings_input
serve_flags_input(struct serve_flags *f)
{
    const char *config = getenv("PURSER_CONFIG");

    if (f->config == NULL && config != NULL && config[0] != '\0')
        f->config = config;
    return (struct settings_input){
        .config = f->config, .environment = (const char *const *)environ, .flags = f->values};
}

size_t
serve_flags_arguments(const struct serve_flags *f, struct arena *a, const char **ret, size_t max)
{
    size_t rows_n, n = 0;
    const struct setting *rows = settings_table(&rows_n);

    ENSURE(max >= rows_n + 2);
    if (f->config != NULL)
        ret[n++] = arena_printf(a, "--config=%s", f->config).p;
    for (size_t i = 0; i < rows_n; i++) {
        if (f->values[i] != NULL)
            ret[n++] = arena_printf(a, "--%s=%s", rows[i].name, f->values[i]).p;
    }
    ret[n] = NULL;
    return n;
}
