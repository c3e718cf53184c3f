"""The store's rows as somebody sees and changes them who has the database and not purser."""

import contextlib
import os
import signal
import sqlite3

from harness import Postgres, Problem, new_key, wait_until


class Rows:
    """Plain SQL on a running purser's store; blobs are hexadecimal text here."""

    def __init__(self, purser):
        self.purser = purser
        self.url = purser.store_env.get("PURSER_STORE")

    def run(self, text):
        """Rows of texts. One statement."""
        if self.url:
            printed = Postgres.shared().sql(self.url, text + ";")
            return [tuple(line.split("|")) for line in printed.splitlines()]
        with contextlib.closing(sqlite3.connect(self.purser.state / "purser.db", timeout=10)) as db, db:
            return [tuple("" if c is None else str(c) for c in row) for row in db.execute(text)]

    def hex(self, column):
        return f"encode({column}, 'hex')" if self.url else f"lower(hex({column}))"

    def blob(self, digits):
        return f"'\\x{digits}'::bytea" if self.url else f"x'{digits}'"

    def under_keys(self):
        """{key: rows} over everything sealed."""
        text = " UNION ALL ".join(f"SELECT key_id FROM {t}" for t in ("global_secrets", "workspace_secrets", "platform_keys"))
        return {int(k): int(n) for k, n in self.run(f"SELECT key_id, count(*) FROM ({text}) AS x GROUP BY key_id")}


class Place:
    """One stored secret, by where it stands."""

    def __init__(self, rows, org, name, workspace=None):
        self.rows, self.org, self.name, self.workspace = rows, org, name, workspace
        self.table = "workspace_secrets" if workspace else "global_secrets"
        self.where = f"org_id = '{org}' AND name = '{name}'" + (f" AND workspace_id = '{workspace}'" if workspace else "")

    def read(self):
        """(sealed, version, key_id, fingerprint)"""
        r = self.rows
        (row,) = r.run(f"SELECT {r.hex('sealed')}, version, key_id, {r.hex('fingerprint')} FROM {self.table} WHERE {self.where}")
        return row

    def write(self, row):
        sealed, version, key, fingerprint = row
        r = self.rows
        r.run(f"UPDATE {self.table} SET sealed = {r.blob(sealed)}, version = {version}, key_id = {key},"
              f" fingerprint = {r.blob(fingerprint)} WHERE {self.where}")


class Puller:
    """A workspace that asks for its own secrets; on a key of its own, so that it needs no gateway."""

    def __init__(self, purser, org, **fields):
        self.purser, self.org = purser, org
        own = {"model": "opus", "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": new_key()}}
        self.id, _ = purser.new_workspace(["/bin/true"], org=org, start=False, **(own | fields))
        self.token = purser.api("POST", f"/workspaces/{self.id}/tokens", org=org)["auth_token"]

    def put(self, name, value):
        return self.purser.api("PUT", f"/workspaces/{self.id}/secrets", {"key": name, "value": value}, org=self.org)

    def pull(self):
        return self.purser.request("GET", f"/workspaces/{self.id}/secrets/values", token=self.token)

    def values(self):
        response = self.pull()
        if response.status_code != 200:
            raise Problem(response)
        return response.json()


def kill_purserd(purser, old=None, how=signal.SIGKILL):
    """kill -9, and until there is another one that serves. old: its pid, if there is no time to look for it."""
    old = old or purser.purserd_pid()
    os.kill(old, how)
    wait_until(lambda: purser.purserd_pid() not in (None, old) and purser.healthy(), "purserd to be back", 20)
