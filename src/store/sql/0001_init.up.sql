-- The first tables. {INT}, {TEXT}, {BLOB} and {STRICT} are filled in for the engine by the
-- migration runner. Ids are UUIDs as text, times Unix milliseconds, money integer nano-USD,
-- booleans 0 or 1. Every row of a customer carries org_id, and keys to workspaces include it: a row
-- can not point across the wall between two orgs.

-- Machines that run a purserd on this store.
CREATE TABLE nodes (
    id {TEXT} NOT NULL PRIMARY KEY,
    created_ms {INT} NOT NULL
) {STRICT};

-- Customers.
CREATE TABLE orgs (
    id {TEXT} NOT NULL PRIMARY KEY,
    slug {TEXT} NOT NULL UNIQUE,
    name {TEXT} NOT NULL,
    suspended {INT} NOT NULL DEFAULT 0 CHECK (suspended IN (0, 1)),
    -- may the org keep vendor keys at org scope?
    vendor_keys {TEXT} NOT NULL DEFAULT 'reject' CHECK (vendor_keys IN ('reject', 'allow')),
    created_ms {INT} NOT NULL
) {STRICT};

-- Agents. llm_billing_mode is kept as written, without a check: a garbled one must stay visible.
CREATE TABLE workspaces (
    id {TEXT} NOT NULL PRIMARY KEY,
    org_id {TEXT} NOT NULL REFERENCES orgs (id),
    node_id {TEXT} NOT NULL REFERENCES nodes (id),
    parent_id {TEXT},
    name {TEXT} NOT NULL,
    role {TEXT} NOT NULL,
    runtime {TEXT} NOT NULL,
    url {TEXT} NOT NULL,
    llm_billing_mode {TEXT},
    command {TEXT} NOT NULL,
    workspace_dir {TEXT} NOT NULL,
    extra_models {TEXT} NOT NULL,
    required_env {TEXT} NOT NULL,
    budget_limit_cents {INT},
    desired {TEXT} NOT NULL,
    status {TEXT} NOT NULL,
    last_error_code {TEXT} NOT NULL DEFAULT '',
    last_error {TEXT} NOT NULL DEFAULT '',
    -- what its agent runs under, no two alike on a node
    uid {INT},
    created_ms {INT} NOT NULL,
    updated_ms {INT} NOT NULL,
    version {INT} NOT NULL,
    UNIQUE (org_id, id),
    UNIQUE (node_id, uid),
    FOREIGN KEY (org_id, parent_id) REFERENCES workspaces (org_id, id)
) {STRICT};

-- Secrets of an org, shared by its workspaces. sealed is bound to (org, scope, workspace, name,
-- version).
CREATE TABLE global_secrets (
    org_id {TEXT} NOT NULL REFERENCES orgs (id),
    name {TEXT} NOT NULL,
    sealed {BLOB} NOT NULL,
    key_id {INT} NOT NULL,
    version {INT} NOT NULL,
    -- keyed hash of the value: equal values have equal fingerprints
    fingerprint {BLOB} NOT NULL,
    created_ms {INT} NOT NULL,
    updated_ms {INT} NOT NULL,
    PRIMARY KEY (org_id, name)
) {STRICT};
CREATE INDEX global_secrets_by_fingerprint ON global_secrets (fingerprint);

