DROP INDEX workspace_secrets_by_key;
DROP INDEX global_secrets_by_key;
DROP TABLE retired_keys;
DROP TABLE org_deletions;
ALTER TABLE nodes DROP COLUMN changes;
ALTER TABLE nodes DROP COLUMN last_seen_ms;
