#include "cli/cmd.h"
#include "cli/serve_flags.h"
#include "daemon/serve.h"

int
cmd_serve(int argc, char **argv)
{
    static const char summary[] =
        "Runs purserd alone, in the foreground: for systemd, beside an nginx of its own that uses\n"
        "RUN/nginx.conf. SIGTERM leaves the agents, SIGINT stops them, SIGHUP reads the registry "
        "anew.\n"
        "Settings come from the file, then PURSER_<NAME> in the environment, then these flags.";
    struct settings_input input;
    struct command_line line;
    struct serve_flags flags;
    struct arguments a;
    int exit_code;

    serve_flags_init(&flags);
    line = (struct command_line){"purser serve", "", summary, flags.options, flags.options_n};
    if (!options_read(&line, argc, argv, &a, &exit_code))
        return exit_code;
    input = serve_flags_input(&flags);
    return serve_run(&input);
}
