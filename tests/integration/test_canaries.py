"""Values that may be nowhere: stored everywhere, every route and command and crash driven, everything searched."""

import base64
import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from harness import (MODEL, PROGRAM, Postgres, Purser, Sim, children, clean_environment, command_of, forget_reports, free_port,
                     make_folder, run_directory, store_environment, wait_until)
from routes import read_routes
from rows import Place, Rows, kill_purserd


class Canaries:
    """Unique values, and what they look like in other clothes."""

    def __init__(self):
        self.values = {}

    def new(self, what):
        return self.add(what, f"canary-{uuid.uuid4().hex}-{uuid.uuid4().hex}")

    def add(self, what, value):
        self.values[what] = value
        return value

    def needles(self):
        for what, value in self.values.items():
            raw = value.encode()
            # The middle: what is told of a credential, its first characters, is no secret.
            middle = raw[16:-2] if value.startswith("psr_") else raw
            yield what, middle
            yield f"{what} in hex", middle.hex().encode()
            yield f"{what} in base64", base64.b64encode(raw)[: len(raw)]

    def found_in(self, data):
        return [what for what, needle in self.needles() if needle in data]


def everything_of(process):
    """The command line and the environment of a process, as root sees them."""
    return b"".join(Path(f"/proc/{process}/{name}").read_bytes() for name in ("cmdline", "environ"))


def files_below(folder, but=()):
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.is_symlink() and not any(part in but for part in path.relative_to(folder).parts):
            yield path


