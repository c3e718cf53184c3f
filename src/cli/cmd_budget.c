/* purser budget: caps on what an org or a workspace may spend; purser budget limits: how fast. */
#include "base/buf.h"
#include "cli/session.h"
#include "core/num.h"

#include <stdio.h>

enum { BAR_CELLS = 20, NANO_PER_CENT = 10000000 };

static const char *const periods[] = {"hour", "day", "week", "month", "total"};
static const char *const keys[] = {"hourly", "daily", "weekly", "monthly", "total"};

static int64_t
number(const json_t *row, const char *name)
{
    return json_integer_value(json_object_get(row, name));
}

/* "[########|--      ] 42%": spent, then what open calls may still cost. */
static json_t *
bar(int64_t limit, int64_t spent, int64_t open)
{
    char text[BAR_CELLS + 16];
    int64_t base = limit > 0 ? limit : 1;
    int64_t full = (int64_t)((__int128)spent * BAR_CELLS / base);
    int64_t held = (int64_t)((__int128)(spent + open) * BAR_CELLS / base);
    int n = 0;

    text[n++] = '[';
    for (int i = 0; i < BAR_CELLS; i++)
        text[n++] = i < full ? '#' : i < held ? '-' : ' ';
    snprintf(text + n, sizeof(text) - (size_t)n, "] %lld%%",
        (long long)((__int128)spent * 100 / base > 999 ? 999 : (__int128)spent * 100 / base));
    return json_string(text);
}

static void
print_budgets(const json_t *answer)
{
    static const struct column columns[] = {
        {"SCOPE", "scope", COLUMN_TEXT},
        {"WORKSPACE", "workspace_id", COLUMN_TEXT},
        {"PERIOD", "period", COLUMN_TEXT},
        {"MODE", "mode", COLUMN_TEXT},
        {"LIMIT", "limit_nano_usd", COLUMN_USD},
        {"SPENT", "spent_nano_usd", COLUMN_USD},
        {"LEFT", "left_nano_usd", COLUMN_USD},
        {"", "bar", COLUMN_TEXT},
        {"RESETS", "resets_ms", COLUMN_TIME},
        {"DEFAULT", "default", COLUMN_TEXT},
    };
    const json_t *rows = json_object_get(answer, "budgets");
    json_t *row;
    size_t i;

    json_array_foreach(rows, i, row) json_object_set_new(row, "bar",
        bar(number(row, "limit_nano_usd"), number(row, "spent_nano_usd"),
            number(row, "open_nano_usd")));
    output_table(rows, ROWS(columns));
    if (json_is_true(json_object_get(answer, "exempt")))
        printf("The org may do without a budget: the default does not hold for it.\n");
}

static enum err
print_answer(struct session *s, enum err err, const json_t *answer)
{
    if (err == ERR_OK && s->options.json)
        output_json(answer);
    else if (err == ERR_OK)
        print_budgets(answer);
    return err;
}

