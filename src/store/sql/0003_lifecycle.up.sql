-- How a workspace lives: when a start counts as ready, after which ends it is started again, and
-- what its agent last said of itself. Empty, and 0: as its runtime has it, or else the server.

ALTER TABLE workspaces ADD COLUMN readiness {TEXT} NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN restart {TEXT} NOT NULL DEFAULT '';
ALTER TABLE workspaces ADD COLUMN start_timeout_ms {INT} NOT NULL DEFAULT 0;
-- container and limits, as api/launch_hints reads them
ALTER TABLE workspaces ADD COLUMN launch {TEXT} NOT NULL DEFAULT '{}';
-- how often it was started again in a row
ALTER TABLE workspaces ADD COLUMN restarts {INT} NOT NULL DEFAULT 0;
-- when it is to be started again; 0: it is not
ALTER TABLE workspaces ADD COLUMN start_due_ms {INT} NOT NULL DEFAULT 0;

-- The last word of each agent. A table of its own: a heartbeat is no change of the workspace.
CREATE TABLE heartbeats (
    org_id {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    -- 0: not heard since its last start
    seen_ms {INT} NOT NULL,
    -- does it say that it can work? NULL: it does not say
    configured {INT} CHECK (configured IN (0, 1)),
    reason {TEXT} NOT NULL,
    -- further figures of the heartbeat, and the agent's card: JSON objects
    report {TEXT} NOT NULL,
    card {TEXT} NOT NULL,
    PRIMARY KEY (org_id, workspace_id),
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};

-- Environments that were handed out to processes purser does not watch (runs), while they are live.
-- Their history is in decisions and events.
CREATE TABLE runs (
    -- also its decision's
    id {TEXT} NOT NULL PRIMARY KEY,
    org_id {TEXT} NOT NULL,
    workspace_id {TEXT} NOT NULL,
    -- its usage token; NULL: the mode needs none
    token_id {TEXT},
    mode {TEXT} NOT NULL,
    model {TEXT} NOT NULL,
    created_ms {INT} NOT NULL,
    -- how long each renewal is good for
    ttl_ms {INT} NOT NULL,
    expires_ms {INT} NOT NULL,
    FOREIGN KEY (org_id, workspace_id) REFERENCES workspaces (org_id, id)
) {STRICT};
CREATE INDEX runs_by_workspace ON runs (org_id, workspace_id, expires_ms);
