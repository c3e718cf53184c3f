"""kill -9 of everything while calls go on: no attempt that reached the vendor is missing afterwards.

CHAOS_KILLS=500 makes it long, CHAOS_SEED=N repeats a run.
"""

import collections
import contextlib
import os
import random
import signal
import time

from harness import children, command_of, run_directory, wait_until
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


def role(pid):
    argv = command_of(pid).split(" ")
    return " ".join(argv[:3]) if argv[0] == "nginx:" else " ".join([os.path.basename(argv[0]), *argv[1:2]])


def things(mix):
    """What must be the same after the storm: processes by what they are, files, usage tokens that live."""
    purser = mix.purser
    run = run_directory(purser.state)
    ((tokens,),) = purser.sql("SELECT COUNT(*) FROM tokens WHERE org_id = ? AND kind = 'usage' AND revoked_ms = 0", mix.org)
    return {
        "processes": collections.Counter(role(p) for p in children(purser.process.pid)),
        # access.log is put aside once a day.
        "files": sorted(p.name for folder in (purser.state, run) for p in folder.iterdir() if not p.name.startswith("access.log.")),
        "tokens": int(tokens),
    }


def test_nothing_is_lost_when_processes_are_killed():
    print(f"CHAOS_SEED={SEED} CHAOS_KILLS={KILLS}", flush=True)
    r = random.Random(SEED)
    mix = Mix(SEED, slow=True, flags=["--recorder-sync-ms", "1000"])
    try:
        before, began, killed = things(mix), time.monotonic(), collections.Counter()
        mix.start(1_000_000, threads=4)
        for n in range(KILLS):
            enough = mix.served() + r.randint(10, 40)
            wait_until(lambda: mix.served() >= enough, "calls to go on", 30)
            kind, pids = victims(mix.purser, r)
            kill(*pids)
            killed[kind] += 1
            wait_until(lambda: whole(mix.purser), f"purser to be whole after kill {n} ({kind})", 60)
            if n % 50 == 49:
                print(f"{n + 1} kills, {mix.served()} calls served, {time.monotonic() - began:.0f} s", flush=True)
        mix.ended.set()
        mix.join()
        mix.settle()
        print(dict(killed), mix.check(killed=True), dict(mix.outcomes))
        after = things(mix)
        assert after == before, (before, after)
    finally:
        mix.ended.set()
        mix.join()
        mix.stop()
