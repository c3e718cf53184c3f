"""Orgs from their first day to the proof of their end."""

import hashlib
import json
import os
import re
import signal
import uuid

import pytest

from harness import MODEL, SOURCE, InBackground, Purser, wait_until
from test_walls import store_sql

CALL = {"model": MODEL, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture(scope="module")
def shared_purser(shared_sim):
    """With checkpoints as soon as there is something to sign."""
    purser = Purser(shared_sim, flags=["--checkpoint-s", "1"])
    yield purser
    purser.stop()


def slug_of():
    return "org-" + uuid.uuid4().hex[:8]


def suspended(purser, org):
    return purser.api("GET", f"/admin/orgs/{org}")["suspended"]


def export(purser, org):
    """The lines of an export: header, rows by table, trailer; its digest is checked."""
    answer = purser.request("GET", f"/admin/orgs/{org}/export")
    assert answer.status_code == 200 and answer.headers["content-type"] == "application/x-ndjson"
    *lines, last = answer.content.splitlines(keepends=True)
    trailer = json.loads(last)
    assert trailer["sha256"] == hashlib.sha256(b"".join(lines)).hexdigest()
    header, *rows = map(json.loads, lines)
    assert header == {"format": "purser-org-export", "version": 1}
    tables = {table: [r["row"] for r in rows if r["table"] == table] for table in trailer["rows"]}
    assert {table: len(found) for table, found in tables.items()} == trailer["rows"]
    return tables, trailer, answer.text


def delete(purser, org, *, ledger="delete", confirm=None, more=""):
    confirm = confirm or purser.api("GET", f"/admin/orgs/{org}")["slug"]
    return purser.request("DELETE", f"/admin/orgs/{org}?ledger={ledger}{more}", headers={"X-Confirm-Name": confirm})


def rows_left(purser, org):
    tables = re.findall(r'^X\((\w+), "(\w+)"', (SOURCE / "src/store/org_tables.def").read_text(), re.M)
    union = " UNION ALL ".join(f"SELECT '{t}' AS what FROM {t} WHERE {c} = '{org}'" for t, c in tables)
    found = store_sql(purser, union)
    return found.split() if isinstance(found, str) else [r[0] for r in found]


@pytest.mark.parametrize("slug", ["", "UPPER", "-first", "last-", "under_score", "dot.ted", "a" * 64, "ä",
                                  "00000000-0000-7000-8000-000000000000"])
def test_what_is_no_slug_is_refused(purser, slug):
    assert purser.request("POST", "/admin/orgs", {"slug": slug}).status_code == 400
    org = purser.new_org()
    assert purser.request("PATCH", f"/admin/orgs/{org}", {"slug": slug}).status_code == 400


def test_an_org_is_renamed_and_its_old_slug_is_free(purser):
    old, new, org = slug_of(), slug_of(), None
    org = purser.new_org(old)
    taken = purser.request("PATCH", f"/admin/orgs/{purser.new_org()}", {"slug": old})
    assert (taken.status_code, taken.json()["code"]) == (409, "CONFLICT")
    purser.cli("org", "set", old, "--slug", new, "--name", "Acme & Sons")
    shown = json.loads(purser.cli("org", "show", new, "--json").stdout)
    assert (shown["id"], shown["slug"], shown["name"]) == (org, new, "Acme & Sons")
    assert purser.request("GET", f"/admin/orgs/{old}").status_code == 404
    assert purser.request("GET", "/workspaces", org=old).status_code == 404
    assert purser.new_org(old) != org


def test_the_policy_for_vendor_keys_is_set_from_the_command_line(purser):
    org = purser.new_org()
    key = {"key": "ANTHROPIC_API_KEY", "value": "sk-none"}
    refused = purser.request("PUT", "/settings/secrets", key, org=org)
    assert refused.json()["code"] == "VENDOR_KEY_AT_ORG_SCOPE"
    purser.cli("org", "set", org, "--vendor-keys", "allow")
    assert purser.request("PUT", "/settings/secrets", key, org=org).status_code == 200
    assert purser.cli("org", "set", org, "--vendor-keys", "perhaps", check=False).returncode == 1
    assert purser.cli("org", "set", org, check=False).returncode == 2


def test_a_suspended_org_is_refused_everywhere_and_keeps_its_secrets(purser, sim):
    agent = purser.new_agent(org=purser.new_org())
    org = agent.org
    purser.api("PUT", "/settings/secrets", {"key": "KEPT", "value": "x"}, org=org)
    tokens = [purser.api("POST", path, {}, org=org)["auth_token"] for path in ("/org/tokens", f"/workspaces/{agent.id}/tokens")]
    pid = int((purser.home(agent.id) / "pid").read_text())
    assert agent.post(CALL).status_code == 200
    assert purser.api("POST", f"/admin/orgs/{org}/suspend", {})["agents_stopped"] == 1
    assert agent.post(CALL).status_code == 401
    assert not os.path.exists(f"/proc/{pid}")
    for token in tokens:
        refused = purser.request("GET", f"/workspaces/{agent.id}", token=token)
        assert (refused.status_code, refused.json()["code"]) == (403, "ORG_SUSPENDED")
    for action in ("start", "restart"):
        refused = purser.request("POST", f"/workspaces/{agent.id}/{action}", org=org)
        assert (refused.status_code, refused.json()["code"]) == (403, "ORG_SUSPENDED")
        assert "purser org resume" in refused.json()["error"]
        assert agent.row()["desired"] == "stopped"
    refused = purser.request("POST", f"/workspaces/{agent.id}/runs", org=org)
    assert (refused.status_code, refused.json()["code"]) == (403, "ORG_SUSPENDED")
    purser.api("POST", f"/admin/orgs/{org}/suspend", {})  # again: nothing more
    purser.api("POST", f"/admin/orgs/{org}/resume", {})
    assert [s["key"] for s in purser.api("GET", "/settings/secrets", org=org)] == ["KEPT"]
    assert purser.request("GET", f"/workspaces/{agent.id}", token=tokens[0]).status_code == 200
    assert agent.row()["status"] == "stopped" and agent.post(CALL).status_code == 401
    purser.api("POST", f"/workspaces/{agent.id}/start", {}, org=org)
    agent.stop()


def test_an_org_is_suspended_between_the_start_of_an_agent_and_its_first_call(purser):
    """Whatever the order of the two, nothing of a suspended org runs or calls afterwards."""
    org = purser.new_org()
    workspaces = [purser.new_workspace(["/bin/sh", "-c", 'env -0 > "$HOME/env.part"; mv "$HOME/env.part" "$HOME/env"; sleep 600'],
                                       org=org, start=False)[0] for _ in range(4)]
    starts = [InBackground(purser.request, "POST", f"/workspaces/{w}/start") for w in workspaces]
    purser.api("POST", f"/admin/orgs/{org}/suspend", {})
    codes = [s.result().status_code for s in starts]
    assert set(codes) <= {200, 403}
    for workspace in workspaces:
        assert purser.api("GET", f"/workspaces/{workspace}", org=org)["status"] == "stopped"
    live = purser.api("GET", "/org/tokens?all=1", org=org)["tokens"]
    assert not [t for t in live if t["kind"] == "usage"]


def test_a_suspension_that_a_crash_cut_off_is_finished_at_the_next_start(own_purser):
    """The store says suspended; purserd died before it told anybody."""
    purser = own_purser
    agent = purser.new_agent()
    pid = int((purser.home(agent.id) / "pid").read_text())
    store_sql(purser, f"UPDATE orgs SET suspended = 1 WHERE id = '{agent.org}'")
    assert agent.post(CALL).status_code == 200
    os.kill(purser.purserd_pid(), signal.SIGKILL)
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"), "the agent to be stopped", 20)
    wait_until(purser.healthy, "purserd to come back", 30)
    assert agent.post(CALL).status_code == 401
    assert suspended(purser, agent.org) and agent.row()["desired"] == "stopped"


def furnished(purser):
    """An org with something in every table, and a value that must not leave."""
    canary = "canary-" + uuid.uuid4().hex
    agent = purser.new_agent(org=purser.new_org(), secrets={"OWN_SECRET": canary})
    purser.api("PUT", "/settings/secrets", {"key": "ORG_SECRET", "value": canary}, org=agent.org,
               headers={"Idempotency-Key": "k-" + agent.org})
    token = purser.api("POST", "/org/tokens", {"name": "ci"}, org=agent.org)["auth_token"]
    assert agent.post(CALL).status_code == 200
    agent.wait_entries(1)
    own = purser.api("POST", f"/workspaces/{agent.id}/tokens", {}, org=agent.org)["auth_token"]
    purser.api("POST", "/registry/heartbeat", {"workspace_id": agent.id, "error_rate": 0}, token=own)
    purser.api("POST", f"/workspaces/{agent.id}/runs", {}, org=agent.org)
    purser.api("PATCH", f"/workspaces/{agent.id}/budget", {"budget_limit": 5000}, org=agent.org)
    purser.api("PATCH", "/org/budgets", {"exempt": True}, org=agent.org)
    purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"concurrent": 9}}, org=agent.org)
    wait_until(lambda: len(signed(purser, agent.org)) == 2, "the ends of both chains to be signed")
    return agent, canary, token


