"""What the integration tests stand on: a fake vendor, a whole purser, and clients to call it with.

Every object starts real processes on free ports with its own temporary state and stops them again.
Nothing here sleeps for luck: wait_until() waits for a condition.
"""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
import uuid
from pathlib import Path

import httpx

SOURCE = Path(os.environ.get("SOURCE_ROOT", Path(__file__).resolve().parents[2]))
BUILD = Path(os.environ.get("BUILD_DIR") or os.environ.get("PURSER_BUILD") or SOURCE / "build").resolve()
PROGRAM = BUILD / "purser"
NODE_MODULES = SOURCE / "build" / "node" / "node_modules"
CLAUDE = NODE_MODULES / "@anthropic-ai" / "claude-code-linux-x64" / "claude"
# Under sanitizers and valgrind everything takes longer.
PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))

ANTHROPIC_BASE = "/api/v1/internal/llm/anthropic"
MODEL = "anthropic/claude-opus-4-7"
VENDOR_MODEL = "claude-opus-4-7"


# What runs in the background of a script ignores SIGINT, and so would every program and agent started from here.
signal.signal(signal.SIGINT, signal.default_int_handler)


def wait_until(condition, what, seconds=10.0):
    """Calls condition until it answers something true, and returns that."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds * PATIENCE:g} s in vain for: {what}")
        time.sleep(0.02)


# Of the ports that free_port() gave; each holds its name as long as this process lives.
_TAKEN = []


def free_port():
    """A port that is this process's until it ends, whether somebody listens there or not.

    The kernel gives no connection a port below its range, and two of these processes never get the same one.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(first, 20_000))
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0purser-test-port-{port}")
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
        except OSError:
            name.close()
            continue
        _TAKEN.append(name)
        return port


def new_key():
    """A credential for the fake vendor: random, and shaped like nobody's."""
    return "sim-key-" + uuid.uuid4().hex


# What this session made outside its processes; conftest.py removes it when all went well.
FOLDERS, STATES = set(), set()


def make_folder():
    """A folder that other uids may pass through, as an agent's home below it needs."""
    path = Path(tempfile.mkdtemp(prefix="purser-test-"))
    path.chmod(0o711)
    FOLDERS.add(path)
    return path


def run_directory(state):
    """Where purser keeps the sockets and the shared memory of a state: see paths_run_default()."""
    name = hashlib.blake2b(str(Path(state).resolve()).encode(), digest_size=32).hexdigest()[:16]
    return Path("/run/purser" if os.geteuid() == 0 else f"/tmp/purser-{os.geteuid()}") / name


