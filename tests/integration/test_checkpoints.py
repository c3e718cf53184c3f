"""Signed checkpoints: what a chain by itself cannot show, they do; and what was kept elsewhere, even more."""

import json
import shutil
import sqlite3
import stat

import pytest

from harness import MODEL, Purser, make_folder, wait_until


def ask(agent):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


@pytest.fixture(scope="module")
def original(shared_sim):
    """A state directory with some history and checkpoints, and an export kept elsewhere."""
    folder = make_folder()
    purser = Purser(shared_sim, state=folder / "state", flags=["--checkpoint-s", "1", "--metrics-listen", "none"])
    agent = purser.new_agent()
    for n in range(3):
        ask(agent)
        agent.wait_entries(n + 1)

    def export():
        kept = json.loads(purser.cli("audit", "export").stdout)["checkpoints"]
        return kept if {(c["chain"], c["seq"]) for c in kept} == {("ledger", 3), ("decision", 1)} else None
    kept = wait_until(export, "the heads to be signed", 5)
    (folder / "kept.json").write_text(json.dumps({"checkpoints": kept}))
    purser.stop()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def state(original, tmp_path):
    """A copy that a test may falsify."""
    shutil.copytree(original / "state", tmp_path / "state", ignore=shutil.ignore_patterns("homes", "*.sock"))
    return tmp_path / "state"


def change(state, *statements):
    with sqlite3.connect(state / "purser.db") as db:
        for sql in statements:
            assert db.execute(sql).rowcount > 0, sql
    db.close()


def verify(purser, state, *more, code):
    done = purser.cli_offline("audit", "verify", "--state", state, *more)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_an_honest_store_agrees_with_its_checkpoints(purser, original, state):
    told = verify(purser, state, "--checkpoints", original / "kept.json", code=0)
    assert "checkpoints  agree" in told and "Every chain holds." in told
    key = state / "node-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    kept = json.loads((original / "kept.json").read_text())["checkpoints"]
    assert f"signed with {kept[0]['public_key']}" in told
    assert kept[0]["public_key"] not in key.read_text()


CUT = ("DELETE FROM ledger WHERE seq = 3",
       "UPDATE heads SET seq = 2, hash = (SELECT hash FROM ledger WHERE seq = 2) WHERE chain = 'ledger'")


def test_entries_cut_off_with_their_head_are_missed_by_the_checkpoints(purser, state):
    change(state, *CUT)
    told = verify(purser, state, code=1)
    assert "BROKEN" not in told, "the chain by itself cannot know"
    assert "ledger entry 3 was there at checkpoint" in told and "DISAGREE" in told


def test_checkpoints_removed_too_are_missed_by_an_export(purser, original, state):
    change(state, *CUT, "DELETE FROM checkpoints WHERE number >= (SELECT MIN(number) FROM checkpoints"
           " WHERE chain = 'ledger' AND seq = 3)")
    assert "Every chain holds." in verify(purser, state, code=0), "this is what a store by itself cannot show"
    told = verify(purser, state, "--checkpoints", original / "kept.json", code=1)
    assert "kept.json: ledger entry 3 was there" in told


@pytest.mark.parametrize("sql, said", [
    ("UPDATE checkpoints SET seq = seq - 1 WHERE chain = 'ledger' AND seq = 3", "its signature does not fit"),
    ("UPDATE checkpoints SET hash = x'" + "00" * 32 + "' WHERE number = 1", "its signature does not fit"),
    ("DELETE FROM checkpoints WHERE number = 1", "checkpoint 1 is missing"),
])
def test_a_falsified_checkpoint_is_found(purser, state, sql, said):
    change(state, sql)
    assert said in verify(purser, state, code=1)


def test_an_entry_replaced_together_with_its_hashes_is_another_one(purser, state):
    # As one who computes the chain anew would: the newest entry gets another hash, the head names it.
    change(state, "UPDATE ledger SET hash = x'" + "11" * 32 + "' WHERE seq = 3",
           "UPDATE heads SET hash = x'" + "11" * 32 + "' WHERE chain = 'ledger'")
    assert "ledger entry 3 is another one than at checkpoint" in verify(purser, state, code=1)


def test_a_running_server_tells_the_same(purser):
    told = json.loads(purser.cli("audit", "verify", "--json").stdout)
    assert told["valid"] and told["checkpoints"]["valid"] and "checkpoints" in told["cannot_show"]
