/*
 * Alerts to the outside: a POST to the deployment's webhook for each threshold a budget passes. A
 * thread of its own with a bounded queue; nobody ever waits for it. What cannot be delivered after
 * a few tries is dropped with a log line: the event in the store stays.
 *
 * Body: {"type":"budget.alert", "org_id", "workspace_id", "period", "mode", "percent",
 * "limit_nano_usd", "spent_nano_usd", "resets_ms", "at_ms"}. Headers: X-Purser-Timestamp (Unix
 * seconds) and X-Purser-Signature: sha256=HEX, the HMAC-SHA256 of "TIMESTAMP.BODY" under the key in
 * STATE/alert-key.
 */
#ifndef DAEMON_ALERTS_H
#define DAEMON_ALERTS_H

#include "daemon/budgets.h"

struct alerts;

/* key_path is made with a random key when it is not there. url empty: nothing is sent. */
enum err alerts_open(
    struct str url, const char *key_path, struct alerts **ret, struct error *e) MUST_CHECK;
/* What was not delivered by now is dropped. NULL is fine. */
void alerts_close(struct alerts *a);
/* budgets_alert_fn. */
void alerts_push(void *ctx, const struct budgets_alert *alert);

#endif
