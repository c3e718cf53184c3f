"""The store goes away, the disk is full: calls go on while they can be written down, and no row is lost."""

import os
import shutil
import subprocess

import pytest

from harness import MODEL, Postgres, Purser, make_folder, run_directory, wait_until

SLOTS = 64  # a recorder of this size is full soon


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def on_postgres(shared_sim, postgres):
    purser = Purser(shared_sim, flags=["--recorder-slots", str(SLOTS)], env={"PURSER_STORE": postgres.fresh()})
    yield purser
    purser.stop()


def ask(agent):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": "hi"}]})


def recorder(purser):
    return purser.health().json()["recorder"]


def calls_of(postgres, agent):
    """The ids of its calls in the order in which they were booked."""
    return postgres.sql(agent.purser.env["PURSER_STORE"],
                        f"SELECT call_id FROM ledger WHERE workspace_id = '{agent.id}' ORDER BY seq").split()


def test_calls_go_on_without_the_store_and_are_booked_in_order_when_it_is_back(sim, on_postgres, postgres):
    agent = on_postgres.new_agent()
    postgres.kill()
    for _ in range(30):
        assert ask(agent).status_code == 200
    health = wait_until(lambda: on_postgres.health() if recorder(on_postgres)["waiting"] == 30 else None, "calls to wait")
    assert health.status_code == 503 and health.json()["recorder"]["lag_ms"] > 0
    postgres.start()
    wait_until(lambda: recorder(on_postgres)["used"] == 0 and on_postgres.healthy(), "the drain to catch up")
    calls = calls_of(postgres, agent)
    assert len(calls) == 30 == len(sim.calls())
    # UUIDv7: the order of the ids is that of the calls.
    assert calls == sorted(calls)
    assert recorder(on_postgres)["lag_ms"] == 0


def test_a_full_recorder_refuses_and_loses_nothing(sim, on_postgres, postgres):
    agent = on_postgres.new_agent()
    postgres.kill()
    answers = [ask(agent).status_code for _ in range(SLOTS + 10)]
    # A worker refuses when its own lanes are full, so a call may still be taken by another worker after the first refusal.
    good = answers.count(200)
    assert set(answers) == {200, 503} and good <= SLOTS, answers
    assert len(sim.calls()) == good, "a call that could not be written down was made"
    postgres.start()
    wait_until(lambda: recorder(on_postgres)["used"] == 0, "the drain to catch up")
    assert len(calls_of(postgres, agent)) == good
    assert ask(agent).status_code == 200


@pytest.fixture
def small_disk():
    folder = make_folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m,mode=0711", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_refuses_calls_and_then_all_goes_on(sim, small_disk):
    purser = Purser(sim, state=small_disk / "state", flags=["--recorder-slots", str(SLOTS)])
    try:
        agent = purser.new_agent()
        ask(agent)
        agent.wait_entries(1)
        ballast = os.open(small_disk / "ballast", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError):
            while True:
                os.write(ballast, bytes(65536))
        os.close(ballast)
        answers = []

        def refused():
            answers.append(ask(agent).status_code)
            return answers[-1] == 503
        wait_until(refused, "calls to be refused", 20)
        assert set(answers) <= {200, 503}
        os.unlink(small_disk / "ballast")
        wait_until(lambda: recorder(purser)["used"] == 0 and purser.healthy(), "the drain to catch up", 20)
        assert agent.usage()["calls"] == 1 + answers.count(200) == len(sim.calls())
        assert ask(agent).status_code == 200
    finally:
        purser.stop()
        shutil.rmtree(run_directory(purser.state), ignore_errors=True)
