-- What may be spent and how fast, and proof that what was booked stays as it was.

-- Caps on spending. workspace_id NULL: the whole org's. hard refuses, warn only tells. One of each
-- scope and period.
CREATE TABLE budgets (
    id {TEXT} NOT NULL PRIMARY KEY,
    org_id {TEXT} NOT NULL REFERENCES orgs (id),
    workspace_id {TEXT},
    period {TEXT} NOT NULL CHECK (period IN ('hour', 'day', 'week', 'month', 'total')),
    mode {TEXT} NOT NULL CHECK (mode IN ('hard', 'warn')),
    limit_nano_usd {INT} NOT NULL CHECK (limit_nano_usd >= 0),
    created_ms {INT} NOT NULL,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};
CREATE UNIQUE INDEX budgets_of_org ON budgets (org_id, period) WHERE workspace_id IS NULL;
CREATE UNIQUE INDEX budgets_of_workspace ON budgets (org_id, workspace_id, period)
    WHERE workspace_id IS NOT NULL;

-- Orgs that the default budget does not hold for, although they have none of their own.
CREATE TABLE budget_exemptions (
    org_id {TEXT} NOT NULL PRIMARY KEY REFERENCES orgs (id),
    created_ms {INT} NOT NULL
) {STRICT};

-- Which part of a budget each node may commit by itself in any period (held_nano): together never
-- more than the limit. spent_nano: what it has settled in period_number. wanted_ms: when it last
-- asked for more than there was; 0: it has enough; -1: it has not asked for any yet, and holds what
-- the others know that it has spent. budget_id is the org's id for the default budget.
CREATE TABLE budget_leases (
    budget_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    held_nano {INT} NOT NULL,
    spent_nano {INT} NOT NULL,
    period_number {INT} NOT NULL,
    wanted_ms {INT} NOT NULL,
    PRIMARY KEY (budget_id, node_id)
) {STRICT};

-- Until then the node may spend of its leases, whether it is heard of or not.
ALTER TABLE nodes ADD COLUMN leases_until_ms {INT} NOT NULL DEFAULT 0;

-- Which thresholds of a budget were told, so that each is told once a period. budget_id is the
-- org's id for the default budget.
CREATE TABLE budget_alerts (
    budget_id {TEXT} NOT NULL,
    period_number {INT} NOT NULL,
    percent {INT} NOT NULL,
    created_ms {INT} NOT NULL,
    PRIMARY KEY (budget_id, period_number, percent)
) {STRICT};

-- How fast calls may come: of a workspace as a whole, or of each of its usage tokens. 0: no limit.
CREATE TABLE rate_limits (
    org_id {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    per {TEXT} NOT NULL CHECK (per IN ('workspace', 'token')),
    requests_per_minute {INT} NOT NULL CHECK (requests_per_minute >= 0),
    tokens_per_minute {INT} NOT NULL CHECK (tokens_per_minute >= 0),
    concurrent {INT} NOT NULL CHECK (concurrent >= 0),
    PRIMARY KEY (org_id, workspace_id, per),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};

-- Signed looks at the heads of chains, numbered per node without gaps. public_key says with which
-- key; the signature covers every column before it.
CREATE TABLE checkpoints (
    node_id {TEXT} NOT NULL,
    number {INT} NOT NULL,
    org_id {TEXT} NOT NULL,
    chain {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    hash {BLOB} NOT NULL,
    created_ms {INT} NOT NULL,
    public_key {BLOB} NOT NULL,
    signature {BLOB} NOT NULL,
    PRIMARY KEY (node_id, number)
) {STRICT};
CREATE INDEX checkpoints_of_chain ON checkpoints (org_id, node_id, chain, seq);

-- Where a chain begins whose oldest entries were removed for their age: the last that is gone.
-- checkpoint is the number of the one of the same node that covers it, until_ms when that was made:
-- what is gone was booked before. The signature, by the node's key, covers every column before it.
CREATE TABLE anchors (
    org_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    chain {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    hash {BLOB} NOT NULL,
    checkpoint {INT} NOT NULL,
    until_ms {INT} NOT NULL,
    pruned_ms {INT} NOT NULL,
    public_key {BLOB} NOT NULL,
    signature {BLOB} NOT NULL,
    PRIMARY KEY (org_id, node_id, chain)
) {STRICT};

-- What the ledger entries cost that were removed for their age: budgets over all time count it.
CREATE TABLE pruned_spend (
    org_id {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    cost_nano_usd {INT} NOT NULL,
    PRIMARY KEY (org_id, workspace_id, node_id)
) {STRICT};

-- When the node last removed what is older than it is to keep; 0: never.
ALTER TABLE nodes ADD COLUMN retained_ms {INT} NOT NULL DEFAULT 0;
