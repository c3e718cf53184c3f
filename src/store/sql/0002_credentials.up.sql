-- Several machines on one store. last_seen_ms: when the node's purserd last said that it runs.
-- changes counts what the node's writers told the others (store/watch.h): who reads another sum than
-- before has missed something.
ALTER TABLE nodes ADD COLUMN last_seen_ms {INT} NOT NULL DEFAULT 0;
ALTER TABLE nodes ADD COLUMN changes {INT} NOT NULL DEFAULT 0;

-- What credentials and orgs need besides: proof of deletions.

-- What went with each org that was deleted. Kept for good, chained as the ledger is (chain 'deletion'
-- of no org): nobody can take a record out unseen. org_id points nowhere on purpose.
CREATE TABLE org_deletions (
    seq {INT} NOT NULL PRIMARY KEY,
    prev_hash {BLOB} NOT NULL,
    hash {BLOB} NOT NULL,
    org_id {TEXT} NOT NULL,
    slug {TEXT} NOT NULL,
    name {TEXT} NOT NULL,
    -- 1: its ledger stays for the books
    ledger_kept {INT} NOT NULL CHECK (ledger_kept IN (0, 1)),
    -- rows by table, as JSON
    counts {TEXT} NOT NULL,
    -- SHA-256 of what an export would have given just then
    export_digest {BLOB} NOT NULL,
    deleted_ms {INT} NOT NULL
) {STRICT};

-- Keys of the keyring that are gone for good: nothing may be written under one any more. A row is
-- written in the transaction that found nothing sealed under its key, so a write under way meets the
-- row or is seen by that transaction.
CREATE TABLE retired_keys (
    key_id {INT} NOT NULL PRIMARY KEY,
    retired_ms {INT} NOT NULL
) {STRICT};

-- What is still sealed under a key, in the order in which it is sealed anew.
CREATE INDEX global_secrets_by_key ON global_secrets (key_id, org_id, name);
CREATE INDEX workspace_secrets_by_key ON workspace_secrets (key_id, org_id, workspace_id, name);