class Postgres:
    """A PostgreSQL of our own: its own directory, a Unix socket, no TCP; as an unprivileged user."""

    running = []
    _shared = None

    def __init__(self):
        binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
        assert binaries, "PostgreSQL is not installed: tools/setup test"
        self.bin = binaries[-1]
        self.folder = make_folder()
        self.data = self.folder / "data"
        self.as_user = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
        self._run("initdb", "-D", self.data, "-U", "purser", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        self.process = None
        self.start()

    @classmethod
    def shared(cls):
        """One for the whole session."""
        if cls._shared is None:
            cls._shared = cls()
        return cls._shared

    def _run(self, program, *argv, **options):
        return subprocess.run([*self.as_user, str(self.bin / program), *map(str, argv)], cwd=self.folder, check=True,
                              text=True, capture_output=True, env=clean_environment(), timeout=60 * PATIENCE, **options)

    def start(self):
        # It does not outlive the tests, whatever becomes of them.
        self.process = Process(
            [*(self.as_user or ["setpriv"]), "--pdeathsig", "QUIT", self.bin / "postgres", "-D", self.data,
             "-k", self.folder, "-h", "", "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB"],
            self.folder / "log", cwd=self.folder)
        Postgres.running.append(self)
        wait_until(self._answers, "PostgreSQL to answer", 20)

    def _answers(self):
        assert self.process.alive(), "PostgreSQL ended:\n" + self.process.log()[-4000:]
        with contextlib.suppress(subprocess.CalledProcessError):
            return self.sql("postgres", "SELECT 1") == "1"

    def kill(self):
        """As a crash would: no connection is told, nothing is finished. Of one that does not run, nothing."""
        if self in Postgres.running:
            Postgres.running.remove(self)
            self.process.stop(signal.SIGQUIT)

    def stop(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database):
        return f"postgresql:///{database}?host={self.folder}&user=purser"

    def sql(self, database, text, *options):
        """What psql prints, unaligned and without headers. database may be its URL."""
        url = database if "://" in database else self.url(database)
        return self._run("psql", "-X", "-At", "-v", "ON_ERROR_STOP=1", *options, "-d", url, input=text).stdout.strip()

    def fresh(self):
        """The URL of a new, empty database."""
        name = "t" + uuid.uuid4().hex[:12]
        self.sql("postgres", f"CREATE DATABASE {name}")
        return self.url(name)


# TEST_STORE=postgresql: every purser gets a database of its own, kept with its state directory.
_DATABASES = {}


def store_environment(state):
    if os.environ.get("TEST_STORE") != "postgresql":
        return {}
    key = str(Path(state).resolve())
    if key not in _DATABASES:
        _DATABASES[key] = Postgres.shared().fresh()
    return {"PURSER_STORE": _DATABASES[key]}


def remove_traces():
    for path in [*FOLDERS, *map(run_directory, STATES)]:
        shutil.rmtree(path, ignore_errors=True)


def clean_environment(**more):
    """Nothing of the caller's credentials or settings; only what a program needs to run at all."""
    keep = ("PATH", "HOME", "LANG", "TMPDIR", "USER", "PURSER_NGINX", "ASAN_OPTIONS", "UBSAN_OPTIONS", "LSAN_OPTIONS", "LD_PRELOAD")
    return {k: os.environ[k] for k in keep if k in os.environ} | more


class Process:
    """A child in a process group of its own, with its output in a file."""

    def __init__(self, argv, log, env=None, cwd=None):
        self.argv = [str(a) for a in argv]
        self.log_path = Path(log)
        with open(self.log_path, "ab") as out:
            self.child = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=env if env is not None else clean_environment(), cwd=cwd, start_new_session=True)

    @property
    def pid(self):
        return self.child.pid

    def alive(self):
        return self.child.poll() is None

    def log(self, since=0):
        return self.log_path.read_bytes()[since:].decode(errors="replace")

    def stop(self, how=signal.SIGTERM, seconds=15):
        if self.alive():
            self.child.send_signal(how)
        try:
            return self.child.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.child.wait(5)
            raise AssertionError(f"{self.argv[:2]} did not stop on signal {how}:\n{self.log()[-4000:]}")


def forget_reports(pids):
    """What a sanitizer wrote about processes that a test ended by SIGSEGV on purpose."""
    for pid in pids:
        for report in (BUILD / "sanitizer-reports").glob(f"report.*.{pid}"):
            report.unlink()


def children(pid):
    """Pids of the living descendants of pid."""
    parent = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                parent[int(stat.parent.name)] = int(fields[1])
    found, fringe = [], [pid]
    while fringe:
        at = fringe.pop()
        below = [p for p, above in parent.items() if above == at]
        found += below
        fringe += below
    return found


def command_of(pid):
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


class Sim:
    """The fake vendor as a process of its own."""

    def __init__(self, keys=None, *, folder=None, listen=None, calls_kept=None):
        self.keys = keys or {}
        # Not whatever is free just now: a test may stop it and expect nobody, or start another one there.
        listen = listen or f"127.0.0.1:{free_port()}"
        self.own_folder = folder is None
        self.folder = folder or make_folder()
        argv = [PROGRAM, "sim", "--listen", listen]
        argv += ["--accept-any-key"] if not self.keys else []
        argv += ["--calls", calls_kept] if calls_kept else []
        for name, key in self.keys.items():
            argv += ["--key", f"{key}@{name}"]
        self.process = Process(argv, self.folder / f"sim-{uuid.uuid4().hex[:6]}.log")
        self.url = wait_until(self._first_line, "the sim to print its URL")

    def _first_line(self):
        assert self.process.alive(), "the sim died: " + self.process.log()
        line, end, _ = self.process.log().partition("\n")
        return line if end else None

    def stats(self):
        # verify=False, here and below: httpx would read all certificates of the machine first, plain HTTP or not.
        return httpx.get(self.url + "/__sim/stats", timeout=10, verify=False).json()

    def calls(self, **wanted):
        """The calls whose fields equal what is wanted, oldest first; kind "messages" unless said."""
        wanted = {"kind": "messages"} | wanted
        found = [c for c in self.stats()["calls"] if all(c[k] == v for k, v in wanted.items())]
        return sorted(found, key=lambda c: c["id"])

    def reset(self):
        httpx.post(self.url + "/__sim/reset", timeout=10, verify=False)

    def stop(self):
        code = self.process.stop()
        if self.own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        assert code == 0, f"the sim ended with {code}: {self.process.log()}"


