"""Retention: what is old goes, what stays still proves itself, and no sum changes."""

import ctypes
import ctypes.util
import json
import os
import shutil
import signal
import sqlite3
import struct
import time
import uuid

import pytest

from harness import MODEL, Purser, make_folder, run_up, wait_until

DAY_MS = 24 * 3600 * 1000
SODIUM = ctypes.CDLL(ctypes.util.find_library("sodium"))
FLAGS = ["--checkpoint-s", "1", "--metrics-listen", "none"]
KEEP = ["--retention-ledger-days", "400", "--retention-decisions-days", "35"]

on_sqlite = pytest.mark.skipif(os.environ.get("TEST_STORE", "sqlite") != "sqlite",
                               reason="falsifies a SQLite file; tests/unit/store/test_prune.c does both engines")


def ask(agent):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


def number(n):
    return struct.pack(">q", n)


def text(s):
    return number(len(s)) + s.encode()


def make_older(state, days):
    """As if time had passed: every checkpoint was signed so long ago, by the node itself."""
    seed = bytes.fromhex((state / "node-key").read_text().strip())
    public, secret = ctypes.create_string_buffer(32), ctypes.create_string_buffer(64)
    assert SODIUM.crypto_sign_seed_keypair(public, secret, seed) == 0
    with sqlite3.connect(state / "purser.db") as db:
        rows = db.execute("SELECT node_id, number, org_id, chain, seq, hash, created_ms, public_key FROM checkpoints")
        for node, n, org, chain, seq, digest, created, key in rows.fetchall():
            assert key == public.raw
            created -= days * DAY_MS
            message = (text("purser checkpoint 1") + uuid.UUID(node).bytes + number(n) + uuid.UUID(org).bytes
                       + text(chain) + number(seq) + digest + number(created))
            signature = ctypes.create_string_buffer(64)
            SODIUM.crypto_sign_detached(signature, None, message, ctypes.c_ulonglong(len(message)), secret)
            db.execute("UPDATE checkpoints SET created_ms = ?, signature = ? WHERE node_id = ? AND number = ?",
                       (created, signature.raw, node, n))
        db.execute("UPDATE events SET created_ms = created_ms - ?", (days * DAY_MS,))
    db.close()


def count(state, table):
    db = sqlite3.connect(state / "purser.db")
    (n,) = db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()
    db.close()
    return n


def verify(purser, state, *more, code):
    done = purser.cli_offline("audit", "verify", "--state", state, *more)
    assert done.returncode == code, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def old(shared_sim):
    """A state directory whose four calls and one decision are 401 days old, and what was known of them then."""
    folder = make_folder()
    purser = Purser(shared_sim, state=folder / "state", flags=FLAGS)
    agent = purser.new_agent()
    purser.api("PUT", "/org/budgets/total", {"limit": 100000}, org=agent.org)
    for n in range(4):
        ask(agent)
        agent.wait_entries(n + 1)

    def export():
        kept = json.loads(purser.cli("audit", "export").stdout)["checkpoints"]
        return {(c["chain"], c["seq"]) for c in kept} == {("ledger", 4), ("decision", 1)}
    wait_until(export, "the heads to be signed", 5)
    budgets = purser.api("GET", "/org/budgets", org=agent.org)
    agent.stop()
    purser.stop()
    make_older(folder / "state", 401)
    yield folder / "state", agent.org, budgets
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pruned(shared_sim, old):
    """The same after one round of retention, and how the server spoke of it."""
    folder = make_folder()
    shutil.copytree(old[0], folder / "state", ignore=shutil.ignore_patterns("homes", "*.sock"))
    purser = Purser(shared_sim, keys={}, state=folder / "state", flags=FLAGS + KEEP)
    org = old[1]
    wait_until(lambda: purser.sql("SELECT COUNT(*) FROM nodes WHERE retained_ms > 0") == [(1,)], "a round", 10)
    told = {
        "usage": purser.api("GET", "/usage", org=org),
        "statement": purser.api("GET", "/usage/statement?month=2020-01", org=org),
        "budget": purser.api("GET", "/org/budgets", org=org),
        "verify": json.loads(purser.cli("audit", "verify", "--json").stdout),
        "events": purser.sql("SELECT COUNT(*) FROM events WHERE created_ms < ?", int(time.time() * 1000) - 90 * DAY_MS),
        "doctor": purser.cli_offline("doctor", "--state", folder / "state").stdout,
        "export": purser.request("GET", f"/admin/orgs/{org}/export").text,
    }
    purser.stop()
    yield folder / "state", told
    shutil.rmtree(folder)


@pytest.fixture
def state(pruned, tmp_path):
    """A copy that a test may falsify."""
    shutil.copytree(pruned[0], tmp_path / "state", ignore=shutil.ignore_patterns("homes", "*.sock"))
    return tmp_path / "state"


@on_sqlite
def test_what_is_old_is_gone_and_what_is_left_holds(purser, pruned):
    state, told = pruned
    assert count(state, "ledger") == 0 and count(state, "anchors") == 2
    chains = {c["chain"]: c for c in told["verify"]["chains"]}
    assert told["verify"]["valid"] and chains["ledger"]["pruned"]["entries"] == 4 and chains["ledger"]["entries"] == 4
    said = verify(purser, state, code=0)
    assert "entries 1 to 4, booked before" in said and "Every chain holds." in said
    assert told["events"] == [(0,)]
    kept = state.parent / "kept.json"
    kept.write_text(purser.cli_offline("audit", "export", "--state", state).stdout)
    verify(purser, state, "--checkpoints", kept, code=0)
    assert "retention" in told["doctor"] and "last went through at" in told["doctor"]
    assert "anchors" in told["export"]