class Town:
    """A purser with canaries in it, and all that was answered."""

    def __init__(self):
        self.canaries = Canaries()
        self.answers = []
        self.client = httpx.Client(timeout=30, verify=False)
        self.sim = Sim(keys={"anthropic-api": self.canaries.new("platform key")})
        self.purser = Purser(self.sim, flags=["--recorder-slots", "256"])  # a small one: every byte of it is searched
        self.canaries.add("admin token", self.purser.admin_token)
        self.org = self.purser.new_org("town")
        self.fill()

    def stop(self):
        self.purser.stop()
        self.sim.stop()

    def ask(self, method, path, body=None, *, token=None, org="town", content=None):
        headers = {"Authorization": f"Bearer {token or self.purser.admin_token}", "Content-Type": "application/json",
                   "Accept": "application/json"}
        headers |= {"X-Molecule-Org-Id": org} if org else {}
        content = json.dumps(body) if body is not None else content
        response = self.client.request(method, self.purser.url + path, content=content, headers=headers)
        self.answers.append((f"{method} {path} {response.status_code}", str(response.headers) + response.text))
        return response

    def made_token(self, what, path):
        """Its own answer shows it, once; it is taken out of what is searched."""
        response = self.ask("POST", path, {"name": "t"})
        self.answers.pop()
        return self.canaries.add(what, response.json()["auth_token"])

    def fill(self):
        c, p = self.canaries, self.purser
        self.agent = p.new_agent(org=self.org, secrets={"AT_CREATE": c.new("secret at create")})
        c.add("usage token", self.agent.token)
        self.byok, _ = p.new_workspace(["/bin/sh", "-c", "exec sleep 600"], org=self.org, model="opus",
                                       secrets={"CLAUDE_CODE_OAUTH_TOKEN": c.new("own vendor key")})
        self.org_token = self.made_token("org token", "/org/tokens")
        self.ws_token = self.made_token("workspace token", f"/workspaces/{self.agent.id}/tokens")
        self.ask("PUT", "/settings/secrets", {"key": "OF_ORG", "value": c.new("org secret")})
        self.ask("PUT", f"/workspaces/{self.agent.id}/secrets", {"key": "OF_WORKSPACE", "value": c.new("workspace secret")})
        self.ask("POST", "/settings/secrets/import", {"secrets": {"IMPORTED": c.new("imported secret")}})
        run = self.ask("POST", f"/workspaces/{self.agent.id}/runs", {})
        self.answers.pop()
        c.add("usage token of a run", run.json()["env"]["MOLECULE_LLM_USAGE_TOKEN"])
        done = p.cli("secret", "set", "by_cli", "--org", "town", stdin=c.new("secret by command"))
        done2 = p.cli("secret", "import", "--org", "town", stdin=f"FROM_FILE='{c.new('dotenv secret')}'\n")
        done3 = p.cli("platform", "keys", "add", "moonshot", stdin=c.new("second platform key"))
        self.answers += [(str(d.args), d.stdout + d.stderr) for d in (done, done2, done3)]

    # ---- what is driven ----

    def drive_routes(self):
        """Every route, by every kind of credential, with bodies that are right, wrong and garbled; canaries in all of them."""
        c = self.canaries
        hostile = c.new("value in a wrong request")
        bodies = [
            {"key": "bad name", "value": hostile}, {"key": "GOOD_" + uuid.uuid4().hex[:6].upper(), "value": hostile},
            {"key": "LD_PRELOAD", "value": hostile}, {"key": "OPENAI_API_KEY", "value": hostile},
            {"secrets": {"bad name": hostile, "OK": hostile}, "dry_run": True}, {"secrets": {"LD_X": hostile, "OK": hostile}},
            {"secrets": {"X": [hostile]}, "name": "x"}, {"value": hostile + "\0"}, {"value": {"deep": hostile}}, {"provider": "anthropic-api", "value": ""},
            {"mode": hostile}, {"model": 7, "value": hostile}, {},
            {"id": self.agent.id, "delivery_mode": "poll", "agent_card": {"name": self.canaries.values["secret at create"]}},
            {"workspace_id": self.agent.id, "error_rate": 1, "sample_error": "401 for " + self.canaries.values["org secret"],
             "configured": False, "reason": "no good: " + self.canaries.values["workspace secret"]},
            {"budget_limits": {hostile: 1}, "workspace": {hostile: 1}, "limit": hostile},
            {"call_id": str(uuid.uuid4()), "reason": hostile, "cost_nano_usd": 1},
        ]
        # What would end the town, or what answers with a credential, is driven apart.
        apart = {"org_delete", "org_suspend", "workspace_delete", "admin_token_rotate", "org_token_create", "token_create", "secret_values",
                 "run_create"}
        for route in read_routes():
            if route.handler in apart:
                continue
            path = route.pattern.replace(":id", self.agent.id).replace(":org", "town").replace(":provider", "moonshot-none")
            path = re.sub(r":\w+", str(uuid.uuid4()), path)
            for body in bodies if route.max_body else [None]:
                self.ask(route.method, path, body)
            if route.max_body:
                self.ask(route.method, path, content='{"value": "' + hostile)
                self.ask(route.method, path, content='{"value": "' + hostile + '", "value": 1}')
                self.ask(route.method, path, content='{"value": "' + hostile + "x" * (route.max_body + 1) + '"}')
            if "/registry/" in path:
                for body in bodies:
                    self.ask(route.method, path, body, token=self.ws_token, org=None)
            for token in (self.org_token, self.ws_token, self.agent.token, "psr_adm_" + hostile, hostile):
                self.ask(route.method, path, {"value": hostile} if route.max_body else None, token=token, org=None)
        self.ask("GET", "/nowhere/" + self.agent.id, token=hostile)
        self.ask("PUT", f"/workspaces/{self.agent.id}/model", {"model": MODEL})
        self.drive_stream()

    def drive_stream(self):
        """Everything that happened so far, as it is streamed."""
        headers = {"Authorization": f"Bearer {self.purser.admin_token}", "X-Molecule-Org-Id": "town"}
        last = self.ask("GET", "/events").json()["last_id"]
        with self.client.stream("GET", self.purser.url + "/events?after=0", headers=headers) as stream:
            text = ""
            for line in stream.iter_lines():
                text += line + "\n"
                if line.startswith("id:") and int(line[3:]) >= last:
                    break
        self.answers.append(("the stream", text))

    def drive_commands(self):
        p = self.purser
        for argv in (["secret", "list", "--org", "town"], ["secret", "list", "--org", "town", "--json"], ["platform", "keys", "list"],
                     ["keys", "status"], ["keys", "rotate", "--wait"], ["keys", "add"], ["audit", "secrets", "--json"],
                     ["audit", "decisions"], ["audit", "verify"], ["token", "list", "--org", "town"], ["org", "list"],
                     ["workspace", "list", "--org", "town"], ["workspace", "env", self.agent.id, "--org", "town"],
                     ["explain", "--workspace", self.agent.id, "--org", "town"], ["usage", self.agent.id, "--org", "town"],
                     ["workspace", "show", self.agent.id, "--org", "town"], ["workspace", "logs", self.agent.id, "--org", "town"],
                     ["workspace", "pause", self.byok, "--org", "town"], ["workspace", "resume", self.byok, "--org", "town"],
                     ["usage", "--org", "town", "--by", "model"], ["usage", "statement", "--month", "2026-11", "--org", "town"],
                     ["budget", "set", self.agent.id, "--period", "day", "--limit", "20", "--org", "town"],
                     ["budget", "list", "--org", "town", "--json"], ["budget", "limits", self.agent.id, "--org", "town"],
                     ["ledger", "correct", str(uuid.uuid4()), "--reason", "none", "--cost", "1"],
                     ["audit", "export"], ["audit", "replay"], ["run", "--workspace", self.agent.id, "--org", "town", "--", "/bin/true"],
                     ["secret", "set", "bad name", "--org", "town"], ["secret", "import", "--org", "town"]):
            stdin = self.canaries.new("value of a refused command") if argv[:2] in (["secret", "set"], ["secret", "import"]) else ""
            done = p.cli(*argv, check=False, stdin=stdin, XDG_STATE_HOME=str(make_folder()))
            self.answers.append((str(argv), done.stdout + done.stderr))
        file = p.folder / "none.token"
        file.write_text(self.canaries.new("token that is none"))
        bad = p.cli("secret", "list", "--org", "town", "--token-file", file, check=False)
        file.unlink()
        self.answers.append(("a bad token", bad.stdout + bad.stderr))

    def drive_gateway(self):
        c = self.canaries
        call = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
        for token, body in ((self.agent.token, call), (c.new("token for the gateway"), call), (self.agent.token, call | {"model": "none"})):
            response = self.agent.post(body, token=token)
            self.answers.append((f"gateway {response.status_code}", str(response.headers) + response.text))
        self.agent.wait_entries(1)

    def drive_errors(self):
        """A row that does not open, and its start; then all well again."""
        place = Place(Rows(self.purser), self.org, "OF_ORG")
        good = sealed, version, key, fingerprint = place.read()
        place.write((sealed[:-2], version, key, fingerprint))
        for path in ("start", "restart"):
            self.ask("POST", f"/workspaces/{self.byok}/{path}")
        self.ask("GET", f"/workspaces/{self.agent.id}/secrets/values", token=self.ws_token)
        place.write(good)

    def drive_crashes(self):
        kill_purserd(self.purser)
        old = set(self.purser.worker_pids())
        for pid in old:
            os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: self.purser.worker_pids() and not old & set(self.purser.worker_pids()) and self.purser.healthy(), "new workers")
        purserd = self.purser.purserd_pid()
        kill_purserd(self.purser, how=signal.SIGSEGV)
        forget_reports([*old, purserd])

    # ---- what is searched ----

    def hits(self):
        p, found = self.purser, []
        # Shims outlive purserd: those that lost their parent are found by their name.
        pids = {p.process.pid, *children(p.process.pid), *(pid for pid in everybody() if " _shim" in command_of(pid))}
        kinds = set()
        for pid in pids:
            if "purser" not in command_of(pid) and "nginx" not in command_of(pid):
                continue  # an agent
            kinds.add(re.search(r"_shim|worker process|master process|serve|up ", command_of(pid))[0])
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile; unreadable is a failure
                found += [f"{hit} in /proc/{pid}, {command_of(pid)[:80]}" for hit in self.canaries.found_in(everything_of(pid))]
        assert kinds >= {"_shim", "worker process", "master process", "serve", "up "}, kinds
        for pid in everybody():
            with contextlib.suppress(OSError):
                if "sim" in command_of(pid).split(" ")[1:2]:
                    continue  # the fake vendor is given its keys on its command line, on purpose
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                found += [f"{hit} in the command line of {pid}" for hit in self.canaries.found_in(line)]
        folders = [(p.state, ("homes", "admin-token")), (run_directory(p.state), ("homes",)), (p.folder, ("state",))]
        if p.store_env:
            folders.append((Postgres.shared().folder, ()))
        searched = 0
        for folder, but in folders:
            for path in files_below(folder, but):
                with contextlib.suppress(OSError):
                    data = path.read_bytes()
                    searched += len(data)
                    found += [f"{hit} in {path}" for hit in self.canaries.found_in(data)]
        assert searched > 100_000, "too little was searched"
        for what, text in self.answers:
            found += [f"{hit} in the answer of {what}" for hit in self.canaries.found_in(text.encode())]
        return found


