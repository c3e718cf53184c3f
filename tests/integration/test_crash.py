"""The two crashes that fix the architecture: a worker dies in mid-stream, purserd dies during a call."""

import os
import signal

import pytest

from harness import MODEL, InBackground, wait_until


def ask(text):
    return {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": text}]}


@pytest.fixture
def agent(own_purser):
    return own_purser.new_agent()


def stream(agent, text):
    with agent.anthropic().messages.stream(**ask(text)) as s:
        return "".join(s.text_stream)


def wait_for_events(sim, n):
    return wait_until(lambda: [c for c in sim.calls(outcome="open") if c["events"] >= n], f"{n} events")[0]


def kill_workers_in_mid_stream(purser, agent, words, pieces):
    """When the client has heard so many pieces: its worker has read them, and the vendor says no more."""
    heard = 0
    with pytest.raises(Exception), agent.anthropic().messages.stream(**ask(f"sim: {words} stall_after={pieces}")) as s:
        for heard, _ in enumerate(s.text_stream, 1):
            if heard == pieces:
                for pid in purser.worker_pids():
                    os.kill(pid, signal.SIGKILL)
    assert heard == pieces


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_killed_in_mid_stream_leaves_one_recovered_row_with_exact_input(own_sim, own_purser, agent):
    kill_workers_in_mid_stream(own_purser, agent, "input=4321 cache_read=17 output=300 events=300", 20)
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"]) == ("recovered", "estimated"), row
    assert (row["input_tokens"], row["cache_read_tokens"]) == (4321, 17)
    (truth,) = wait_until(lambda: own_sim.calls(outcome="aborted_by_client"), "the vendor to notice")
    assert 0 < truth["usage"]["output"] <= row["output_tokens"] <= 400

    # nginx made a new worker; the next call is as good as any, and the old row is not booked twice.
    assert "Hello!" in wait_until(lambda: try_stream(agent, "hi"), "a new worker")
    assert sorted(r["state"] for r in agent.wait_entries(2)) == ["recovered", "settled"]


def test_the_worker_that_takes_a_dead_ones_lane_leaves_its_call_to_be_booked(own_sim, own_purser):
    # Started anew, so that no reload has moved the workers to other lanes than their successors take.
    own_purser.process.stop()
    own_purser.start()
    agent = own_purser.new_agent()
    kill_workers_in_mid_stream(own_purser, agent, "input=77 output=300 events=300", 3)
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["input_tokens"]) == ("recovered", 77)


def try_stream(agent, text):
    try:
        return stream(agent, text)
    except OSError:
        return None
    except Exception as e:  # whatever this SDK wraps a refused connection in
        if "onnect" in str(e):
            return None
        raise


def test_a_call_and_an_agent_outlive_purserd(own_sim, own_purser):
    agent = own_purser.new_agent(command="sleep 601")
    pid = int((own_purser.home(agent.id) / "pid").read_text())
    status = agent.wait_status("online")["status"]
    call = InBackground(stream, agent, 'sim: input=1000 output=60 events=60 delay_ms=50 text="as if nothing happened"')
    wait_for_events(own_sim, 5)
    old = own_purser.purserd_pid()
    assert old is not None
    os.kill(old, signal.SIGKILL)
    assert call.result() == "as if nothing happened"

    wait_until(lambda: own_purser.purserd_pid() not in (None, old) and own_purser.healthy(), "purserd to be back", 15)
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"], row["input_tokens"], row["output_tokens"]) == ("settled", "exact", 1000, 60)

    assert is_alive(pid) and agent.row()["status"] == status
    assert stream(agent, "hi").startswith("Hello!")
    agent.stop()
    wait_until(lambda: not is_alive(pid), "the agent to be stopped by the purserd that found it")