class Problem(AssertionError):
    """The API said no where a test expected yes."""

    def __init__(self, response):
        self.status = response.status_code
        self.body = response.text
        super().__init__(f"{response.request.method} {response.request.url.path}: {self.status} {self.body}")


class Agent:
    """A started workspace: its id, its environment, its gateway."""

    def __init__(self, purser, workspace, org, env):
        self.purser, self.id, self.org, self.env = purser, workspace, org, env

    @property
    def token(self):
        return self.env["MOLECULE_LLM_USAGE_TOKEN"]

    def anthropic(self, **more):
        import anthropic

        return anthropic.Anthropic(base_url=self.env["ANTHROPIC_BASE_URL"], api_key=self.token,
                                   max_retries=0, timeout=30, **more)

    def post(self, body=None, *, content=None, headers=None, path="/v1/messages", token=None):
        """A raw call of the gateway: what no well-behaved client would send."""
        if body is not None:
            content = json.dumps(body)
        return httpx.post(self.env["ANTHROPIC_BASE_URL"] + path, content=content, timeout=30, verify=False, headers={
            "x-api-key": token or self.token, "content-type": "application/json",
            "anthropic-version": "2023-06-01"} | (headers or {}))

    @contextlib.contextmanager
    def open_call(self, words="", **more):
        """A streamed call that has begun, and whose vendor says no more: open until the block is left."""
        body = {"model": MODEL, "max_tokens": 50, "stream": True,
                "messages": [{"role": "user", "content": f"sim: stall_after=1 {words}"}]} | more
        with httpx.stream("POST", self.env["ANTHROPIC_BASE_URL"] + "/v1/messages", json=body, timeout=30 * PATIENCE,
                          verify=False, headers={"x-api-key": self.token}) as answer:
            assert answer.status_code == 200, answer.read()
            lines = answer.iter_lines()  # whose end would be that of the call
            next(line for line in lines if "content_block_delta" in line)
            yield

    def usage(self):
        return self.purser.api("GET", f"/workspaces/{self.id}/usage", org=self.org)

    def entries(self):
        return self.usage()["entries"]

    def wait_entries(self, n, seconds=5):
        """The ledger's rows, once there are n; more than n is a failure."""
        wait_until(lambda: len(self.entries()) >= n, f"{n} ledger rows", seconds)
        rows = self.entries()
        assert len(rows) == n, rows
        return rows

    def row(self):
        return self.purser.api("GET", f"/workspaces/{self.id}", org=self.org)

    def wait_status(self, status, seconds=10):
        """The row, once it says so."""
        return wait_until(lambda: (r := self.row())["status"] == status and r, f"status {status}", seconds)

    def stop(self):
        return self.purser.api("POST", f"/workspaces/{self.id}/stop", org=self.org)


