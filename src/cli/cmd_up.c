#include "cli/cmd.h"
#include "cli/demo.h"
#include "cli/serve_flags.h"
#include "daemon/up.h"

struct up_flags {
    struct serve_flags serve;
    bool demo, once;
    const char *sim_listen;
};

static size_t
row_of(const char *name)
{
    size_t n;
    const struct setting *rows = settings_table(&n);

    for (size_t i = 0; i < n; i++) {
        if (strcmp(rows[i].name, name) == 0)
            return i;
    }
    ENSURE(!"the setting is in the table");
    return 0;
}

static int
run(struct up_flags *f, const struct settings *settings, struct demo *demo)
{
    const char *arguments[SETTINGS_MAX + 3];
    struct up_options o = {.settings = settings, .serve_arguments = arguments};
    struct arena arena;
    int exit_code;

    arena_init(&arena);
    if (demo != NULL) {
        f->serve.values[row_of("vendor_override_url")] = demo_vendor_url(demo);
        o.serving = demo_run;
        o.serving_ctx = demo;
    }
    serve_flags_arguments(&f->serve, &arena, arguments, SETTINGS_MAX + 2);
    exit_code = up_run(&o);
    if (exit_code == EXIT_OK && f->once && !demo_print_result(demo))
        exit_code = EXIT_FAILED; /* somebody stopped it before its end */
    arena_done(&arena);
    return exit_code;
}

static int
run_with_settings(struct up_flags *f)
{
    struct settings_input input = serve_flags_input(&f->serve);
    struct settings settings;
    struct demo *demo = NULL;
    struct error e;
    enum err err = settings_load(&input, &settings, &e);
    int exit_code;

    if (err != ERR_OK)
        return cmd_fail(&e);
    if (f->demo)
        err = demo_new(
            &(struct demo_options){
                .settings = &settings, .sim_listen = f->sim_listen, .once = f->once},
            &demo, &e);
    exit_code = err == ERR_OK ? run(f, &settings, demo) : cmd_fail(&e);
    demo_free(demo);
    settings_done(&settings);
    return exit_code;
}

int
cmd_up(int argc, char **argv)
{
    static const char summary[] =
        "Starts everything on this machine and supervises it: purserd, nginx with purser's "
        "gateway,\n"
        "and the agents. Ctrl-C stops all of it, agents first. Settings come from the file, then\n"
        "PURSER_<NAME> in the environment, then these flags.";
    struct up_flags f = {0};
    struct command_line line;
    struct arguments a;
    struct error e;
    int exit_code;

    serve_flags_init(&f.serve);
    serve_flags_add(&f.serve,
        (struct option){
            "demo", NULL, "with the built-in fake vendor and a first agent", .flag = &f.demo});
    serve_flags_add(&f.serve,
        (struct option){
            "once", NULL, "with --demo: stop after the agent's call, print JSON", .flag = &f.once});
    serve_flags_add(&f.serve,
        (struct option){"sim-listen", "ADDR:PORT", "with --demo: where the fake vendor listens",
            .text = &f.sim_listen});
    line = (struct command_line){"purser up", "", summary, f.serve.options, f.serve.options_n};
    if (!options_read(&line, argc, argv, &a, &exit_code))
        return exit_code;
    if (!f.demo && (f.once || f.sim_listen != NULL)) {
        fail(&e, ERR_USAGE, "--once and --sim-listen belong to --demo");
        return cmd_fail(&e);
    }
    return run_with_settings(&f);
}
