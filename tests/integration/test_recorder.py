"""The flight recorder while it is used: it grows, shrinks, is shared fairly, and is nobody else's to misread."""

import os
import re
import shutil
import signal
import struct
import subprocess
import threading
from pathlib import Path

import pytest

from harness import InBackground, Purser, children, command_of, run_directory, run_up, wait_until
from raw import START, STOP, STREAM_HEAD, Client, Vendor, ask

VERSION_AT, STATES_AT, SLOT_OPEN = 8, 4096, 1


@pytest.fixture(scope="module")
def shared_sim():
    vendor = Vendor()
    yield vendor
    vendor.stop()


@pytest.fixture
def sized(sim, tmp_path):
    """Starts pursers whose recorder_slots is in a file that a test may change."""
    made = []

    def start(slots, *flags):
        config = tmp_path / "purser.yaml"
        config.write_text(f"recorder_slots: {slots}\n")
        made.append(Purser(sim, flags=["--config", config, *flags]))
        made[0].api("PATCH", "/org/budgets", {"exempt": True}, org=made[0].default_org())
        return made[0]

    yield start
    made[0].stop()


@pytest.fixture
def held(sim):
    """Every call becomes a stream that goes on until the test lets go."""
    let_go = threading.Event()
    sim.play = lambda call: (call.read(), call.send(STREAM_HEAD, START), let_go.wait(60), call.send_and_close(STOP))
    yield let_go
    let_go.set()


def resize(purser, slots):
    config = purser.flags[1]
    config.write_text(f"recorder_slots: {slots}\n")
    os.kill(purser.process.pid, signal.SIGHUP)


def slots_of(purser):
    return purser.health().json()["recorder"]["slots"]


def streams(agent, n):
    """n calls at once, each at its own connection; their statuses and clients."""
    clients = [Client(agent).send() for _ in range(n)]
    return [(client.head(), client) for client in clients]


def ok(started):
    assert {status for (status, _), _ in started} == {200}
    return started


def finish(agent, started, held):
    """Lets the streams end; each has arrived whole and is booked once."""
    held.set()
    assert {client.body(headers) for (_, headers), client in started} == {START + STOP}
    for _, client in started:
        client.leave()
    booked(agent, len(agent.purser.sim.calls))


def booked(agent, n):
    """n rows, each as exact as what they are for; the list that is looked at holds the newest."""
    wait_until(lambda: agent.usage()["calls"] >= n, f"{n} rows")
    assert agent.usage()["calls"] == n
    assert {(row["state"], row["certainty"]) for row in agent.entries()} == {("settled", "exact")}


def try_stream(agent):
    client = Client(agent).send()
    head = client.head()
    if head[0] == 200:
        return [(head, client)]
    client.leave()
    return None


def test_it_grows_under_calls_that_are_open(sized, held):
    purser = sized(64, "--worker-processes=1")
    agent = purser.new_agent()
    started = ok(streams(agent, 64))
    assert try_stream(agent) is None
    workers = purser.worker_pids()
    resize(purser, 160)
    wait_until(lambda: slots_of(purser) == 160, "a larger recorder")
    started += wait_until(lambda: try_stream(agent), "a call in the new part")
    started += ok(streams(agent, 95))
    assert try_stream(agent) is None
    assert purser.worker_pids() == workers  # no reload: the streams went on where they were
    finish(agent, started, held)


def test_it_shrinks_when_its_end_is_free_and_grows_again(sized, held):
    purser = sized(160, "--worker-processes=1")
    agent = purser.new_agent()
    started = ok(streams(agent, 160))
    resize(purser, 80)
    wait_until(lambda: "is to hold 80 calls and holds 160" in purser.log(), "the wish to be heard")
    assert slots_of(purser) == 160
    finish(agent, started, held)
    wait_until(lambda: slots_of(purser) == 80, "a smaller recorder")
    assert (purser.state / "recorder").stat().st_size < 80 * 1536 + 11 * 4096 + 4096
    resize(purser, 160)
    wait_until(lambda: slots_of(purser) == 160, "a larger recorder")
    held.clear()
    finish(agent, ok(streams(agent, 100)), held)