class Purser:
    """`purser up` with its own state, on a free port, sending vendors' calls to a sim."""

    def __init__(self, sim=None, *, keys=None, flags=(), wait=True, state=None, port=None, env=None):
        self.sim = sim
        self.folder = make_folder()
        self.state = Path(state) if state else self.folder / "state"
        STATES.add(self.state)
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.flags = list(flags)
        self.store_env = store_environment(self.state)
        self.env = self.store_env | (env or {})
        self.process = None
        self.org = None
        self.start(wait=wait)
        if wait:
            for provider, key in (keys if keys is not None else sim.keys if sim else {}).items():
                self.api("PUT", f"/admin/platform/keys/{provider}", {"value": key})

    # ---- the processes ----

    def argv(self):
        argv = [PROGRAM, "up", "--state", self.state, "--listen", f"127.0.0.1:{self.port}"]
        if self.sim is not None:
            argv += ["--vendor-override-url", self.sim.url]
        return argv + self.flags

    def start(self, wait=True):
        self.process = Process(self.argv(), self.folder / "log", env=clean_environment(**self.env), cwd=self.folder)
        self.mark = 0
        if wait:
            wait_until(self._ready, "purser up to be ready", 20)

    def _ready(self):
        assert self.process.alive(), f"purser up ended with {self.process.child.returncode}:\n{self.log()}"
        return self.healthy()

    def health(self):
        return httpx.get(self.url + "/health", timeout=5, verify=False)

    def healthy(self):
        with contextlib.suppress(httpx.HTTPError):
            return self.health().status_code == 200
        return False

    def stop(self, how=signal.SIGINT):
        """Ctrl-C: everything that was started ends with it."""
        below = children(self.process.pid)
        code = self.process.stop(how, 20)
        left = [f"{p} {command_of(p)}" for p in below if self._is_ours(p)]
        shutil.rmtree(self.folder, ignore_errors=True)
        assert not left, f"left behind: {left}"
        return code

    def _is_ours(self, pid):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            return state != "Z" and os.path.exists(f"/proc/{pid}/exe") and (
                str(self.state) in command_of(pid) or "nginx" in command_of(pid))
        return False

    def abandon(self):
        """For tests that broke it on purpose: no questions asked."""
        for pid in [*children(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.child.wait(10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def purserd_pid(self):
        """The control plane: the child that runs this program and is neither sim nor shim."""
        for pid in children(self.process.pid):
            argv = command_of(pid).split(" ")
            if argv[0].endswith("purser") and len(argv) > 1 and argv[1].lstrip("_") in ("serve", "purserd"):
                return pid
        return None

    def worker_pids(self):
        return [p for p in children(self.process.pid) if command_of(p).startswith("nginx: worker process")
                and "shutting down" not in command_of(p)]

    def log(self):
        return self.process.log()

    # ---- the API ----

    @property
    def admin_token(self):
        return (self.state / "admin-token").read_text().strip()

    def request(self, method, path, body=None, *, org=None, token=None, headers=None):
        token = self.admin_token if token is None else token
        h = {"Authorization": f"Bearer {token}"} if token else {}
        if org is not None:
            h["X-Molecule-Org-Id"] = org
        return httpx.request(method, self.url + path, json=body, headers=h | (headers or {}), timeout=30, verify=False)

    def api(self, method, path, body=None, **more):
        """The decoded answer of a call that must succeed."""
        response = self.request(method, path, body, **more)
        if response.status_code >= 300:
            raise Problem(response)
        return response.json() if response.content else None

    def new_org(self, name=None):
        name = name or "org-" + uuid.uuid4().hex[:8]
        return self.api("POST", "/admin/orgs", {"slug": name, "name": name})["id"]

    def default_org(self):
        if self.org is None:
            self.org = self.new_org()
        return self.org

    def new_workspace(self, command, *, org=None, model=MODEL, start=True, **more):
        org = org or self.default_org()
        made = self.api("POST", "/workspaces", {
            "name": "ws-" + uuid.uuid4().hex[:8], "runtime": "claude-code", "model": model,
            "command": command, "start": start} | more, org=org)
        return made["id"], org

    def new_agent(self, *, command="sleep 600", org=None, model=MODEL, **more):
        """Starts a workspace that writes its environment down and then runs the shell command."""
        script = f'umask 077; echo $$ > "$HOME/pid"; env -0 > "$HOME/env.part" && mv "$HOME/env.part" "$HOME/env"; exec {command}'
        workspace, org = self.new_workspace(["/bin/sh", "-c", script], org=org, model=model, **more)
        return Agent(self, workspace, org, wait_until(lambda: self.read_env(workspace), "the agent's environment"))

    def home(self, workspace):
        """The agent's HOME, wherever it was put."""
        homes = [root / "homes" / workspace for root in (self.state, run_directory(self.state))]
        return next((home for home in homes if home.is_dir()), None)

    def read_env(self, workspace):
        home = self.home(workspace)
        if home is None or not (home / "env").exists():
            return None
        pairs = (home / "env").read_text().split("\0")
        return dict(p.split("=", 1) for p in pairs if p)

    # ---- the store, past purser ----

    def sql(self, statement, *values):
        """Rows of whole numbers, texts and None, on either engine; a ? takes a text, a number, bytes or None."""
        server = self.store_env.get("PURSER_STORE")
        for value in values:
            if isinstance(value, bytes):
                literal = f"'\\x{value.hex()}'::bytea" if server else f"x'{value.hex()}'"
            elif value is None:
                literal = "NULL"
            else:
                literal = str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"
            statement = statement.replace("?", literal, 1)
        if not server:
            with contextlib.closing(sqlite3.connect(self.state / "purser.db", timeout=10)) as db, db:
                db.execute("PRAGMA synchronous = OFF")
                return db.execute(statement).fetchall()
        printed = Postgres.shared().sql(server, statement, "-q", "-F", "\x1f", "-P", "null=\x01")
        return [tuple(None if c == "\x01" else int(c) if c.lstrip("-").isdigit() else c for c in line.split("\x1f"))
                for line in printed.splitlines()]

    def columns(self, table):
        if self.store_env:
            return [c for (c,) in self.sql("SELECT column_name FROM information_schema.columns WHERE table_name = ?", table)]
        return [c for (c,) in self.sql("SELECT name FROM pragma_table_info(?)", table)]

    # ---- the command line ----

    def cli(self, *argv, stdin=None, check=True, **env):
        done = subprocess.run(
            [str(PROGRAM), *map(str, argv)], input=stdin, text=True, capture_output=True, timeout=60 * PATIENCE,
            env=clean_environment(PURSER_SERVER=self.url, PURSER_TOKEN=self.admin_token, **env))
        if check:
            assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def cli_offline(self, *argv):
        """A command that asks no server; the finished process, whatever its exit code."""
        return subprocess.run([str(PROGRAM), *map(str, argv)], text=True, capture_output=True,
                              timeout=60 * PATIENCE, env=clean_environment(**self.store_env))


class Nodes:
    """Two pursers, each with a gateway of its own, on one PostgreSQL and one keyring."""

    def __init__(self, sim, *, flags=()):
        self.sim, self.flags, self.url = sim, flags, Postgres.shared().fresh()
        self.a = Purser(sim, keys={}, flags=flags, env={"PURSER_STORE": self.url})
        self.b = self.new_b()
        # Given to one of them when both are there: what the other one has of them it was told.
        for provider, key in sim.keys.items():
            self.a.api("PUT", f"/admin/platform/keys/{provider}", {"value": key})

    def new_b(self):
        """A node that was never there before."""
        self.state_b = make_folder() / "state"
        self.state_b.mkdir(mode=0o711)
        shutil.copy2(self.a.state / "master-key", self.state_b / "master-key")
        return self.start_b()

    def start_b(self, *flags):
        """The same node as before."""
        return Purser(self.sim, keys={}, flags=(*self.flags, *flags), state=self.state_b, env={"PURSER_STORE": self.url})

    def stop(self):
        self.a.stop()
        self.b.stop()

    def call(self, node, agent):
        """A call of an agent that is behind a load balancer."""
        return httpx.post(node.url + ANTHROPIC_BASE + "/v1/messages", timeout=30, verify=False, headers={
            "x-api-key": agent.token, "anthropic-version": "2023-06-01"}, json={
            "model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]})

    def sql(self, text):
        return Postgres.shared().sql(self.url, text)


def run_up(*flags, seconds=30, env=None):
    """`purser up` that is expected to end by itself; returns the finished process."""
    for state in [state for flag, state in zip(flags, flags[1:]) if flag == "--state"]:
        STATES.add(state)
        env = store_environment(state) | (env or {})
    return subprocess.run([str(PROGRAM), "up", *map(str, flags)], text=True, capture_output=True,
                          timeout=seconds * PATIENCE, stdin=subprocess.DEVNULL,
                          env=clean_environment(**(env or {})))


class InBackground:
    """Runs function in a thread; result() gives what it returned or raises what it raised."""

    def __init__(self, function, *args):
        self.answer = self.trouble = None
        self.thread = threading.Thread(target=self._run, args=(function, args), daemon=True)
        self.thread.start()

    def _run(self, function, args):
        try:
            self.answer = function(*args)
        except BaseException as e:  # handed over, not swallowed
            self.trouble = e

    def result(self, seconds=30):
        self.thread.join(seconds * PATIENCE)
        assert not self.thread.is_alive(), "still running"
        if self.trouble is not None:
            raise self.trouble
        return self.answer


def read_line(child):
    """The next line that a subprocess.Popen with a pipe says; a failure instead of a test that never ends."""
    return InBackground(child.stdout.readline).result()


# ---- prices, worked out here a second time on purpose: nano-USD of claude-opus-4-7 ----

OPUS = {"input": 5_000, "output": 25_000, "cache_read": 500, "cache_write_5m": 6_250, "cache_write_1h": 10_000}


def opus_cost(usage):
    """usage as the sim tells it; the prices are nano-USD per token."""
    return sum(usage[kind] * price for kind, price in OPUS.items())
