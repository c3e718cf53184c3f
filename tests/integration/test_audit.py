"""`purser audit`: what was decided is written down, can be decided again, and cannot be changed unseen."""

import json
import shutil
import subprocess

import pytest

from harness import MODEL, PROGRAM, SOURCE, Purser, clean_environment, make_folder

OWN = {"model": "opus", "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": "a-value-nobody-may-see"}}


def run(purser, *argv, code=0, **more):
    done = purser.cli("audit", *argv, check=False, **more)
    assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def decisions(purser, *argv):
    return json.loads(run(purser, "decisions", "--json", *argv))


def changed_registry(folder, *changes):
    text = (SOURCE / "registry" / "providers.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "providers.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def history(purser):
    """An org of its own: one start that the platform pays, one that the org pays, one refusal."""
    org = purser.new_org()
    platform = purser.new_agent(org=org)
    own = purser.new_agent(org=org, **OWN)
    refused, _ = purser.new_workspace(["/bin/true"], org=org, start=False, **OWN)
    purser.api("DELETE", f"/workspaces/{refused}/secrets/CLAUDE_CODE_OAUTH_TOKEN", org=org)
    assert purser.request("POST", f"/workspaces/{refused}/start", org=org).status_code == 422
    yield org, platform, own, refused
    platform.stop()
    own.stop()


def test_every_start_and_refusal_is_on_record_and_no_value_of_a_secret(purser, history):
    org, platform, own, refused = history
    rows = decisions(purser, "--org", org)
    assert [(r["workspace_id"], r["kind"], r["mode"], r["code"]) for r in rows] == [
        (refused, "refusal", "byok", "MISSING_BYOK_CREDENTIAL"),
        (own.id, "start", "byok", None),
        (platform.id, "start", "platform_managed", None)]
    assert all(r["registry_fingerprint"] == purser.health().json()["registry_fingerprint"] for r in rows)
    text = json.dumps(rows)
    assert "a-value-nobody-may-see" not in text and "psr_use_" not in text
    assert rows[1]["record"]["inputs"]["auth_names"] == ["CLAUDE_CODE_OAUTH_TOKEN"]
    assert [r["workspace_id"] for r in decisions(purser, "--org", org, "--workspace", own.id)] == [own.id]
    table = run(purser, "decisions", "--org", org).splitlines()
    assert table[0].split() == ["WHEN", "WORKSPACE", "KIND", "MODE", "SOURCE", "PROVIDER", "MODEL", "REFUSAL"]
    assert len(table) == 4 and "MISSING_BYOK_CREDENTIAL" in table[1]


def test_a_workspaces_trail_has_its_decision_and_its_call(purser, sim, history):
    org, platform, _, _ = history
    platform.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})
    (row,) = platform.wait_entries(1)
    trail = purser.api("GET", f"/workspaces/{platform.id}/audit", org=org)
    assert [e["type"] for e in trail["events"]] == ["ledger", "decision"]
    assert (trail["total"], trail["chain_valid"]) == (2, True)
    assert trail["events"][0]["decision_id"] == trail["events"][1]["id"]
    assert trail["events"][0]["cost_nano_usd"] == row["cost_nano_usd"] > 0
    second = purser.api("GET", f"/workspaces/{platform.id}/audit?offset=1&limit=1", org=org)
    assert [e["type"] for e in second["events"]] == ["decision"] and second["chain_valid"]


def test_what_was_decided_is_decided_again(purser, history):
    org, *_ = history
    told = json.loads(run(purser, "replay", "--org", org, "--json"))
    assert (told["replayed"], told["different"], told["other_registry"]) == (3, 0, 0)
    assert "3 the same, 0 different" in run(purser, "replay", "--org", org)


def test_another_registry_is_told_in_words(purser, history, tmp_path):
    org, platform, own, refused = history
    other = changed_registry(tmp_path, ("CLAUDE_CODE_OAUTH_TOKEN", "QUITE_ANOTHER_NAME"))
    told = run(purser, "replay", "--org", org, "--registry", other, code=1)
    assert own.id in told and platform.id not in told
    assert "the refusal was none and would be MISSING_BYOK_CREDENTIAL" in told
    assert "3 of them were made with another registry" in told
    only = json.loads(run(purser, "replay", "--org", org, "--registry", other, "--workspace", platform.id, "--json"))
    assert (only["replayed"], only["different"]) == (1, 0)


