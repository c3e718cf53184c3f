"""What purserd leans on goes away while calls come at a fixed rate, whatever their answers: none fails, none is lost.

CHAOS_OUTAGE_S says for how long, and then every kind of outage is tried; without it two of them, that the integration
tests do not have, for two seconds. CHAOS_RATE (100) says how many calls come each second.
"""

import contextlib
import json
import os
import signal
import subprocess
import time

import httpx
import pytest

from harness import ANTHROPIC_BASE, BUILD, MODEL, Postgres, Process, Purser, Sim, children, make_folder, new_key, wait_until

SECONDS = float(os.environ.get("CHAOS_OUTAGE_S", "2"))
RATE = int(os.environ.get("CHAOS_RATE", "100"))
BEFORE_S, AFTER_S = 1, 2 + SECONDS / 4
# As docs/operations.md has it: the calls of the outage, and of the time until what waited is booked.
SLOTS = int(RATE * (SECONDS + 10))


class Load:
    """Calls that come at their rate even when answers do not."""

    def __init__(self, purser, agent, seconds, rate=RATE):
        self.log = purser.folder / "load"
        self.log.unlink(missing_ok=True)
        self.process = Process(
            [BUILD / "bench" / "bench-load", "--rate", rate, "--seconds", seconds, "--connections", 2000, "--key", agent.token,
             "--model", MODEL, "--body", 400, "--wish", "input=12 output=3", f"{purser.url}{ANTHROPIC_BASE}/v1/messages"], self.log)

    def result(self):
        self.process.child.wait(SECONDS + 200)
        return json.loads(self.log.read_text())


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    yield server
    server.stop()


class Served:
    """A purser with one agent, and a budget that is never in the way; counts what was called."""

    def __init__(self, sim, *, slots=SLOTS, server=None, env=None, flags=(), refuses=False, clock_is_set=False, **more):
        sim.reset()
        self.sim, self.server, self.slots, self.refuses, self.clock_is_set = sim, server, slots, refuses, clock_is_set
        if server:
            self.store = server.fresh()
            env = {"PURSER_STORE": self.store}
        self.purser = Purser(sim, env=env, flags=["--recorder-slots", str(slots), *flags], **more)
        org = self.purser.new_org()
        self.purser.api("PATCH", "/org/budgets", {"exempt": True}, org=org)
        self.purser.api("PUT", "/org/budgets/total", {"limit": 400_000_000}, org=org)
        self.agent = self.purser.new_agent(org=org, command="sleep 100000")

    def recorder(self):
        return self.purser.health().json()["recorder"]

    def sql(self, text):
        if not self.server:
            return self.purser.sql(text)
        return [line.split("|") for line in self.server.sql(self.store, text).splitlines()]

    def caught_up(self):
        began = time.monotonic()
        wait_until(lambda: self.purser.healthy() and self.recorder()["used"] == 0, "the drain to catch up", 120)
        return time.monotonic() - began

    def check(self, calls):
        """The vendor served so many calls, and each is in the ledger, once, in order, in the budget, and in the chain."""
        assert sum(key["calls"] for key in self.sim.stats()["keys"]) == calls
        rows = [(call, int(opened), int(cost)) for call, opened, cost in self.sql(
            "SELECT call_id, opened_ms, cost_nano_usd FROM ledger ORDER BY seq")]
        assert len(rows) == calls == len({call for call, _, _ in rows}), (len(rows), calls)
        # A call is booked after those that were opened before it and had ended by then.
        latest = back = 0
        for _, opened, _ in rows:
            latest = max(latest, opened)
            back = max(back, latest - opened)
        assert self.clock_is_set or back < 5000, f"a call was booked {back} ms behind a later one"
        (budget,) = self.purser.api("GET", "/org/budgets", org=self.agent.org)["budgets"]
        assert (budget["open_nano_usd"], budget["spent_nano_usd"]) == (0, sum(cost for _, _, cost in rows))
        told = json.loads(self.purser.cli("audit", "verify", "--json").stdout)
        assert told["valid"], told
        return back


def watch(served, seconds):
    """How full the recorder became in this time."""
    end, most = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        # Who stands still tells nothing.
        with contextlib.suppress(httpx.HTTPError, ValueError):
            health = httpx.get(served.purser.url + "/health", timeout=0.5, verify=False).json()
            most = max(most, health["recorder"]["used"])
        time.sleep(0.2)
    return most


def stop(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)


