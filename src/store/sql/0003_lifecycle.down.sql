DROP TABLE runs;
DROP TABLE heartbeats;
ALTER TABLE workspaces DROP COLUMN start_due_ms;
ALTER TABLE workspaces DROP COLUMN restarts;
ALTER TABLE workspaces DROP COLUMN launch;
ALTER TABLE workspaces DROP COLUMN start_timeout_ms;
ALTER TABLE workspaces DROP COLUMN restart;
ALTER TABLE workspaces DROP COLUMN readiness;