static int
budget_list(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const struct option options[] = {CLIENT_OPTIONS(s.options)};
    const struct command_line line = {"purser budget list", "[WORKSPACE]",
        "Lists budgets with what is spent and left: those of the org and all its workspaces, or "
        "those\nthat hold for one workspace.",
        ROWS(options), .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (s.arguments.positional_n == 1)
        err = session_workspace_call(
            &s, "GET", s.arguments.positional[0], "/workspaces/%s/budget", NULL, &answer);
    else
        err = client_call(s.client, "GET", "/org/budgets", NULL, &answer, &s.error);
    return session_end(&s, print_answer(&s, err, answer));
}

/* "20", "20.50": cents. */
static bool
usd_parse(const char *text, int64_t *ret_cents)
{
    struct str s = str_from_cstr(text);
    size_t dot = str_find_char(s, '.');
    struct str fraction = str_slice(s, dot < s.n ? dot + 1 : dot, s.n);
    uint64_t whole, part = 0;

    if (!num_parse_u64(str_slice(s, 0, dot), &whole) || whole > 1000000000 || fraction.n > 2 ||
        (dot < s.n && !num_parse_u64(fraction, &part)))
        return false;
    *ret_cents = (int64_t)(whole * 100 + (fraction.n == 1 ? part * 10 : part));
    return true;
}

static int
period_of(const char *name)
{
    for (int i = 0; i < 5; i++) {
        if (strcmp(periods[i], name) == 0)
            return i;
    }
    return -1;
}

/* The workspace's budgets are replaced as a whole: those that stay are sent again. limit NULL: remove. */
static enum err
change_workspace(struct session *s, const char *workspace, int period, json_t *limit, json_t **ret)
{
    AUTO_JSON json_t *now = NULL;
    AUTO_JSON json_t *limits = json_object();
    AUTO_JSON json_t *body = NULL;
    enum err err = session_workspace_call(s, "GET", workspace, "/workspaces/%s/budget", NULL, &now);

    if (err != ERR_OK)
        return err;
    for (int i = 0; i < 5; i++) {
        json_t *old = json_object_get(json_object_get(now, "periods"), keys[i]);

        if (i == period && limit != NULL)
            json_object_set(limits, keys[i], limit);
        else if (i == period && json_is_null(json_object_get(old, "limit")))
            return fail(&s->error, ERR_NOT_FOUND, "the workspace has no budget for this period");
        else if (i != period && !json_is_null(json_object_get(old, "limit")))
            json_object_set_new(limits, keys[i],
                json_pack("{s:O, s:O}", "limit", json_object_get(old, "limit"), "mode",
                    json_object_get(old, "mode")));
    }
    body = json_pack("{s:O}", "budget_limits", limits);
    return session_workspace_call(s, "PATCH", workspace, "/workspaces/%s/budget", body, ret);
}

static enum err
change(struct session *s, const char *method, int period, json_t *limit, json_t **ret)
{
    char path[64];

    if (s->arguments.positional_n == 1)
        return change_workspace(s, s->arguments.positional[0], period, limit, ret);
    snprintf(path, sizeof(path), "/org/budgets/%s", periods[period]);
    return client_call(s->client, method, path, limit, ret, &s->error);
}

static int
budget_set(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    AUTO_JSON json_t *limit = NULL;
    const char *period = NULL, *usd = NULL;
    bool warn = false;
    const struct option options[] = {
        {"period", "PERIOD", "hour, day, week, month (UTC) or total", .text = &period},
        {"limit", "USD", "as in 20 or 12.50", .text = &usd},
        {"warn", NULL, "only tell, never refuse a call", .flag = &warn},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser budget set", "[WORKSPACE]",
        "Caps what a workspace may spend in a period or, without one, the whole org (the admin "
        "alone\nmay do that).",
        ROWS(options), .positional_max = 1};
    int64_t cents = 0;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (period == NULL || period_of(period) < 0)
        return session_end(
            &s, fail(&s.error, ERR_USAGE, "--period is hour, day, week, month or total"));
    if (usd == NULL || !usd_parse(usd, &cents))
        return session_end(
            &s, fail(&s.error, ERR_USAGE, "--limit is in USD, in whole cents, as in 20 or 12.50"));
    limit = json_pack("{s:I, s:s}", "limit", (json_int_t)cents, "mode", warn ? "warn" : "hard");
    return session_end(
        &s, print_answer(&s, change(&s, "PUT", period_of(period), limit, &answer), answer));
}

static int
budget_rm(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *period = NULL;
    const struct option options[] = {
        {"period", "PERIOD", "hour, day, week, month or total", .text = &period},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser budget rm", "[WORKSPACE]",
        "Removes a budget of a workspace or of the org. An org without any of its own has the "
        "default\nagain (purser budget exempt).",
        ROWS(options), .positional_max = 1};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    if (period == NULL || period_of(period) < 0)
        return session_end(
            &s, fail(&s.error, ERR_USAGE, "--period is hour, day, week, month or total"));
    return session_end(
        &s, print_answer(&s, change(&s, "DELETE", period_of(period), NULL, &answer), answer));
}

static int
budget_exempt(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    AUTO_JSON json_t *body = NULL;
    bool off = false;
    enum err err;
    const struct option options[] = {
        {"off", NULL, "the default budget holds again", .flag = &off},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser budget exempt", "",
        "Lets an org do without a budget: the default (default_org_budget) does not hold for it. "
        "The\nadmin alone may do that.",
        ROWS(options)};

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    body = json_pack("{s:b}", "exempt", (int)!off);
    err = client_call(s.client, "PATCH", "/org/budgets", body, &answer, &s.error);
    return session_end(&s, print_answer(&s, err, answer));
}

/* --- rate limits ----------------------------------------------------------------------------- */

static enum err
add_limit(struct session *s, json_t *body, const char *per, const char *name, const char *text)
{
    json_t *o = json_object_get(body, per);
    uint64_t n;

    if (text == NULL)
        return ERR_OK;
    if (!num_parse_u64(str_from_cstr(text), &n) || n > 1000000000)
        return fail(&s->error, ERR_USAGE, "\"%s\" is no number (0: no limit)", text);
    json_object_set_new(o, name, json_integer((json_int_t)n));
    return ERR_OK;
}

static void
print_limits(const json_t *answer)
{
    static const struct column columns[] = {
        {"PER", "per", COLUMN_TEXT},
        {"REQUESTS/MIN", "requests_per_minute", COLUMN_TEXT},
        {"TOKENS/MIN", "tokens_per_minute", COLUMN_TEXT},
        {"CONCURRENT", "concurrent", COLUMN_TEXT},
    };
    static const char *const pers[] = {"workspace", "token"};
    AUTO_JSON json_t *rows = json_array();

    for (size_t i = 0; i < 2; i++) {
        json_t *row = json_object_get(answer, pers[i]);

        json_object_set_new(row, "per", json_string(pers[i]));
        json_array_append(rows, row);
    }
    output_table(rows, ROWS(columns));
    printf("0: no limit\n");
}

static int
budget_limits(int argc, char **argv)
{
    AUTO_SESSION struct session s = {0};
    AUTO_JSON json_t *answer = NULL;
    const char *requests = NULL, *tokens = NULL, *concurrent = NULL, *per;
    bool token = false, set;
    const struct option options[] = {
        {"requests", "N", "calls a minute", .text = &requests},
        {"tokens", "N", "tokens of all kinds a minute", .text = &tokens},
        {"concurrent", "N", "calls at the same time", .text = &concurrent},
        {"per-token", NULL, "of each usage token, not of the workspace as a whole", .flag = &token},
        CLIENT_OPTIONS(s.options),
    };
    const struct command_line line = {"purser budget limits", "WORKSPACE",
        "Shows how fast a workspace may call, or sets it.", ROWS(options), .positional_min = 1,
        .positional_max = 1};
    enum err err;

    if (!session_begin(&s, &line, argc, argv))
        return s.exit_code;
    set = requests != NULL || tokens != NULL || concurrent != NULL;
    per = token ? "token" : "workspace";
    err = session_workspace_call(
        &s, "GET", s.arguments.positional[0], "/workspaces/%s/limits", NULL, &answer);
    if (err == ERR_OK && set) {
        AUTO_JSON json_t *body = answer;

        answer = NULL;
        err = add_limit(&s, body, per, "requests_per_minute", requests);
        if (err == ERR_OK)
            err = add_limit(&s, body, per, "tokens_per_minute", tokens);
        if (err == ERR_OK)
            err = add_limit(&s, body, per, "concurrent", concurrent);
        if (err == ERR_OK)
            err = session_workspace_call(
                &s, "PUT", s.arguments.positional[0], "/workspaces/%s/limits", body, &answer);
    }
    if (err == ERR_OK && s.options.json)
        output_json(answer);
    else if (err == ERR_OK)
        print_limits(answer);
    return session_end(&s, err);
}

int
cmd_budget(int argc, char **argv)
{
    static const struct cmd table[] = {
        {"list", budget_list, "what is capped, spent and left"},
        {"set", budget_set, "cap a workspace or an org"},
        {"rm", budget_rm, "remove a budget"},
        {"exempt", budget_exempt, "let an org do without the default budget"},
        {"limits", budget_limits, "how fast a workspace may call"},
    };

    return cmd_dispatch(
        "purser budget", "Caps on spending, and rate limits.", ROWS(table), argc, argv);
}
