"""kill -9 of everything while calls go on: no attempt that reached the vendor is missing afterwards.

CHAOS_KILLS=500 makes it long, CHAOS_SEED=N repeats a run.
"""

import contextlib
import os
import random
import signal

from harness import PATIENCE, children, command_of, wait_until
from mix import Mix

KILLS = int(os.environ.get("CHAOS_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)


def kill(*pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def master_of(purser):
    return next((p for p in children(purser.process.pid) if command_of(p).startswith("nginx: master")), None)


def victims(purser, r):
    kind = r.choice(("worker", "worker", "workers", "purserd", "both", "master"))
    workers, purserd, master = purser.worker_pids(), purser.purserd_pid(), master_of(purser)
    chosen = {"worker": workers[:1], "workers": workers, "purserd": [purserd], "both": [purserd, *workers],
              "master": [master]}[kind]
    return kind, [p for p in chosen if p]


def whole(purser):
    return purser.healthy() and purser.purserd_pid() and master_of(purser) and purser.worker_pids()


def test_nothing_is_lost_when_processes_are_killed():
    print("seed", SEED)
    r = random.Random(SEED)
    mix = Mix(SEED, flags=["--recorder-sync-ms", "1000"])
    try:
        mix.start(1_000_000, threads=4)
        for n in range(KILLS):
            before = sum(mix.outcomes.values())
            wait_until(lambda: sum(mix.outcomes.values()) >= before + r.randint(10, 40), "calls to go on", 30)
            kind, pids = victims(mix.purser, r)
            kill(*pids)
            wait_until(lambda: whole(mix.purser), f"purser to be whole after kill {n} ({kind})", 60)
        mix.ended.set()
        mix.join()
        mix.settle()
        print(mix.check(killed=True), mix.outcomes)
    finally:
        mix.ended.set()
        mix.join()
        mix.stop()
