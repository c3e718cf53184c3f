#include "sim/sim.h"

#include <signal.h>
#include <sys/resource.h>

static const char help[] =
    "usage: purser sim [--listen ADDRESS:PORT] [--key KEY@NAME ...] [--accept-any-key] [--calls "
    "N]\n"
    "       purser sim call [PROMPT]\n"
    "\n"
    "The built-in fake vendor: Anthropic Messages and the OpenAI dialects, without a model.\n"
    "  --listen ADDRESS:PORT  default 127.0.0.1:0, a free port; the URL is printed first\n"
    "  --key KEY@NAME         a key that is good, and how stats call it\n"
    "  --accept-any-key       every key is good\n"
    "  --calls N              how many ended calls GET /__sim/stats lists (default 10000)\n"
    "\n"
    "A call says how it wants to be treated, in the header x-sim or behind \"sim:\" in its last "
    "message:\n"
    "  input=N output=N cache_read=N cache_write_5m=N cache_write_1h=N reasoning=N text=\"...\" "
    "words=N\n"
    "  model=NAME events=N first_delay_ms=N delay_ms=N status=N retry_after=S die_before=1 "
    "die_after=N\n"
    "  stall_after=N error_after=N no_usage=1 late_usage=1\n"
    "GET /__sim/stats tells what was delivered; POST /__sim/reset forgets it.\n"
    "\n"
    "`sim call` is a small client: it reads only its environment, makes one streamed call and "
    "prints\n"
    "the answer.\n";

enum { KEYS_MAX = 64 };

static int
usage_error(const char *what, const char *arg)
{
    fprintf(stderr, "purser sim: %s: %s\n%s", what, arg, help);
    return 2;
}

/* Splits KEY@NAME at its last '@'; false when either half is empty. */
static bool
take_key(char *text, struct sim_key *ret)
{
    char *at = strrchr(text, '@');

    if (at == NULL || at == text || at[1] == '\0')
        return false;
    *at = '\0';
    *ret = (struct sim_key){.key = text, .name = at + 1};
    return true;
}

static void
raise_file_limit(void)
{
    struct rlimit l;

    if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
        l.rlim_cur = l.rlim_max;
        setrlimit(RLIMIT_NOFILE, &l);
    }
}

static int
serve_until_signal(const struct sim_options *o)
{
    struct error e;
    struct sim *s;
    sigset_t set;
    int signal_number;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise_file_limit();
    if (sim_start(o, &s, &e) != ERR_OK) {
        fprintf(stderr, "purser sim: %s\n", e.text);
        return err_exit_code(e.code);
    }
    printf("%s\n", sim_url(s));
    fflush(stdout);
    sigwait(&set, &signal_number);
    sim_stop(s);
    return 0;
}

int
sim_main(int argc, char **argv)
{
    struct sim_key keys[KEYS_MAX];
    struct sim_options o = {.keys = keys};

    if (argc > 1 && strcmp(argv[1], "call") == 0)
        return sim_call_main(argc - 1, argv + 1);
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];

        if (strcmp(arg, "--help") == 0) {
            fputs(help, stdout);
            return 0;
        }
        if (strcmp(arg, "--accept-any-key") == 0) {
            o.accept_any_key = true;
            continue;
        }
        if (i + 1 == argc)
            return usage_error("unknown or without a value", arg);
        i++;
        if (strcmp(arg, "--listen") == 0) {
            o.listen = argv[i];
        } else if (strcmp(arg, "--calls") == 0) {
            o.calls_kept = (size_t)strtoull(argv[i], NULL, 10);
        } else if (strcmp(arg, "--key") == 0) {
            if (o.keys_n == KEYS_MAX || !take_key(argv[i], &keys[o.keys_n++]))
                return usage_error("--key wants KEY@NAME", "");
        } else {
            return usage_error("unknown option", arg);
        }
    }
    return serve_until_signal(&o);
}
