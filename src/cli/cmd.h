/*
 * The subcommands of purser: one row each in the table of main.c, one cmd_<noun>.c each. A command
 * gets argv[0] = its own name, prints results on stdout and errors on stderr, and returns the exit
 * code: 0 ok, 1 failed, 2 usage, 75 skipped.
 */
#ifndef CLI_CMD_H
#define CLI_CMD_H

#include "base/error.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_SKIPPED = 75 };

typedef int cmd_fn(int argc, char **argv);

struct cmd {
    const char *name;
    cmd_fn *run;
    const char *help; /* one line */
};

/*
 * Finds argv[1] in the table and runs it. program is what stands before it on the command line
 * ("purser", "purser workspace"). Prints the table for --help; an unknown name is a usage error
 * that names the nearest one.
 */
int cmd_dispatch(const char *program, const char *summary, const struct cmd *table, size_t n,
    int argc, char **argv);

/* "purser: CODE: sentence" on stderr; returns the code's exit code. */
int cmd_fail(const struct error *e);

cmd_fn cmd_up, cmd_serve, cmd_workspace, cmd_secret, cmd_platform, cmd_usage, cmd_org, cmd_token,
    cmd_sim, cmd_node, cmd_explain, cmd_registry, cmd_audit, cmd_audit_secrets, cmd_audit_verify,
    cmd_audit_export, cmd_keys, cmd_migrate, cmd_store, cmd_backup, cmd_restore, cmd_doctor,
    cmd_run, cmd_env, cmd_events, cmd_budget, cmd_ledger;

#endif