-- Secrets of one workspace; they win over the org's by name.
CREATE TABLE workspace_secrets (
    org_id {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    name {TEXT} NOT NULL,
    sealed {BLOB} NOT NULL,
    key_id {INT} NOT NULL,
    version {INT} NOT NULL,
    fingerprint {BLOB} NOT NULL,
    created_ms {INT} NOT NULL,
    updated_ms {INT} NOT NULL,
    PRIMARY KEY (org_id, workspace_id, name),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};
CREATE INDEX workspace_secrets_by_fingerprint ON workspace_secrets (fingerprint);

-- Credentials given out, as SHA-256. org_id is NULL for the admin's.
CREATE TABLE tokens (
    id {TEXT} NOT NULL PRIMARY KEY,
    org_id {TEXT} REFERENCES orgs (id),
    workspace_id {TEXT},
    kind {TEXT} NOT NULL,
    digest {BLOB} NOT NULL UNIQUE,
    prefix {TEXT} NOT NULL,
    name {TEXT} NOT NULL,
    read_only {INT} NOT NULL CHECK (read_only IN (0, 1)),
    created_ms {INT} NOT NULL,
    last_used_ms {INT} NOT NULL DEFAULT 0,
    expires_ms {INT} NOT NULL,
    revoked_ms {INT} NOT NULL DEFAULT 0,
    -- usage tokens: the decision they were made for, and what they may call
    decision_id {TEXT},
    models {TEXT} NOT NULL,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};
CREATE INDEX tokens_live ON tokens (org_id, workspace_id, kind) WHERE revoked_ms = 0;
CREATE INDEX tokens_live_by_kind ON tokens (kind) WHERE revoked_ms = 0;

-- The platform's own vendor keys. Rows are retired, not deleted: a fingerprint stays known.
CREATE TABLE platform_keys (
    id {TEXT} NOT NULL PRIMARY KEY,
    provider {TEXT} NOT NULL,
    weight {INT} NOT NULL CHECK (weight BETWEEN 1 AND 1000),
    sealed {BLOB} NOT NULL,
    key_id {INT} NOT NULL,
    version {INT} NOT NULL,
    fingerprint {BLOB} NOT NULL,
    created_ms {INT} NOT NULL,
    retired_ms {INT} NOT NULL DEFAULT 0
) {STRICT};
CREATE INDEX platform_keys_by_fingerprint ON platform_keys (fingerprint);

-- The last entry of every numbered sequence of an org: chains 'ledger' and 'decision' by node, and
-- 'event' (no hash, node_id empty).
CREATE TABLE heads (
    org_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    chain {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    hash {BLOB} NOT NULL,
    PRIMARY KEY (org_id, node_id, chain)
) {STRICT};

-- One row per attempt that may have reached a vendor, and per correction. Append-only. No foreign
-- keys on purpose: what was spent is booked even when its org or workspace is gone by then.
CREATE TABLE ledger (
    org_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    prev_hash {BLOB} NOT NULL,
    hash {BLOB} NOT NULL,
    canonical {BLOB} NOT NULL,
    booked_ms {INT} NOT NULL,
    call_id {TEXT} NOT NULL,
    attempt {INT} NOT NULL,
    kind {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    token_id {TEXT} NOT NULL,
    decision_id {TEXT} NOT NULL,
    platform_key_id {TEXT} NOT NULL,
    state {TEXT} NOT NULL,
    certainty {TEXT} NOT NULL,
    dialect {TEXT} NOT NULL,
    vendor_status {INT} NOT NULL,
    opened_ms {INT} NOT NULL,
    first_byte_ms {INT} NOT NULL,
    closed_ms {INT} NOT NULL,
    input_tokens {INT} NOT NULL,
    output_tokens {INT} NOT NULL,
    cache_read_tokens {INT} NOT NULL,
    cache_write_5m_tokens {INT} NOT NULL,
    cache_write_1h_tokens {INT} NOT NULL,
    reasoning_tokens {INT} NOT NULL,
    -- the price row in force, micro-USD per million tokens
    price_from_ms {INT} NOT NULL,
    price_above_tokens {INT} NOT NULL,
    price_input {INT} NOT NULL,
    price_output {INT} NOT NULL,
    price_cache_read {INT} NOT NULL,
    price_cache_write_5m {INT} NOT NULL,
    price_cache_write_1h {INT} NOT NULL,
    bound_nano_usd {INT} NOT NULL,
    cost_nano_usd {INT} NOT NULL,
    registry_fingerprint {BLOB} NOT NULL,
    provider {TEXT} NOT NULL,
    model_asked {TEXT} NOT NULL,
    model_vendor {TEXT} NOT NULL,
    model_answered {TEXT} NOT NULL,
    -- uses of the vendor's own search, and what a million of them costs
    web_searches {INT} NOT NULL DEFAULT 0,
    price_web_search {INT} NOT NULL DEFAULT 0,
    -- what an estimated cost rests on; empty: nothing is estimated
    estimated_by {TEXT} NOT NULL DEFAULT '',
    PRIMARY KEY (org_id, node_id, seq),
    UNIQUE (call_id, attempt, kind)
) {STRICT};
CREATE INDEX ledger_by_workspace ON ledger (org_id, workspace_id, opened_ms);
CREATE INDEX ledger_by_org ON ledger (org_id, opened_ms);

-- One row per start, run and refusal: names, never values. Append-only, chained as the ledger.
CREATE TABLE decisions (
    org_id {TEXT} NOT NULL,
    node_id {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    prev_hash {BLOB} NOT NULL,
    hash {BLOB} NOT NULL,
    id {TEXT} NOT NULL UNIQUE,
    workspace_id {TEXT} NOT NULL,
    kind {TEXT} NOT NULL,
    code {TEXT} NOT NULL,
    mode {TEXT} NOT NULL,
    source {TEXT} NOT NULL,
    provider {TEXT} NOT NULL,
    model {TEXT} NOT NULL,
    runtime {TEXT} NOT NULL,
    registry_fingerprint {BLOB} NOT NULL,
    -- the record itself: canonical JSON
    record {TEXT} NOT NULL,
    created_ms {INT} NOT NULL,
    PRIMARY KEY (org_id, node_id, seq)
) {STRICT};
CREATE INDEX decisions_by_workspace ON decisions (org_id, workspace_id, id);

-- What happened, numbered per org.
CREATE TABLE events (
    org_id {TEXT} NOT NULL,
    seq {INT} NOT NULL,
    workspace_id {TEXT},
    type {TEXT} NOT NULL,
    details {TEXT} NOT NULL,
    created_ms {INT} NOT NULL,
    PRIMARY KEY (org_id, seq)
) {STRICT};

-- Answers to repeatable writes by the client's key. org_id is empty for the admin's own.
CREATE TABLE idempotency_keys (
    org_id {TEXT} NOT NULL,
    idempotency_key {TEXT} NOT NULL,
    request {BLOB} NOT NULL,
    status {INT} NOT NULL,
    body {TEXT} NOT NULL,
    created_ms {INT} NOT NULL,
    PRIMARY KEY (org_id, idempotency_key)
) {STRICT};
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_ms);