def signed(purser, org):
    """The chains whose present end a checkpoint shows."""
    ends = {(c, s) for c, s in purser.sql("SELECT chain, seq FROM heads WHERE org_id = ? AND chain <> 'event'", org)}
    return ends & set(purser.sql("SELECT chain, seq FROM checkpoints WHERE org_id = ?", org))


def test_an_export_holds_everything_but_values_and_tokens(purser, sim):
    agent, canary, token = furnished(purser)
    purser.api("POST", f"/admin/orgs/{agent.org}/suspend", {})
    tables, trailer, text = export(purser, agent.org)
    # What tells of entries that were removed for their age: there are none yet.
    assert {t for t, n in trailer["rows"].items() if n == 0} == {"anchors", "pruned_spend"}
    assert [s["name"] for s in tables["global_secrets"]] == ["ORG_SECRET"]
    assert {"OWN_SECRET", "MODEL"} <= {s["name"] for s in tables["workspace_secrets"]}
    assert tables["ledger"][0]["cost_nano_usd"] > 0 and tables["decisions"][0]["workspace_id"] == agent.id
    for kept in (canary, canary.encode().hex(), token, hashlib.sha256(token.encode()).hexdigest(), agent.token):
        assert kept not in text
    assert export(purser, agent.org)[1]["sha256"] == trailer["sha256"]