@on_sqlite
def test_answers_say_that_something_is_gone_instead_of_zero(pruned):
    told = pruned[1]
    assert told["usage"]["calls"] == 0 and told["usage"]["pruned_before_ms"] > 0
    assert told["statement"]["pruned_before_ms"] > 0 and told["statement"]["complete"] is False


@on_sqlite
def test_a_budget_over_all_time_knows_what_was_spent(old, pruned):
    def spent(answer):
        return [b["spent_nano_usd"] for b in answer["budgets"] if b["period"] == "total"]
    assert spent(pruned[1]["budget"]) == spent(old[2]) and spent(old[2])[0] > 0


@on_sqlite
@pytest.mark.parametrize("sql, said", [
    ("UPDATE anchors SET seq = 3 WHERE chain = 'ledger'", "moved or forged"),
    ("UPDATE anchors SET until_ms = until_ms + 1 WHERE chain = 'ledger'", "moved or forged"),
    ("DELETE FROM anchors WHERE chain = 'ledger'", "BROKEN"),
    ("DELETE FROM heads WHERE chain = 'ledger'", "BROKEN"),
    ("DELETE FROM checkpoints WHERE chain = 'ledger' AND seq = 4", "not covered by checkpoint"),
])
def test_whatever_is_done_to_the_anchor_is_found(purser, state, sql, said):
    with sqlite3.connect(state / "purser.db") as db:
        assert db.execute(sql).rowcount > 0
    db.close()
    assert said in verify(purser, state, code=1)


@on_sqlite
def test_a_chain_that_was_altered_is_evidence_and_stays(shared_sim, old, tmp_path):
    shutil.copytree(old[0], tmp_path / "state", ignore=shutil.ignore_patterns("homes", "*.sock"))
    with sqlite3.connect(tmp_path / "state/purser.db") as db:
        db.execute("UPDATE ledger SET cost_nano_usd = 1 WHERE seq = 2")
    db.close()
    purser = Purser(shared_sim, keys={}, state=tmp_path / "state", flags=FLAGS + KEEP)
    wait_until(lambda: "nothing old of the ledger chain" in purser.log(), "the refusal to be told", 10)
    assert count(tmp_path / "state", "ledger") == 4
    purser.stop()


@on_sqlite
def test_a_kill_while_it_removes_leaves_whole_portions(shared_sim, old, purser, tmp_path):
    shutil.copytree(old[0], tmp_path / "state", ignore=shutil.ignore_patterns("homes", "*.sock"))
    events = 20000
    with sqlite3.connect(tmp_path / "state/purser.db") as db:
        (top,) = db.execute("SELECT seq FROM heads WHERE chain = 'event'").fetchone()
        db.executemany("INSERT INTO events (org_id, seq, workspace_id, type, details, created_ms)"
                       " VALUES (?, ?, NULL, 'x', '{}', 5)", ((old[1], top + n, ) for n in range(1, events + 1)))
        db.execute("UPDATE heads SET seq = ? WHERE chain = 'event'", (top + events,))
    db.close()
    victim = Purser(shared_sim, keys={}, state=tmp_path / "state", flags=FLAGS + KEEP)
    wait_until(lambda: count(tmp_path / "state", "events") < events - 2000, "events to go", 10)
    os.kill(victim.purserd_pid(), signal.SIGKILL)
    # Its successor goes on where it was.
    wait_until(lambda: victim.sql("SELECT COUNT(*) FROM events WHERE created_ms = 5") == [(0,)], "all to be gone", 20)
    wait_until(victim.healthy, "the server to be back", 10)
    assert victim.sql("SELECT COUNT(*) FROM ledger") == [(0,)]
    victim.stop()
    verify(purser, tmp_path / "state", code=0)


def test_the_access_log_is_put_aside_once_a_day_and_old_ones_go(purser):
    log = purser.state / "access.log"
    purser.api("GET", "/admin/orgs")
    wait_until(lambda: log.exists() and log.stat().st_size > 0, "a line in the log", 5)
    for left in purser.state.glob("access.log.*"):
        left.unlink()
    ancient = purser.state / "access.log.2020-01-01"
    ancient.write_text("x")
    os.utime(ancient, (1, 1))
    days = [time.gmtime()]
    os.kill(purser.purserd_pid(), signal.SIGKILL)
    wait_until(lambda: not ancient.exists(), "a round of the next purserd", 15)
    (aside,) = wait_until(lambda: list(purser.state.glob("access.log.*")), "the log put aside", 5)
    wait_until(purser.healthy, "the server to be back", 10)

    def is_written():
        purser.health()
        return log.exists() and log.stat().st_size > 0
    wait_until(is_written, "nginx to write to a new log", 10)
    days.append(time.gmtime())
    assert aside.stat().st_size > 0 and aside.name in [time.strftime("access.log.%Y-%m-%d", day) for day in days]


@pytest.mark.parametrize("flag, words", [
    (("--retention-ledger-days", "90"), "at least 400"), (("--retention-decisions-days", "7"), "at least 35")])
def test_books_are_not_kept_for_too_short(tmp_path, flag, words):
    done = run_up("--state", tmp_path / "state", *flag)
    assert done.returncode == 2 and words in done.stderr
