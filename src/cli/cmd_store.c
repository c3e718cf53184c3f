/* Offline: what is done with a store as a whole. */
#include "cli/cmd.h"
#include "cli/output.h"
#include "cli/session.h"
#include "store/copy.h"

#include <sodium.h>

struct copying {
    json_t *tables;
    bool json;
    int64_t rows;
};

static void
table_copied(void *ctx, const struct copy_table *table)
{
    struct copying *c = ctx;
    char hex[2 * COPY_DIGEST_BYTES + 1];

    sodium_bin2hex(hex, sizeof(hex), table->digest, sizeof(table->digest));
    c->rows += table->rows;
    json_array_append_new(c->tables,
        json_pack("{s:s, s:I, s:s}", "table", table->name, "rows", (json_int_t)table->rows,
            "sha256", hex));
    if (c->json)
        return;
    printf("%-20s %10lld rows  %.16s  verified\n", table->name, (long long)table->rows, hex);
    fflush(stdout);
}

static int
store_copy_command(int argc, char **argv)
{
    const char *from = NULL, *to = NULL;
    struct copying c = {0};
    const struct option options[] = {
        {"from", "URL", "SQLite file or postgresql://...: is not changed", .text = &from},
        {"to", "URL", "the same; has to be empty, a new SQLite file is made", .text = &to},
        {"json", NULL, "print JSON", .flag = &c.json},
    };
    const struct command_line line = {"purser store copy", "",
        "Moves everything from one store to another, of either kind, in one transaction: all of "
        "it\n"
        "or nothing. Every table is read back and compared by its number of rows and a digest "
        "over\n"
        "their content. Both stores have to be at rest: stop their purserd first. Afterwards "
        "start\n"
        "purserd with --store and the new URL; the state directory stays the same.",
        ROWS(options)};
    struct arguments a = {0};
    struct error e;
    enum err err;
    int code;

    if (!options_read(&line, argc, argv, &a, &code))
        return code;
    if (from == NULL || to == NULL) {
        fail(&e, ERR_USAGE, "say --from URL and --to URL");
        return cmd_fail(&e);
    }
    c.tables = json_array();
    err = store_copy(str_from_cstr(from), str_from_cstr(to), table_copied, &c, &e);
    if (err == ERR_OK && c.json) {
        json_t *whole = json_pack("{s:O, s:I}", "tables", c.tables, "rows", (json_int_t)c.rows);

        output_json(whole);
        json_decref(whole);
    } else if (err == ERR_OK) {
        printf("copied and verified: %lld rows in %zu tables\n", (long long)c.rows,
            json_array_size(c.tables));
    }
    json_decref(c.tables);
    return err == ERR_OK ? EXIT_OK : cmd_fail(&e);
}

int
cmd_store(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"copy", store_copy_command, "move everything to another store, SQLite or PostgreSQL"},
    };

    return cmd_dispatch("purser store", "Stores as a whole. Offline.", ROWS(table), argc, argv);
}