def test_deleting_wants_to_be_told_twice_and_what_becomes_of_the_ledger(purser):
    org, other = purser.new_org(), purser.new_org()
    slug = purser.api("GET", f"/admin/orgs/{org}")["slug"]
    for answer in (delete(purser, org, confirm="other"), delete(purser, org, ledger=""), delete(purser, org, ledger="perhaps"),
                   delete(purser, org, confirm=purser.api("GET", f"/admin/orgs/{other}")["slug"])):
        assert (answer.status_code, answer.json()["code"]) == (400, "CONFIRMATION_REQUIRED")
    assert not suspended(purser, org)
    assert purser.cli("org", "delete", slug, check=False).returncode == 2
    assert delete(purser, str(uuid.uuid4()), confirm="x").status_code == 404


@pytest.mark.parametrize("ledger", ["keep", "delete"])
def test_a_deleted_org_leaves_the_proof_of_what_went_and_nothing_else(purser, sim, ledger):
    agent, canary, token = furnished(purser)
    home, pid = purser.home(agent.id), int((purser.home(agent.id) / "pid").read_text())
    bystander = purser.new_agent(org=purser.new_org())
    gone = delete(purser, agent.org, ledger=ledger).json()
    assert gone["ledger"] == {"keep": "kept", "delete": "deleted"}[ledger]
    assert gone["rows"]["workspaces"] == 1 and gone["rows"]["ledger"] == 1 and len(gone["export_sha256"]) == 64
    assert not home.exists() and not os.path.exists(f"/proc/{pid}")
    # Checkpoints are numbered over all orgs: without those of one, others would seem to be missing.
    assert set(rows_left(purser, agent.org)) == {"checkpoints"} | ({"heads", "ledger"} if ledger == "keep" else set())
    assert purser.api("GET", "/admin/audit/verify")["valid"]
    assert purser.request("GET", "/workspaces", token=token).status_code == 401
    assert agent.post(CALL).status_code == 401 and bystander.post(CALL).status_code == 200
    records = purser.api("GET", "/admin/deleted-orgs")
    assert records["chain_valid"] and records["deleted"][-1] == gone
    assert gone["slug"] in purser.cli("org", "deleted").stdout
    purser.new_org(gone["slug"])
    bystander.stop()


