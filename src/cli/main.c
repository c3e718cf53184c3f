#include "cli/cmd.h"
#include "api/json.h"
#include "launch/shim.h"

#include <sodium.h>
#include <stdio.h>

static const struct cmd commands[] = {
    {"up", cmd_up, "start everything on this machine: purserd, nginx, agents"},
    {"serve", cmd_serve, "run purserd alone (for systemd)"},
    {"org", cmd_org, "customers: create, list, show, set, suspend, resume, export, delete"},
    {"workspace", cmd_workspace, "agents: create, list, show, set, start, stop, pause, watch ..."},
    {"events", cmd_events, "what happens in an org, as it happens"},
    {"secret", cmd_secret, "secrets of a workspace or an org: set, list, rm"},
    {"env", cmd_env, "the environment an agent would get, and why"},
    {"run", cmd_run, "run a command with the environment of a workspace"},
    {"explain", cmd_explain, "which provider serves a model, who pays, and why (offline)"},
    {"token", cmd_token, "credentials of orgs and workspaces: create, list, revoke, rotate-admin"},
    {"usage", cmd_usage, "what a workspace called, and what it cost"},
    {"budget", cmd_budget, "what may be spent, and how fast: list, set, rm, exempt, limits"},
    {"ledger", cmd_ledger, "corrections: correct"},
    {"audit", cmd_audit, "records and stored secrets: decisions, verify, export, replay, secrets"},
    {"platform", cmd_platform,
        "the platform's own vendor keys: keys add, list, retire, weight, set"},
    {"keys", cmd_keys, "the keys that seal what is stored: status, add, rotate, retire"},
    {"registry", cmd_registry,
        "providers and prices: check, show, fingerprint, diff, offered, reload"},
    {"node", cmd_node, "the machines on one store: list, forget"},
    {"migrate", cmd_migrate, "the version of a store: status, up, down (offline)"},
    {"store", cmd_store, "a store as a whole: copy (offline)"},
    {"backup", cmd_backup, "copy store and keys into a folder while purserd serves"},
    {"restore", cmd_restore, "make a state directory of a backup"},
    {"doctor", cmd_doctor, "look at everything purser needs, and say what to do"},
    {"sim", cmd_sim, "the built-in fake vendor, and a small client (sim call)"},
};

static int
print_version(void)
{
    printf("purser %s\n", PURSER_VERSION);
    return EXIT_OK;
}

int
main(int argc, char **argv)
{
    /*
     * Before anything else: a shim has an order waiting, an empty environment and nothing to set
     * up.
     */
    if (argc > 1 && strcmp(argv[1], "_shim") == 0)
        return shim_main(argc - 1, argv + 1);
    if (sodium_init() < 0) {
        fprintf(stderr, "purser: INTERNAL: libsodium cannot be initialised\n");
        return EXIT_FAILED;
    }
    json_wiping_init(); /* any JSON text may hold a secret */
    if (argc > 1 && strcmp(argv[1], "--version") == 0)
        return print_version();
    return cmd_dispatch("purser",
        "Decides which provider, credential and payer every agent gets; starts the agents, serves\n"
        "their calls on the platform's keys and accounts for each.",
        commands, sizeof(commands) / sizeof(commands[0]), argc, argv);
}
