"""Backup while it serves, restore elsewhere, and a doctor who finds what was broken on purpose."""

import json
import os
import shutil
import sqlite3
import subprocess

import pytest

from harness import MODEL, PROGRAM, Purser, clean_environment, make_folder, new_key

on_sqlite = pytest.mark.skipif(os.environ.get("TEST_STORE", "sqlite") != "sqlite",
                               reason="PostgreSQL is backed up by its own tools")


def offline(*argv, **env):
    return subprocess.run([str(PROGRAM), *map(str, argv)], text=True, capture_output=True, timeout=120,
                          env=clean_environment(**env))


def backup(purser, folder, *flags):
    return offline("backup", folder, "--state", purser.state, *flags)


@pytest.fixture(scope="module")
def kept(shared_sim):
    """A purser with something of everything, backed up while an agent calls, then stopped."""
    purser = Purser(shared_sim)
    org = purser.new_org("kept")
    agent = purser.new_agent(org=org)
    agent.anthropic().messages.create(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": "hi"}])
    agent.wait_entries(1)
    secret = "kept-" + new_key()
    purser.api("PUT", f"/workspaces/{agent.id}/secrets", {"key": "NOTE", "value": secret}, org=org)
    token = purser.api("POST", f"/workspaces/{agent.id}/tokens", {"name": "t"}, org=org)["auth_token"]
    folder = make_folder() / "backup"
    done = backup(purser, folder)
    assert done.returncode == 0, done.stderr
    purser.stop()
    yield {"folder": folder, "workspace": agent.id, "org": org, "secret": secret, "token": token, "said": done.stdout}


@on_sqlite
def test_a_backup_of_a_serving_purser_comes_back_whole(kept, shared_sim):
    state = make_folder() / "state"
    done = offline("restore", kept["folder"], "--state", state)
    assert done.returncode == 0, done.stderr
    assert "restored and verified" in done.stdout
    again = Purser(shared_sim, state=state, keys={})
    values = again.api("GET", f"/workspaces/{kept['workspace']}/secrets/values", token=kept["token"])
    assert kept["secret"] in json.dumps(values)
    usage = again.api("GET", f"/workspaces/{kept['workspace']}/usage", org=kept["org"])
    assert len(usage["entries"]) == 1
    assert again.api("GET", "/admin/audit/verify", org=kept["org"])["valid"] is True
    again.stop()


@on_sqlite
def test_a_backup_is_its_owners_alone_and_says_what_it_is(kept):
    assert kept["folder"].stat().st_mode & 0o777 == 0o700
    assert all(f.stat().st_mode & 0o777 == 0o600 for f in kept["folder"].iterdir())
    manifest = json.loads((kept["folder"] / "backup.json").read_text())
    assert {f["name"] for f in manifest["files"]} >= {"purser.db", "master-key", "node-id"}
    assert {t["table"]: t["rows"] for t in manifest["tables"]}["ledger"] == 1
    assert str(kept["folder"]) in kept["said"]


@on_sqlite
@pytest.mark.parametrize("file", ["purser.db", "master-key", "node-id"])
def test_a_changed_backup_is_refused_and_leaves_nothing(kept, file):
    folder = make_folder() / "copy"
    shutil.copytree(kept["folder"], folder)
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    state = make_folder() / "state"
    done = offline("restore", folder, "--state", state)
    assert done.returncode == 1 and file in done.stderr and "SHA-256" in done.stderr
    assert list(state.iterdir()) == []


@on_sqlite
def test_nothing_is_overwritten(kept, purser):
    done = offline("restore", kept["folder"], "--state", purser.state)
    assert done.returncode == 1 and "nothing is overwritten" in done.stderr
    done = backup(purser, kept["folder"])
    assert done.returncode == 1 and "a new folder" in done.stderr
    assert purser.healthy()


@on_sqlite
def test_without_keys_there_are_none(purser):
    folder = make_folder() / "backup"
    done = backup(purser, folder, "--without-keys")
    assert done.returncode == 0 and "master-key" in done.stdout
    assert {p.name for p in folder.iterdir()} <= {"purser.db", "node-id", "backup.json"}


def findings(*flags, **env):
    done = offline("doctor", "--json", *flags, **env)
    found = {}
    for f in json.loads(done.stdout):
        if found.get(f["check"], {}).get("verdict") != "broken":
            found[f["check"]] = f
    return done.returncode, found


def test_doctor_finds_a_healthy_purser_healthy(purser):
    code, found = findings("--state", purser.state, **purser.store_env)
    assert code == 0, found
    assert found["purserd"]["found"] == "serves this state directory"
    for check in ("state directory", "permissions", "store", "migrations", "keys", "nginx", "gateway module", "registry"):
        assert found[check]["verdict"] == "ok", found[check]
    said = offline("doctor", "--state", purser.state, **purser.store_env).stdout
    assert "0 broken" in said


@pytest.fixture
def broken(kept):
    """A restored state directory to break."""
    state = make_folder() / "state"
    done = offline("restore", kept["folder"], "--state", state)
    assert done.returncode == 0, done.stderr
    return state


def verdict(check, *flags, **env):
    code, found = findings(*flags, **env)
    assert code == 1 and found[check]["verdict"] == "broken" and found[check]["do"], found[check]
    return found[check]["found"]


@on_sqlite
def test_doctor_finds_open_keys(broken):
    (broken / "master-key").chmod(0o644)
    assert "0644" in verdict("permissions", "--state", broken)


@on_sqlite
def test_doctor_finds_a_lost_and_a_foreign_key(broken, purser):
    (broken / "master-key").unlink()
    assert "master-key" in verdict("keys", "--state", broken)
    shutil.copy(purser.state / "master-key", broken / "master-key")
    assert "does not open" in verdict("keys", "--state", broken)


@on_sqlite
def test_doctor_finds_a_broken_and_a_newer_store(broken):
    with sqlite3.connect(broken / "purser.db") as db:
        db.execute("INSERT INTO schema_migrations (version, name, applied_ms) VALUES (999, 'later', 1)")
    assert "999" in verdict("migrations", "--state", broken)
    with open(broken / "purser.db", "r+b") as f:
        f.seek(4096 * 3)
        f.write(b"\xff" * 4096 * 4)
    assert verdict("store", "--state", broken)


def test_doctor_finds_a_module_that_does_not_fit(purser):
    other = make_folder() / "other.so"
    shutil.copy(PROGRAM, other)
    assert str(other) in verdict("gateway module", "--state", purser.state, "--module", other, **purser.store_env)


def test_doctor_finds_a_registry_that_is_wrong(purser):
    wrong = make_folder() / "providers.yaml"
    wrong.write_text("version: 1\nproviders: nothing\n")
    assert str(wrong) in verdict("registry", "--state", purser.state, "--registry", wrong, **purser.store_env)


def test_doctor_finds_no_state(purser):
    nowhere = make_folder() / "nowhere"
    assert str(nowhere) in verdict("state directory", "--state", nowhere)
    assert not nowhere.exists()
