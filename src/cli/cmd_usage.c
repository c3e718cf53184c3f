#include "base/buf.h"
#include "cli/session.h"
#include "cli/usage_print.h"

/* Which part of the ledger, and how it is shown. */
struct usage_question {
    const char *from, *to, *by;
    bool csv;
};

#define QUESTION_OPTIONS(q)                                                                        \
    {"from", "TIME", "calls opened from then on: 2026-11-22, 2026-11-22T08:00:00Z, or 7d (ago)",   \
        .text = &(q).from},                                                                        \
        {"to", "TIME", "calls opened before then", .text = &(q).to},                               \
        {"by", "PROPERTY", "sums by org, workspace, model, provider, certainty or day",            \
            .text = &(q).by},                                                                      \
    {                                                                                              \
        "csv", NULL, "print CSV", .flag = &(q).csv                                                 \
    }

static enum err
add_time(struct buf *query, const char *name, const char *text, struct error *e)
{
    int64_t ms;

    if (text == NULL)
        return ERR_OK;
    if (!usage_time_parse(text, clock_ms(), &ms))
        return fail(e, ERR_USAGE,
            "\"%s\" is no time: 2026-11-22, 2026-11-22T08:00:00Z, or 12h, 7d, 4w (ago)", text);
    buf_addf(query, "%s=%lld&", name, (long long)ms);
    return ERR_OK;
}

/* Sums by day come along, for the spark lines. */
static enum err
build_query(const struct usage_question *q, struct buf *query, struct error *e)
{
    enum err err = add_time(query, "from_ms", q->from, e);

    if (err == ERR_OK)
        err = add_time(query, "to_ms", q->to, e);
    if (err == ERR_OK && q->by != NULL)
        buf_addf(query, "group_by=%s%s", q->by,
            strcmp(q->by, "day") == 0 || strchr(q->by, ',') != NULL || q->csv ? "" : ",day");
    return err == ERR_OK && !buf_ok(query) ? fail(e, ERR_USAGE, "the question is too long") : err;
}

static enum err
ask(struct session *s, const struct usage_question *q, json_t **ret)
{
    AUTO_BUF struct buf query;
    char id[ID_TEXT_BYTES];
    char path[512];
    enum err err;

    buf_init(&query, 300);
    err = build_query(q, &query, &s->error);
    if (err == ERR_OK && s->arguments.positional_n == 1)
        err = workspace_ref(s->client, s->arguments.positional[0], id, &s->error);
    if (err != ERR_OK)
        return err;
    if (s->arguments.positional_n == 1)
        snprintf(path, sizeof(path), "/workspaces/%s/usage?%s", id, buf_cstr(&query));
    else
        snprintf(path, sizeof(path), "/usage?%s", buf_cstr(&query));
    return client_call(s->client, "GET", path, NULL, ret, &s->error);
}

static int
usage_show(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    struct usage_question q = {0};
    const struct option options[] = {QUESTION_OPTIONS(q), CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser usage", "[WORKSPACE]",
        "Shows what was called and what it cost, newest first: of a workspace, of the org (--org), "
        "or\nof every org. --by shows sums instead, with a spark line of the days.\n"
        "purser usage statement --month 2026-11: the monthly statement of an org.",
        ROWS(options), .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    err = ask(&s, &q, &answer);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK && q.csv)
        usage_print_csv(answer, q.by);
    else if (err == ERR_OK)
        usage_print(answer);
    return session_end(&s, err);
}

static int
usage_statement(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *month = NULL;
    bool csv = false;
    const struct option options[] = {
        {"month", "YYYY-MM", "which month (UTC); default: this one", .text = &month},
        {"csv", NULL, "print CSV", .flag = &csv},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser usage statement", "",
        "Prints the monthly statement of an org: what its calls cost, by workspace and model, and "
        "how\nmuch of that is exact, estimated or a bound.",
        ROWS(options)};
    char now[25], path[64];
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    clock_text(clock_ms(), now);
    err = client_path(path, sizeof(path), &s.error, "/usage/statement?month=%s",
        month == NULL ? (now[7] = '\0', now) : month);
    if (err == ERR_OK)
        err = client_call(s.client, "GET", path, NULL, &answer, &s.error);
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK && csv)
        usage_print_csv(answer, NULL);
    else if (err == ERR_OK)
        usage_print_statement(answer);
    return session_end(&s, err);
}

/* A workspace may be called "statement": then it goes by its id. */
int
cmd_usage(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "statement") == 0)
        return usage_statement(argc - 1, argv + 1);
    return usage_show(argc, argv);
}
