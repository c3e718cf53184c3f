#include "cli/store_flags.h"

size_t
store_flags_options(struct store_flags *f, struct option *ret)
{
    ret[0] = (struct option){"store", "URL",
        "SQLite file or postgresql://... (default: what the settings say)", .text = &f->store};
    ret[1] = (struct option){"state", "DIR",
        "the state directory whose store is meant (PURSER_STATE)", .text = &f->state};
    ret[2] = (struct option){"config", "FILE", "settings file (PURSER_CONFIG)", .text = &f->config};
    return STORE_FLAGS_OPTIONS;
}

enum err
store_flags_url(struct store_flags *f, struct error *e)
{
    struct serve_flags flags;
    struct settings_input input;
    size_t n;
    const struct setting *rows = settings_table(&n);

    if (f->store != NULL) {
        f->url = str_from_cstr(f->store);
        return ERR_OK;
    }
    serve_flags_init(&flags);
    flags.config = f->config;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, "state") == 0)
            flags.values[i] = f->state;
    }
    input = serve_flags_input(&flags);
    if (settings_load(&input, &f->settings, e) != ERR_OK)
        return e->code;
    f->loaded = true;
    f->url = str_from_cstr(f->settings.store);
    return ERR_OK;
}

void
store_flags_done(struct store_flags *f)
{
    if (f->loaded)
        settings_done(&f->settings);
}