def test_a_purserd_that_starts_grows_what_is_in_use(sized, held):
    purser = sized(64, "--worker-processes=1")
    agent = purser.new_agent()
    started = ok(streams(agent, 60))
    purser.flags[1].write_text("recorder_slots: 128\n")
    old = purser.purserd_pid()
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: purser.purserd_pid() not in (None, old) and purser.healthy(), "purserd to be back", 15)
    assert slots_of(purser) == 128
    started += wait_until(lambda: try_stream(agent), "a call in the new part")
    started += ok(streams(agent, 60))
    finish(agent, started, held)


def test_a_purserd_that_starts_keeps_the_file_of_a_gateway_that_is_idle(sized, sim):
    """No worker has a lane, and for the new size the file would be made quite differently."""
    purser = sized(64, "--worker-processes=1")
    agent = purser.new_agent()
    assert Client(agent).send().answer()[0] == 200
    wait_until(lambda: lanes_taken(purser) == 0, "the worker to be idle")
    before = (purser.state / "recorder").stat().st_ino
    os.kill(purser.process.pid, signal.SIGSTOP)  # who would start purserd again before we are ready
    old = purser.purserd_pid()
    os.kill(old, signal.SIGKILL)
    purser.flags[1].write_text("recorder_slots: 8192\n")
    os.kill(purser.process.pid, signal.SIGCONT)
    wait_until(lambda: purser.purserd_pid() not in (None, old) and purser.healthy(), "purserd to be back", 15)
    assert (purser.state / "recorder").stat().st_ino == before
    assert slots_of(purser) == 8192
    assert Client(agent).send().answer()[0] == 200
    booked(agent, 2)


def lanes_taken(purser):
    """How many lanes are some worker's: bytes of the recorder that are locked for writing."""
    inode = (purser.state / "recorder").stat().st_ino
    locks = re.findall(rf"OFDLCK +ADVISORY +WRITE .*:{inode} (\d+) (\d+)", Path("/proc/locks").read_text())
    return sum(int(last) - int(first) + 1 for first, last in locks)


def test_a_worker_gives_back_what_it_does_not_need(sized, held):
    """What one worker filled another finds free, also when the first is idle from then on."""
    purser = sized(64, "--worker-processes=2")
    agent = purser.new_agent()
    first, second = purser.worker_pids()
    os.kill(second, signal.SIGSTOP)  # all calls are the first one's
    try:
        started = ok(streams(agent, 64))
        assert lanes_taken(purser) == 16
        finish(agent, started, held)
        wait_until(lambda: lanes_taken(purser) == 0, "the lanes to be given back")
        held.clear()
        os.kill(first, signal.SIGSTOP)
        os.kill(second, signal.SIGCONT)
        more = ok(streams(agent, 64))
        assert lanes_taken(purser) == 16
    finally:
        os.kill(second, signal.SIGCONT)
        os.kill(first, signal.SIGCONT)
    finish(agent, more, held)


def write_at(path, at, content):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(content)


def test_a_recorder_of_another_layout_refuses_the_start_while_it_holds_calls(sim):
    purser = Purser(sim, flags=["--recorder-slots=64"])
    recorder = purser.state / "recorder"
    argv = [str(a) for a in purser.argv()[2:]]
    purser.process.stop()
    (version,) = struct.unpack_from("=I", recorder.read_bytes(), VERSION_AT)
    write_at(recorder, VERSION_AT, struct.pack("=I", version + 1))
    write_at(recorder, STATES_AT + 5, bytes([SLOT_OPEN]))
    kept = recorder.read_bytes()
    told = run_up(*argv)
    assert told.returncode == 1
    assert re.search(rf"holds 1 calls in the layout of another purser \({version + 1}, this one has {version}\)", told.stderr)
    assert "start that one once more" in told.stderr
    assert recorder.read_bytes() == kept
    # The one that wrote it has booked them: now it is made anew.
    write_at(recorder, STATES_AT + 5, bytes([0]))
    purser.start()
    assert struct.unpack_from("=I", recorder.read_bytes(), VERSION_AT) == (version,)
    assert Client(purser.new_agent()).send().answer()[0] == 200
    purser.stop()


