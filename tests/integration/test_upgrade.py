"""Two versions side by side: what a new purserd publishes is not what an old worker can read, and the other way round."""

import contextlib
import mmap
import os
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