def test_only_what_was_exported_is_deleted(purser, sim, tmp_path):
    agent, canary, token = furnished(purser)
    file = tmp_path / "export.ndjson"
    slug = purser.api("GET", f"/admin/orgs/{agent.org}")["slug"]

    def delete_exported():
        return purser.cli("org", "delete", slug, "--confirm", slug, "--ledger", "delete", "--export", file, check=False)

    purser.cli("org", "export", slug, "--output", file)
    assert file.stat().st_mode & 0o777 == 0o600
    done = delete_exported()
    assert done.returncode == 1 and "suspend" in done.stderr
    purser.cli("org", "suspend", slug)
    done = delete_exported()
    assert done.returncode == 1 and "changed since that export" in done.stderr
    file.unlink()
    purser.cli("org", "export", slug, "--output", file)
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"ORG_SECRET", b"ORG_SECRAT"))
    assert "altered" in delete_exported().stderr
    file.write_bytes(whole)
    done = delete_exported()
    assert done.returncode == 0, done.stderr
    assert purser.api("GET", "/admin/deleted-orgs")["deleted"][-1]["export_sha256"] == json.loads(whole.splitlines()[-1])["sha256"]


def test_an_export_is_not_written_over_a_file(purser, tmp_path):
    file = tmp_path / "there"
    file.write_text("mine")
    assert purser.cli("org", "export", purser.new_org(), "--output", file, check=False).returncode == 1
    assert file.read_text() == "mine"


def test_commands_say_what_to_type_next(purser):
    purser.new_org()
    agent = purser.new_agent(org=purser.new_org())
    slug = purser.api("GET", f"/admin/orgs/{agent.org}")["slug"]
    agent.stop()
    assert f"org {slug} " in purser.cli("audit", "verify", "--org", slug).stdout
    nowhere = str(uuid.uuid4())
    for argv, hint in ((["org", "show", "nobody"], "purser org list"), (["workspace", "list", "--org", "nobody"], "purser org list"),
                       (["workspace", "show", "nobody", "--org", slug], "purser workspace list"),
                       (["workspace", "show", nowhere, "--org", slug], "purser workspace list"),
                       (["workspace", "start", nowhere, "--org", slug], "purser workspace list"),
                       (["workspace", "list"], "purser org list")):
        done = purser.cli(*argv, check=False)
        assert done.returncode == 1 and hint in done.stderr, done.stderr


def test_a_server_without_orgs_says_how_to_make_one(own_purser):
    done = own_purser.cli("workspace", "list", check=False)
    assert done.returncode == 1 and "purser org create" in done.stderr