def test_a_gateway_of_another_layout_does_not_start_and_the_one_before_goes_on(sized):
    """As when nginx is told to reload while only one half of purser was replaced."""
    purser = sized(64)
    agent = purser.new_agent()
    recorder = purser.state / "recorder"
    (version,) = struct.unpack_from("=I", recorder.read_bytes(), VERSION_AT)
    write_at(recorder, VERSION_AT, struct.pack("=I", version + 1))
    workers = purser.worker_pids()
    told = nginx(purser, "-t")
    assert told.returncode != 0 and "must be of one purser" in told.stderr
    (master,) = masters(purser)
    os.kill(master, signal.SIGHUP)
    wait_until(lambda: "must be of one purser" in purser.log(), "the refusal")
    assert Client(agent).send().answer()[0] == 200
    assert purser.worker_pids() == workers
    write_at(recorder, VERSION_AT, struct.pack("=I", version))
    assert nginx(purser, "-t").returncode == 0


def masters(purser):
    return [p for p in children(purser.process.pid) if command_of(p).startswith("nginx: master")]


def nginx(purser, *argv):
    run = run_directory(purser.state)
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    return subprocess.run([program, "-e", "stderr", "-p", str(run), "-c", str(run / "nginx.conf"), "-g", "daemon off;", *argv],
                          capture_output=True, text=True, timeout=60)


# ---- nginx is told things by its operator ----

def reload(purser, by_hand=False):
    """As an operator would, or by its signal; returns when only new workers take calls."""
    before = set(purser.worker_pids())
    if by_hand:
        assert nginx(purser, "-s", "reload").returncode == 0
    else:
        os.kill(masters(purser)[0], signal.SIGHUP)
    wait_until(lambda: purser.worker_pids() and not before & set(purser.worker_pids()), "new workers")


def test_no_call_fails_while_nginx_reloads_and_purserd_restarts(sim):
    purser = Purser(sim)
    agent = purser.new_agent()
    let_go, enough, statuses = threading.Event(), threading.Event(), []

    def play(call):
        long = b"long" in call.read()
        call.send(STREAM_HEAD, START)
        call.send_and_close(STOP if not long or let_go.wait(60) else b"")

    def go_on():
        while not enough.is_set():
            client = Client(agent).send()
            statuses.append(client.answer()[0])
            client.leave()

    sim.play = play
    long = Client(agent).send(body=ask("long"))
    headers = long.head()[1]
    load = [InBackground(go_on) for _ in range(3)]
    for n in range(20):
        reload(purser, by_hand=n == 0)
    old = purser.purserd_pid()
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: purser.purserd_pid() not in (None, old) and purser.healthy(), "purserd to be back", 15)
    reload(purser)
    enough.set()
    for thread in load:
        thread.result()
    let_go.set()
    assert long.body(headers) == START + STOP
    assert set(statuses) == {200} and len(statuses) > 40
    booked(agent, len(sim.calls))
    assert len(sim.calls) == 1 + len(statuses)
    purser.stop()


def test_nginx_is_not_replaced_under_its_supervisor(sim):
    """nginx itself refuses its signal for a new binary: the way is a restart of purser."""
    purser = Purser(sim)
    agent = purser.new_agent()
    (master,) = masters(purser)
    os.kill(master, signal.SIGUSR2)
    wait_until(lambda: "changing binary signal is ignored" in purser.log(), "nginx to say so")
    assert masters(purser) == [master]
    assert Client(agent).send().answer()[0] == 200
    purser.stop()