def everybody():
    return [int(p.name) for p in Path("/proc").glob("[0-9]*")]


@pytest.fixture(scope="module")
def town():
    t = Town()
    yield t
    t.stop()


def test_the_search_finds_what_is_there(town):
    """The search itself: the agent's home has what its agent was given, and that is the only place that is left out."""
    data = b"".join(p.read_bytes() for p in files_below(town.purser.home(town.agent.id)))
    assert {"usage token", "secret at create"} <= set(town.canaries.found_in(data))
    assert town.canaries.found_in((town.purser.state / "admin-token").read_bytes()) == ["admin token"]
    assert town.canaries.found_in(base64.b64encode(town.canaries.values["org secret"].encode())) == ["org secret in base64"]


def test_no_value_is_anywhere_it_should_not_be(town):
    town.drive_gateway()
    town.drive_errors()
    town.drive_commands()
    town.drive_routes()
    assert town.hits() == []
    town.drive_crashes()
    assert town.hits() == []


# ---- no cores ----

@contextlib.contextmanager
def adopting():
    """Orphans of our children become our children: their wait status tells whether they left a core."""
    libc, subreaper = ctypes.CDLL(None), 36
    assert libc.prctl(subreaper, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        libc.prctl(subreaper, 0, 0, 0, 0)


@contextlib.contextmanager
def cores_allowed():
    """What is started meanwhile may leave cores, as far as the machine is concerned."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, before)


def core_of(pid):
    """Ends a child of ours as a wrong pointer would; True when it left a core."""
    os.kill(pid, signal.SIGSEGV)
    _, status = os.waitpid(pid, 0)
    assert status != 0  # a sanitizer catches the signal and ends in its own way
    forget_reports([pid])
    return os.WIFSIGNALED(status) and os.WCOREDUMP(status)


# Without root's right to look into everybody.
PLAIN = ["setpriv", "--bounding-set=-sys_ptrace,-perfmon,-sys_admin"] if os.geteuid() == 0 else []


def can_be_looked_into(pid):
    """By somebody of the same user and rights; what may not be dumped may not be looked into either."""
    return subprocess.run([*PLAIN, "cat", f"/proc/{pid}/environ"], capture_output=True).returncode == 0


def skip_without_cores(folder):
    """A process of no importance leaves one, or there is nothing to be seen here."""
    control = subprocess.Popen([*PLAIN, "sleep", "600"], cwd=folder)
    wait_until(lambda: command_of(control.pid).startswith("sleep"), "the control")
    assert can_be_looked_into(control.pid)
    if not core_of(control.pid):
        pytest.skip("this machine writes no cores at all: " + Path("/proc/sys/kernel/core_pattern").read_text())
    control.returncode = 0  # it was waited for


def test_neither_purserd_nor_a_shim_leaves_a_core():
    folder = make_folder()
    state, port = folder / "state", free_port()
    env = clean_environment(**store_environment(state))
    argv = [*PLAIN, PROGRAM, "serve", "--state", state, "--listen", f"127.0.0.1:{port}"]

    with adopting(), cores_allowed():
        skip_without_cores(folder)
        serve = subprocess.Popen([str(a) for a in argv], cwd=folder, env=env, stderr=subprocess.DEVNULL)
        run = run_directory(state)
        try:
            wait_until(lambda: (run / "ready").exists(), "purserd to be ready", 20)
            client = httpx.Client(transport=httpx.HTTPTransport(uds=str(run / "api.sock")), base_url="http://localhost", timeout=20,
                                  headers={"Authorization": "Bearer " + (state / "admin-token").read_text().strip()})
            org = client.post("/admin/orgs", json={"slug": "cores"}).json()["id"]
            made = client.post("/workspaces", headers={"X-Molecule-Org-Id": org}, json={
                "name": "a", "runtime": "claude-code", "model": "opus", "command": ["/bin/sleep", "600"],
                "secrets": {"CLAUDE_CODE_OAUTH_TOKEN": "canary-core"}})
            assert made.status_code == 201, made.text
            # The nearest comes first: a child of the shim is called as its parent is until it becomes the agent.
            shim, *_ = wait_until(lambda: [c for c in children(serve.pid) if " _shim" in command_of(c)], "the shim")
            agents = wait_until(lambda: children(shim), "the agent")
            assert not can_be_looked_into(serve.pid) and not can_be_looked_into(shim)
            assert not core_of(serve.pid), "purserd left a core"
            serve.returncode = 0
            assert not core_of(shim), "the shim left a core"
            for pid in agents:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
        finally:
            if serve.poll() is None:
                serve.kill()
                serve.wait(10)
    assert [p.name for p in files_below(folder) if p.name.startswith("core")] == ["core"]  # the control's


def test_a_worker_leaves_no_core_and_cannot_be_looked_into():
    with cores_allowed():
        skip_without_cores(make_folder())
        purser = Purser()
    try:
        workers = purser.worker_pids()
        if os.geteuid() == 0:  # they run as another user: what is root's belongs to a process that may not be dumped
            assert {os.stat(f"/proc/{pid}/environ").st_uid for pid in workers} == {0}
        for pid in workers:
            os.kill(pid, signal.SIGSEGV)

        def said():
            """nginx's master says of each child how it ended."""
            text = purser.log() + "".join(p.read_text(errors="replace") for p in purser.state.glob("*.log"))
            return text if len(re.findall(r"exited on signal (?:11|6)\b", text)) >= len(workers) else None

        assert "core dumped" not in wait_until(said, "the master to notice")
        forget_reports(workers)
    finally:
        purser.stop()
