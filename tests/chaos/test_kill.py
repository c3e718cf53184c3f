"""kill -9 of purserd at random moments, while twenty workspaces are started, stopped and restarted.

CHAOS_AGENT_KILLS says how often (20), CHAOS_SEED what is random (printed). After the last restart, within
five seconds: what is meant to run runs exactly once, what is not does not run, rows say so, and of all
usage tokens ever handed out those of running agents are the only ones that the gateway takes.
"""

import contextlib
import os
import random
import signal
import threading
import time

import httpx
import pytest

from harness import PATIENCE, PROGRAM, Process, Purser, Sim, clean_environment, new_key, run_directory, wait_until

KILLS = int(os.environ.get("CHAOS_AGENT_KILLS", "20"))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(1 << 30)))
WORKSPACES = 20

# Writes down its pid, its token, and whether an earlier one of its kind still lives.
AGENT = """
umask 077
for pid in $(cat "$HOME/pids" 2>/dev/null); do
  kill -0 "$pid" 2>/dev/null && echo "$pid and $$" >> "$HOME/twice"
done
echo $$ >> "$HOME/pids"
echo "$MOLECULE_LLM_USAGE_TOKEN" >> "$HOME/tokens"
exec sleep 100000
"""


class Parts(Purser):
    """purserd and nginx started one by one, so that nothing but the test starts purserd again."""

    def start(self, wait=True):
        self.run = run_directory(self.state)
        self.process = None
        self.start_purserd()
        self.nginx = Process(
            ["nginx", "-e", "stderr", "-p", self.run, "-c", self.run / "nginx.conf", "-g", "daemon off;"],
            self.folder / "nginx.log", env=clean_environment(PATH=os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin"))
        wait_until(self.healthy, "the gateway", 10)

    def start_purserd(self):
        with contextlib.suppress(FileNotFoundError):
            (self.run / "ready").unlink()
        argv = [PROGRAM, "serve", "--state", self.state, "--listen", f"127.0.0.1:{self.port}",
                "--vendor-override-url", self.sim.url, "--restart-pause-ms", "100", *self.flags]
        self.process = Process(argv, self.folder / "log", env=clean_environment(**self.env), cwd=self.folder)
        wait_until(self._serves, "purserd to serve", 20)

    def _serves(self):
        assert self.process.alive(), f"purserd ended:\n{self.log()[-4000:]}"
        with contextlib.suppress(OSError, ValueError):
            return int((self.run / "ready").read_text()) == self.process.pid
        return False

    def kill(self):
        self.process.child.kill()
        self.process.child.wait(10)

    def end(self):
        self.process.stop(signal.SIGINT, 30)
        self.nginx.stop(signal.SIGTERM)



@pytest.fixture
def parts():
    sim = Sim({"anthropic-api": new_key()})
    # Tokens that ended are tried by the hundred.
    purser = Parts(sim, flags=["--auth-failures-per-minute", "0"])
    yield purser
    purser.end()
    sim.stop()


def agents_of(workspaces):
    """The agents that live, by workspace, as the machine knows them."""
    found = {w: [] for w in workspaces}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as f:
                for entry in f.read().split(b"\0"):
                    name, _, value = entry.partition(b"=")
                    if name == b"WORKSPACE_ID" and value.decode() in found:
                        found[value.decode()].append(int(pid))
    return found


class Customer(threading.Thread):
    """Does one thing after another to its workspaces, and remembers what it last asked for."""

    def __init__(self, parts, org, workspaces, seed):
        super().__init__(daemon=True)
        self.parts, self.org, self.workspaces = parts, org, workspaces
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.asked = {w: {"running"} for w in workspaces}  # what may be wanted now
        self.done = 0
        self.start()

    def run(self):
        token = self.parts.admin_token
        with httpx.Client(base_url=self.parts.url, timeout=30, verify=False, headers={
                "Authorization": f"Bearer {token}", "X-Molecule-Org-Id": self.org}) as client:
            while not self.over.is_set():
                self.act(client, self.random.choice(self.workspaces))

    def act(self, client, workspace):
        action = self.random.choice(["start", "stop", "restart", "restart"])
        wanted = "stopped" if action == "stop" else "running"
        try:
            answer = client.post(f"/workspaces/{workspace}/{action}")
        except httpx.HTTPError:
            answer = None
        if answer is not None and answer.status_code in (200, 409):
            self.asked[workspace] = {wanted}
            self.done += 1
        else:
            # Cut off, so it may or may not have been heard.
            self.asked[workspace] |= {wanted}
            self.over.wait(0.02)


def troubles(parts, org, asked):
    """Where states and reality differ; empty when all is well."""
    found = []
    living = agents_of(asked)
    rows = {r["id"]: r for r in parts.api("GET", "/workspaces", org=org)}
    for workspace, wanted in asked.items():
        row, pids = rows[workspace], living[workspace]
        if row["desired"] not in wanted:
            found.append(f"{workspace} is meant to be {row['desired']}, asked was {wanted}")
        if row["desired"] == "running" and (row["status"] != "online" or len(pids) != 1):
            found.append(f"{workspace} is meant to run, is {row['status']} {row['last_error']} with {pids}")
        if row["desired"] == "stopped" and (row["status"] != "stopped" or pids):
            found.append(f"{workspace} is meant to be stopped, is {row['status']} with {pids}")
    return found


def settle(parts, org, asked):
    """Five seconds, and if that was not enough, what is still wrong."""
    end = time.monotonic() + 5 * PATIENCE
    while wrong := troubles(parts, org, asked):
        assert time.monotonic() < end, "\n".join(wrong)
        time.sleep(0.05)


def test_purserd_killed_at_any_moment_loses_nothing_and_runs_nothing_twice(parts):
    print(f"CHAOS_SEED={SEED} CHAOS_AGENT_KILLS={KILLS}")
    chance = random.Random(SEED)
    org = parts.default_org()
    workspaces = [parts.new_workspace(["/bin/sh", "-c", AGENT], org=org)[0] for _ in range(WORKSPACES)]
    customers = [Customer(parts, org, workspaces[i::4], chance.random()) for i in range(4)]
    for _ in range(KILLS):
        time.sleep(chance.uniform(0, 0.4))  # the moment is what is random here
        parts.kill()
        parts.start_purserd()
    for customer in customers:
        customer.over.set()
    for customer in customers:
        customer.join(30)
        assert not customer.is_alive()
    asked = {w: a for c in customers for w, a in c.asked.items()}
    assert all(c.done > 0 for c in customers)
    last = time.monotonic()
    settle(parts, org, asked)
    settled = time.monotonic() - last

    twice = {w: (parts.home(w) / "twice").read_text() for w in workspaces
             if parts.home(w) and (parts.home(w) / "twice").exists()}
    assert not twice, f"ran twice: {twice}"
    living = agents_of(workspaces)
    live, dead, starts = 0, 0, 0
    for workspace in workspaces:
        tokens = (parts.home(workspace) / "tokens").read_text().split() if parts.home(workspace) else []
        starts += len(tokens)
        for n, token in enumerate(tokens):
            runs = bool(living[workspace]) and n == len(tokens) - 1
            status = httpx.post(parts.url + "/api/v1/internal/llm/anthropic/v1/messages", headers={
                "x-api-key": token, "content-type": "application/json"}, content=b"{}", verify=False).status_code
            assert (status != 401) == runs, f"{workspace}: token {n + 1} of {len(tokens)} gave {status}, runs: {runs}"
            live, dead = live + runs, dead + (not runs)
    print(f"{KILLS} kills, {sum(c.done for c in customers)} answered actions, {starts} starts, "
          f"{live} live tokens, {dead} dead ones, settled after {settled:.1f} s")
