#include "cli/session.h"
#include "core/num.h"

static enum err
add_number(struct session *s, json_t *body, const char *name, const char *text)
{
    int64_t n;

    if (text == NULL)
        return ERR_OK;
    if (!num_parse_i64(str_from_cstr(text), &n))
        return fail(&s->error, ERR_USAGE, "\"%s\" is no number", text);
    json_object_set_new(body, name, json_integer(n));
    return ERR_OK;
}

static int
ledger_correct(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    AUTO_JSON json_t *body = json_object();
    const char *attempt = NULL, *reason = NULL, *values[7] = {NULL};
    static const char *const fields[7] = {"input_tokens", "output_tokens", "cache_read_tokens",
        "cache_write_5m_tokens", "cache_write_1h_tokens", "web_searches", "cost_nano_usd"};
    const struct option options[] = {
        {"attempt", "N", "which attempt of the call (default: 1)", .text = &attempt},
        {"reason", "TEXT", "where the true figures come from", .text = &reason},
        {"input", "N", "input tokens it really had", .text = &values[0]},
        {"output", "N", "output tokens", .text = &values[1]},
        {"cache-read", "N", "cache read tokens", .text = &values[2]},
        {"cache-write-5m", "N", "cache write tokens, 5 minutes", .text = &values[3]},
        {"cache-write-1h", "N", "cache write tokens, 1 hour", .text = &values[4]},
        {"web-searches", "N", "uses of the vendor's own search", .text = &values[5]},
        {"cost", "NANO-USD", "what it cost, when the vendor's bill says otherwise than its tokens",
            .text = &values[6]},
        SERVER_OPTIONS(s.options),
    };
    const struct command_line line = {"purser ledger correct", "CALL",
        "Books what a call of uncertain cost (estimated or bound) really was: a new row with the "
        "difference,\nwhich counts at the time of the call. What is exact cannot be corrected, and "
        "nothing twice.",
        ROWS(options), .positional_min = 1, .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (reason == NULL)
        return session_end(&s, fail(&s.error, ERR_USAGE, "--reason is needed"));
    json_object_set_new(body, "call_id", json_string(s.arguments.positional[0]));
    json_object_set_new(body, "reason", json_string(reason));
    err = add_number(&s, body, "attempt", attempt);
    for (size_t i = 0; err == ERR_OK && i < 7; i++)
        err = add_number(&s, body, fields[i], values[i]);
    if (err == ERR_OK)
        err = client_call(s.client, "POST", "/admin/ledger/corrections", body, &answer, &s.error);
    if (err == ERR_OK && s.options.json) {
        output_json(answer);
    } else if (err == ERR_OK) {
        char usd[40];

        output_usd(json_integer_value(json_object_get(answer, "difference_nano_usd")), usd);
        printf("booked: %s\n", usd);
    }
    return session_end(&s, err);
}

int
cmd_ledger(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"correct", ledger_correct, "book what a call really cost"},
    };

    return cmd_dispatch(
        "purser ledger", "The ledger of calls (purser usage shows it).", ROWS(table), argc, argv);
}
