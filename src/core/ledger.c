#include "core/ledger.h"

static const struct str state_names[LEDGER_STATE_COUNT] = {
    [LEDGER_SETTLED] = STR_INIT("settled"),
    [LEDGER_ABORTED] = STR_INIT("aborted"),
    [LEDGER_INTERRUPTED] = STR_INIT("interrupted"),
    [LEDGER_FAILED] = STR_INIT("failed"),
    [LEDGER_RECOVERED] = STR_INIT("recovered"),
};

static const struct str certainty_names[LEDGER_CERTAINTY_COUNT] = {
    [LEDGER_EXACT] = STR_INIT("exact"),
    [LEDGER_ESTIMATED] = STR_INIT("estimated"),
    [LEDGER_BOUND] = STR_INIT("bound"),
};

static const struct str estimate_names[LEDGER_ESTIMATE_COUNT] = {
    [LEDGER_ESTIMATE_NONE] = STR_INIT(""),
    [LEDGER_ESTIMATE_TEXT] = STR_INIT("text"),
    [LEDGER_ESTIMATE_ASKED_MODEL] = STR_INIT("asked_model"),
};

static const struct str kind_names[LEDGER_KIND_COUNT] = {
    [LEDGER_CALL] = STR_INIT("call"),
    [LEDGER_CORRECTION] = STR_INIT("correction"),
};

struct str
ledger_state_name(enum ledger_state s)
{
    return state_names[s];
}

struct str
ledger_certainty_name(enum ledger_certainty c)
{
    return certainty_names[c];
}

struct str
ledger_estimate_name(enum ledger_estimate s)
{
    return estimate_names[s];
}

struct str
ledger_kind_name(enum ledger_kind k)
{
    return kind_names[k];
}