def go(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class World:
    """What an outage is made of; ends with the test."""

    def __init__(self, postgres, stack):
        self.postgres, self.stack = postgres, stack
        self.vendor = Sim({"anthropic-api": new_key()}, calls_kept=10)
        stack.callback(self.vendor.stop)

    def serve(self, **more):
        served = Served(self.vendor, **more)
        self.stack.callback(served.purser.stop)
        return served


@pytest.fixture
def world(postgres):
    with contextlib.ExitStack() as stack:
        yield World(postgres, stack)


# Each returns a purser, and what makes the outage begin and end.


def postgresql_gone(w, **more):
    return w.serve(server=w.postgres, **more), w.postgres.kill, w.postgres.start


def more_calls_than_slots(w):
    return postgresql_gone(w, slots=max(64, int(RATE * SECONDS / 2)), refuses=True)


def postgresql_hangs(w):
    pids = []

    def hang():
        pids.extend([w.postgres.process.pid, *children(w.postgres.process.pid)])
        stop(pids)

    return w.serve(server=w.postgres), hang, lambda: go(pids)


def purserd_stands_still(w, **more):
    s = w.serve(**more)
    pids = [s.purser.purserd_pid()]
    return s, lambda: stop(pids), lambda: go(pids)


def purserd_stands_still_too_long(w):
    """Longer than a policy may be used that nobody confirms."""
    return purserd_stands_still(w, flags=["--policy-max-age", str(max(1, int(SECONDS / 2)))], refuses=True)


def disk_full(w):
    folder = make_folder()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400m,mode=0711", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"this machine lets nobody mount a tmpfs: {done.stderr.strip()}")
    w.stack.callback(subprocess.run, ["umount", "-l", folder], check=True)
    ballast = folder / "ballast"

    def fill():
        with open(ballast, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(bytes(65536))

    return w.serve(state=folder / "state"), fill, ballast.unlink


def preload(source, switch):
    """What makes libc do other than it does, by a file."""
    library = switch.with_suffix(".so")
    subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", f'-DSWITCH="{switch}"', "-o", library, "-x", "c", "-"],
                   input=source, text=True, check=True)
    switch.parent.chmod(0o755)
    return {"LD_PRELOAD": str(library)}


SLOW = """
#include <sys/syscall.h>
#include <unistd.h>
static int slow(long call, int fd) { if (access(SWITCH, F_OK) == 0) usleep(700000); return (int)syscall(call, fd); }
int fsync(int fd) { return slow(SYS_fsync, fd); }
int fdatasync(int fd) { return slow(SYS_fdatasync, fd); }
"""


def disk_slow(w):
    """Each sync of a file takes 0.7 s meanwhile."""
    switch = make_folder() / "slow"
    return w.serve(env=preload(SLOW, switch)), switch.touch, switch.unlink


CLOCK = """
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long ahead(void) {
    char text[32] = {0};
    int fd = open(SWITCH, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, 31) < 0) text[0] = 0;
    if (fd >= 0) close(fd);
    return atol(text);
}
int clock_gettime(clockid_t id, struct timespec *t) {
    int code = (int)syscall(SYS_clock_gettime, id, t);
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += ahead();
    return code;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){now.tv_sec, now.tv_nsec / 1000};
    return 0;
}
"""


def clock_set(w):
    """Two hours ahead, and back, with rate limits and a budget in between."""
    switch = make_folder() / "ahead"
    s = w.serve(env=preload(CLOCK, switch), clock_is_set=True)
    s.purser.api("PUT", f"/workspaces/{s.agent.id}/limits", {"workspace": {
        "requests_per_minute": RATE * 600, "tokens_per_minute": RATE * 6000}}, org=s.agent.org)
    return s, lambda: switch.write_text("7200"), switch.unlink


OUTAGES = [purserd_stands_still, postgresql_hangs, postgresql_gone, more_calls_than_slots, purserd_stands_still_too_long,
           disk_full, disk_slow, clock_set]


@pytest.mark.parametrize("outage", OUTAGES if "CHAOS_OUTAGE_S" in os.environ else OUTAGES[:2], ids=lambda o: o.__name__)
def test_calls_go_on_and_each_is_booked_once(world, outage):
    served, begin, end = outage(world)
    load = Load(served.purser, served.agent, BEFORE_S + SECONDS + AFTER_S)
    time.sleep(BEFORE_S)
    begin()
    try:
        most = watch(served, SECONDS)
    finally:
        end()
    result = load.result()
    late = served.caught_up()
    order = served.check(result["statuses"]["200"])
    print(f"{outage.__name__}: {SECONDS:g} s, {result['calls']} calls at {result['calls_per_second']}/s: {result['statuses']}, "
          f"latency us {result['latency_us']}, recorder {most} of {served.slots}, empty {late:.1f} s after the last call, "
          f"order within {order} ms", flush=True)
    assert sum(result["statuses"].values()) == result["calls"], f"calls without an answer: {result}"
    refused = {status: n for status, n in result["statuses"].items() if status != "200"}
    if served.clock_is_set:
        # Rates were metered by the clock: until purserd has seen that it was set back.
        assert set(refused) <= {"429"} and sum(refused.values()) < 2 * RATE, result
    else:
        assert set(refused) == ({"503"} if served.refuses else set()), result