def test_a_bad_registry_is_refused_before_anything_is_replayed(purser, tmp_path):
    bad = changed_registry(tmp_path, ("    kind: api-key\n", "    kind: api-key\n    colour: red\n"))
    done = purser.cli("audit", "replay", "--registry", bad, check=False)
    assert done.returncode == 1 and "REGISTRY_INVALID" in done.stderr and "providers.yaml:" in done.stderr


def test_more_records_than_a_page_are_all_replayed(purser):
    org = purser.new_org()
    workspace, _ = purser.new_workspace(["/bin/true"], org=org, start=False, **OWN)
    purser.api("DELETE", f"/workspaces/{workspace}/secrets/CLAUDE_CODE_OAUTH_TOKEN", org=org)
    for _ in range(203):
        assert purser.request("POST", f"/workspaces/{workspace}/start", org=org).status_code == 422
    assert json.loads(run(purser, "replay", "--org", org, "--json"))["replayed"] == 203
    rows = decisions(purser, "--org", org, "--all")
    assert [r["seq"] for r in rows] == list(range(203, 0, -1))
    assert len(decisions(purser, "--org", org)) == 100


@pytest.fixture
def stopped(own_sim):
    """The state of a purser that decided and booked, and that has ended."""
    folder = make_folder()
    purser = Purser(own_sim, state=folder / "state")
    agent = purser.new_agent()
    for n in range(3):
        agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})
    agent.wait_entries(3)
    for n in range(2):
        agent.purser.api("POST", f"/workspaces/{agent.id}/restart", org=agent.org)
    purser.stop()
    yield purser
    shutil.rmtree(folder)


def offline(purser, *argv, code=0):
    done = purser.cli_offline("audit", *argv, "--state", purser.state)
    assert done.returncode == code, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_trail_can_be_read_without_a_server(stopped):
    assert len(json.loads(offline(stopped, "decisions", "--json"))) == 3
    assert json.loads(offline(stopped, "replay", "--json"))["different"] == 0
    told = json.loads(offline(stopped, "verify", "--json"))
    assert told["valid"] and {c["chain"]: c["entries"] for c in told["chains"]} == {"decision": 3, "ledger": 3}


@pytest.mark.parametrize("sql, said", [
    ("UPDATE decisions SET record = replace(record, 'platform_managed', 'byok') WHERE seq = 2",
     "decision record 2 was altered"),
    ("DELETE FROM decisions WHERE seq = 1", "decision record 1 is missing"),
    ("UPDATE decisions SET seq = CASE seq WHEN 2 THEN 103 ELSE 102 END WHERE seq IN (2, 3)",
     "decision record 2 is missing or out of order"),
    ("UPDATE ledger SET cost_nano_usd = 0 WHERE seq = 3", "ledger entry 3 was altered"),
    ("DELETE FROM ledger WHERE seq = 2", "ledger entry 2 is missing"),
    ("DELETE FROM ledger WHERE seq = 3", "ledger entry 3 is missing"),
])
def test_a_changed_store_is_found_and_the_first_bad_entry_named(stopped, sql, said):
    assert stopped.sql(sql + " RETURNING 1")
    told = offline(stopped, "verify", code=1)
    assert said in told and "tampered" in told and "cannot show" in told


def test_a_doubled_entry_is_found(stopped):
    names = stopped.columns("decisions")
    values = ["4" if n == "seq" else "'01900000-0000-7000-8000-000000000000'" if n == "id" else n for n in names]
    stopped.sql(f"INSERT INTO decisions ({', '.join(names)}) SELECT {', '.join(values)} FROM decisions WHERE seq = 3")
    assert "decision record 4 does not follow the one before it" in offline(stopped, "verify", code=1)


def test_a_falsified_result_is_found_by_the_replay(stopped):
    stopped.sql("UPDATE decisions SET record = replace(record, '\"resolved_mode\":\"platform_managed\"',"
                " '\"resolved_mode\":\"byok\"') WHERE seq = 2")
    assert "the mode was byok and would be platform_managed" in offline(stopped, "replay", code=1)


def test_verify_of_a_running_server_says_what_a_chain_cannot_show(purser, history):
    told = run(purser, "verify")
    assert "Every chain holds." in told and "cannot show" in told


def test_a_state_directory_without_a_store_is_a_mistake_and_makes_none(purser, tmp_path):
    done = subprocess.run([str(PROGRAM), "audit", "verify", "--state", str(tmp_path)], env=clean_environment())
    assert done.returncode == 2 and not list(tmp_path.iterdir())
