"""Two versions side by side: what a new purserd publishes is not what an old worker can read, and the other way round."""

import contextlib
import mmap
import os
import signal
import struct

import anthropic  # noqa: F401 -- loaded before the clock runs
import pytest

from harness import MODEL, InBackground, run_directory, wait_until

VERSION_AT, STATE_AT, SUPERSEDED, LIVE = 8, 12, 2, 1


def ask(text):
    return {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": text}]}


def stream(agent, text):
    with agent.anthropic().messages.stream(**ask(text)) as s:
        return s.get_final_message().usage.output_tokens


def set_state(path, state):
    with open(path, "r+b") as f, mmap.mmap(f.fileno(), 0) as memory:
        struct.pack_into("=I", memory, STATE_AT, state)


@contextlib.contextmanager
def published_by_another_version(purser):
    """A policy of a layout nobody here knows takes the name; the one before says that it is superseded."""
    path = run_directory(purser.state) / "policy"
    kept = path.with_name("policy.kept")
    os.link(path, kept)
    other = bytearray(path.read_bytes())
    other[VERSION_AT:VERSION_AT + 4] = struct.pack("=I", 999)
    fresh = path.with_name("policy.other")
    fresh.write_bytes(other)
    fresh.rename(path)
    set_state(kept, SUPERSEDED)
    yield
    set_state(kept, LIVE)
    kept.rename(path)


def test_an_old_worker_ends_its_calls_and_takes_no_new_one(own_sim, own_purser):
    agent = own_purser.new_agent()
    call = InBackground(stream, agent, "sim: input=10 output=100 events=100 delay_ms=30")
    wait_until(lambda: own_sim.calls(outcome="open"), "the stream")
    with published_by_another_version(own_purser):
        told = agent.post(ask("hi"))
        assert (told.status_code, told.headers["x-purser-code"]) == (503, "NO_POLICY")
        assert told.headers["x-should-retry"] == "true" and "retry-after" in told.headers
        assert call.result() == 100
    assert agent.post(ask("hi")).status_code == 200
    rows = agent.wait_entries(2)
    assert {(row["state"], row["certainty"]) for row in rows} == {("settled", "exact")}


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: os.urandom(len(b)), lambda b: b[:-4096]],
                         ids=["short", "empty", "noise", "cut"])
def test_a_damaged_policy_is_no_policy(purser, sim, damage):
    agent = purser.new_agent()
    path = run_directory(purser.state) / "policy"
    kept = path.with_name("policy.kept")
    os.link(path, kept)
    damaged = path.with_name("policy.damaged")
    damaged.write_bytes(damage(path.read_bytes()))
    damaged.rename(path)
    set_state(kept, SUPERSEDED)
    try:
        assert agent.post(ask("hi")).headers["x-purser-code"] == "NO_POLICY"
    finally:
        set_state(kept, LIVE)
        kept.rename(path)
    assert agent.post(ask("hi")).status_code == 200
    agent.stop()


def budget_of(agent):
    shown = agent.purser.api("GET", f"/workspaces/{agent.id}/budget", org=agent.org)["budgets"]
    (found,) = [b for b in shown if b["scope"] == "workspace"]
    return found


def become_another_versions(purser, *names):
    """What purserd finds when it starts: files of another version, mapped by the workers that run."""
    for name in names:
        with open(run_directory(purser.state) / name, "r+b") as f, mmap.mmap(f.fileno(), 4096) as memory:
            struct.pack_into("=I", memory, VERSION_AT, 999)


@pytest.mark.parametrize("names", [["policy"], ["counters"], ["policy", "counters"]], ids="+".join)
def test_another_versions_files_are_made_anew_and_no_budget_forgets(own_sim, own_purser, names):
    agent = own_purser.new_agent()
    own_purser.api("PATCH", f"/workspaces/{agent.id}/budget",
                   {"budget_limits": {"monthly": {"limit": 100, "mode": "hard"}}}, org=agent.org)
    with agent.open_call("input=10 output=100"):
        assert agent.post(ask("hi")).status_code == 200
        wait_until(lambda: agent.usage()["calls"] == 1, "its row")
        assert budget_of(agent)["open_nano_usd"] > 0
        old = own_purser.purserd_pid()
        become_another_versions(own_purser, *names)
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: own_purser.purserd_pid() not in (None, old) and own_purser.healthy(), "purserd to be back", 15)
        assert agent.post(ask("hi")).status_code == 200
        assert budget_of(agent)["open_nano_usd"] > 0, "a call that is open was forgotten"
    wait_until(lambda: agent.usage()["calls"] == 3, "all rows")
    told = wait_until(lambda: (b := budget_of(agent))["open_nano_usd"] == 0 and b, "the budget to be at rest")
    assert told["spent_nano_usd"] == agent.usage()["cost_nano_usd"]
