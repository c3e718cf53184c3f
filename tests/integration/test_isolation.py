"""A hostile agent gets nothing, however it is started: as a user of its own, in a sandbox, by a purser
that is no root, in a container. It knows every path and every pid, and tries them one by one.
"""

import contextlib
import json
import os
import shlex
import shutil
import socket
from pathlib import Path

import pytest

import harness
from harness import BUILD, MODEL, Problem, Purser, children, command_of, make_folder, wait_until
from test_containers import IMAGE, podman  # noqa: F401
from test_environment import LOGIN, environ_of, expected, plan_of

SCRATCH_UID = 64917

# What the agent runs. Every line of its answer is something it got and should not have.
ATTACK = r'''
import ctypes, json, os, socket, sys
t = json.load(open(sys.argv[1]))
got = []
libc = ctypes.CDLL(None, use_errno=True)

def attempt(what, do):
    try:
        if do() is not False:
            got.append(what)
    except OSError:
        pass

class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("n", ctypes.c_size_t)]

def vm_read(pid, address):
    into = ctypes.create_string_buffer(16)
    local, remote = iovec(ctypes.cast(into, ctypes.c_void_p), 16), iovec(address, 16)
    return libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) > 0

def ptrace(pid, request):
    return libc.ptrace(request, pid, 0, 0) == 0

def steal_descriptor(pid):
    fd = os.pidfd_open(pid)
    return any(libc.syscall(438, fd, n, 0) >= 0 for n in range(16))

def connect(path, kind):
    with socket.socket(socket.AF_UNIX, kind) as s:
        s.connect(path)

for path in t["files"]:
    attempt("read " + path, lambda: open(path, "rb").read(1) != b"")
    attempt("write " + path, lambda: os.open(path, os.O_WRONLY))
    attempt("link to " + path, lambda: os.link(path, os.environ["HOME"] + "/hard") and False)
for path in t["folders"]:
    attempt("list " + path, lambda: bool(set(os.listdir(path)) - set(os.environ["HOME"].split("/"))))
for path in t["closed"]:
    attempt("", lambda: open(path + "/planted", "w") and False)  # whether it is there is seen from outside
for path in t["sockets"]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET, socket.SOCK_DGRAM):
        attempt("connect to " + path, lambda: connect(path, kind))
for pid in t["pids"]:
    for name in ("environ", "mem", "maps", "auxv", "syscall", "io"):
        attempt(f"read {name} of {pid}", lambda: os.read(os.open(f"/proc/{pid}/{name}", os.O_RDONLY), 1) != b"")
    for name in ("cwd", "root", "exe"):
        attempt(f"follow {name} of {pid}", lambda: os.readlink(f"/proc/{pid}/{name}"))
    attempt(f"list fd of {pid}", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt(f"read {pid} by process_vm_readv", lambda: vm_read(pid, t["address"]))
    attempt(f"attach to {pid}", lambda: ptrace(pid, 16))
    attempt(f"seize {pid}", lambda: ptrace(pid, 0x4206))
    attempt(f"signal {pid}", lambda: os.kill(pid, 0))
    attempt(f"take a descriptor of {pid}", lambda: steal_descriptor(pid))
    attempt(f"change the limits of {pid}", lambda: __import__("resource").prlimit(pid, 7, (64, 64)))
attempt("become root", lambda: os.setuid(0))
attempt("mount", lambda: libc.mount(b"none", b"/mnt", b"tmpfs", 0, None) == 0)
with open(os.environ["HOME"] + "/got.part", "w") as f:
    json.dump(got, f)
os.rename(os.environ["HOME"] + "/got.part", os.environ["HOME"] + "/got")
__import__("time").sleep(600)
'''


class Lowly(Purser):
    """A purser of an ordinary user, from a folder that this user can read."""

    prefix = ()

    def __init__(self, sim, **more):
        self.own = make_folder()
        shutil.chown(self.own, SCRATCH_UID, SCRATCH_UID)
        for name in ("purser", "purser-init", "purser-shim", "ngx_http_purser_module.so"):
            shutil.copy(BUILD / name, self.own)
        self.run_root = Path(f"/tmp/purser-{SCRATCH_UID}")
        super().__init__(sim, state=self.own / "state", env={"HOME": str(self.own)}, **more)

    def argv(self):
        return [*self.prefix, "setpriv", f"--reuid={SCRATCH_UID}", f"--regid={SCRATCH_UID}", "--clear-groups",
                self.own / "purser", *super().argv()[1:]]

    def home(self, workspace):
        home = self.state / "homes" / workspace
        return home if home.is_dir() else None

    def run(self):
        return self.run_root / harness.run_directory(self.state).name


def run_of(purser):
    return purser.run() if isinstance(purser, Lowly) else harness.run_directory(purser.state)


def need_root():
    if os.geteuid() != 0:
        pytest.skip("needs root: to be several users")


@pytest.fixture(scope="module", params=["uid", "sandbox", "lowly"])
def fortress(request, shared_sim):
    need_root()
    if request.param == "lowly":
        purser = Lowly(shared_sim)
    else:
        purser = Purser(shared_sim, flags=["--isolation", "sandbox"] if request.param == "sandbox" else [])
    yield purser
    purser.stop()


def shims_of(purser):
    return [p for p in children(purser.purserd_pid()) if " _shim " in command_of(p)]


def everything_of(purser, victim, own):
    """All that the agent of the workspace own must not get: files, folders, sockets, processes."""
    run = run_of(purser)
    theirs = [p for root in (purser.state, run) for p in root.rglob("*") if own not in str(p.relative_to(root))]
    sockets = [*run.rglob("*.sock")]  # also that of its own shim
    shims = shims_of(purser)
    its_own = {p for shim in shims if own in command_of(shim) for p in children(shim)}
    pids = {purser.process.pid, *children(purser.process.pid)} - its_own
    assert len(shims) == 2 and len(sockets) >= 5 and len(pids) >= 7, (sockets, pids)
    files = {p.name: str(p) for p in theirs if p.is_file()}
    assert {"admin-token", "recorder", "purser.db", "policy"} & files.keys() and len(files) > 5
    return {"files": sorted(files.values()), "folders": [str(p) for p in [purser.state, run, *theirs] if p.is_dir()],
            "closed": [str(purser.state), str(run), "/etc", "/usr/bin", str(BUILD), str(purser.home(victim))],
            "sockets": [str(p) for p in sockets], "pids": sorted(pids), "address": id(purser)}


def hand(home, name, text):
    """Whole or not at all, for the agent to find."""
    (home / "part").write_text(text)
    (home / "part").chmod(0o644)
    (home / "part").rename(home / name)


def wait_for(path, what):
    return wait_until(lambda: path.exists() and path.read_text(), what, 30)


@pytest.fixture(autouse=True)
def nothing_left(request):
    """A failure is not to be the next test's."""
    yield
    for name in {"fortress", "boxed", "lowly"} & set(request.fixturenames):
        purser = request.getfixturevalue(name)
        for shim in shims_of(purser):
            workspace = command_of(shim).split(" ")[2]
            for org in purser.api("GET", "/admin/orgs"):
                purser.request("POST", f"/workspaces/{workspace}/stop", org=org["id"])


def test_a_hostile_agent_gets_nothing(fortress):
    victim = fortress.new_agent(secrets={"MY_SECRET": "a-secret-of-the-victim"})
    script = 'until test -e "$HOME/go"; do sleep 0.05; done; exec python3 "$HOME/attack.py" "$HOME/go"'
    hostile, org = fortress.new_workspace(["/bin/sh", "-c", script], org=fortress.new_org())
    home = wait_until(lambda: fortress.home(hostile), "its HOME")
    wait_until(lambda: len(shims_of(fortress)) == 2, "two shims")
    targets = everything_of(fortress, victim.id, hostile)
    hand(home, "attack.py", ATTACK)
    hand(home, "go", json.dumps(targets))
    assert json.loads(wait_for(home / "got", "the agent's loot")) == []
    assert [p for p in targets["closed"] if (Path(p) / "planted").exists()] == []
    for workspace, of in ((hostile, org), (victim.id, victim.org)):
        fortress.api("POST", f"/workspaces/{workspace}/stop", org=of)


BOMB = """
import os, time
n = 0
try:
    while n < 400:
        if os.fork() == 0:
            time.sleep(600)
        n += 1
except OSError:
    pass
print(n, file=open(os.environ["HOME"] + "/part", "w"), flush=True)
os.rename(os.environ["HOME"] + "/part", os.environ["HOME"] + "/forks")
time.sleep(600)
"""


def test_a_fork_bomb_stays_within_its_limit_and_is_gone_after_a_stop(fortress):
    workspace, org = fortress.new_workspace(["python3", "-c", BOMB], launch={"processes": 40})
    home = wait_until(lambda: fortress.home(workspace), "its HOME")
    assert 20 < int(wait_for(home / "forks", "the bomb to end")) < 40
    (shim,) = shims_of(fortress)
    bombs = children(shim)
    assert len(bombs) > 20
    fortress.api("POST", f"/workspaces/{workspace}/stop", org=org)
    assert [p for p in bombs if "os.fork" in command_of(p)] == []


def test_no_socket_of_the_session_or_an_engine_is_reached_from_a_sandbox(fortress):
    """Sockets work on a read-only file system, and those of purser's user would obey the agent."""
    if harness.run_directory(fortress.state) == run_of(fortress) and "--isolation" not in fortress.flags:
        pytest.skip("an agent with a user of its own is nobody to the session's services")
    folder = Path("/run") / f"purser-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.bind(str(folder / "engine.sock"))
            (folder / "engine.sock").chmod(0o777)
            engine.listen()
            script = ("import os, socket; s = socket.socket(socket.AF_UNIX); n = s.connect_ex(%r); "
                      "open(os.environ['HOME'] + '/errno', 'w').write(str(n))" % str(folder / "engine.sock"))
            workspace, org = fortress.new_workspace(["python3", "-c", script + "; __import__('time').sleep(600)"])
            home = wait_until(lambda: fortress.home(workspace), "its HOME")
            assert wait_for(home / "errno", "what connect said") == "2"
            fortress.api("POST", f"/workspaces/{workspace}/stop", org=org)
    finally:
        shutil.rmtree(folder)


def test_a_link_as_working_directory_leads_nowhere(fortress):
    """The first start plants it, the second works there."""
    plant = f"ln -sfn {fortress.state} $HOME/link; cat $HOME/link/admin-token && echo loot; pwd; exec sleep 600"
    workspace, org = fortress.new_workspace(["/bin/sh", "-c", plant])
    home = wait_until(lambda: fortress.home(workspace), "its HOME")
    wait_until(lambda: (home / "link").is_symlink(), "the link")
    fortress.api("POST", f"/workspaces/{workspace}/stop", org=org)
    fortress.api("PATCH", f"/workspaces/{workspace}", {"workspace_dir": str(home / "link")}, org=org)
    with contextlib.suppress(Problem):  # that it does not start is fine, too
        fortress.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
        fortress.api("POST", f"/workspaces/{workspace}/stop", org=org)
    log = fortress.api("GET", f"/workspaces/{workspace}/logs", org=org)["output"]
    assert "psr_adm_" not in log and "loot" not in log


# ---- the plan and nothing else, in every launcher ----

SECRETS = {"CODEX_AUTH_JSON": json.dumps(LOGIN), "PLAIN": "a b=c\n\"'$(id)", "LONG": "x" * 60_000}


def check_plan(purser, program, **more):
    """A Codex on a subscription: variables byte for byte, and its two files in a HOME full of junk."""
    workspace, org = purser.new_workspace(program, runtime="codex", model="gpt-5.4", start=False,
                                          secrets=SECRETS, **more)
    for start in range(2):  # into an empty HOME, and into one full of junk
        purser.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
        raw = wait_until(lambda: environ_of(workspace), "the agent's environment")
        assert raw == expected(plan_of(purser, workspace, org), SECRETS, None)
        home = purser.home(workspace)
        assert not (home / ".codex/config.toml").is_symlink()
        assert json.loads((home / ".codex/auth.json").read_text()) == LOGIN
        assert (home / ".codex/config.toml").stat().st_uid == home.stat().st_uid
        purser.api("POST", f"/workspaces/{workspace}/stop", org=org)
        if start == 0:
            litter(home)


def litter(home):
    """What a HOME may look like after a day: odd names, a pipe, a socket, links, half-written files."""
    owner = home.stat().st_uid
    for name in ("junk\n", "junk \xff", "-rf", "junk" * 60):
        (home / ".codex" / name).write_text("junk")
    (home / ".codex/config.toml").unlink()
    (home / ".codex/config.toml").symlink_to("/etc/passwd")
    (home / ".codex/auth.json").unlink()
    os.mkfifo(home / ".codex/.config.toml.purser")
    (home / ".codex/.auth.json.purser").symlink_to("../../../../admin-token")
    os.mkfifo(home / "env")
    for path in [home / "env", *(home / ".codex").iterdir()]:
        os.chown(path, owner, owner, follow_symlinks=False)


def test_environment_and_files_are_the_plan(fortress):
    check_plan(fortress, ["/bin/sleep", "600"])
    assert "root:" in Path("/etc/passwd").read_text()


@pytest.fixture(scope="module")
def boxed(podman, shared_sim):  # noqa: F811
    purser = Purser(shared_sim, flags=["--container-engine", podman.socket])
    yield purser
    purser.stop()


def test_environment_and_files_are_the_plan_in_a_container(boxed):
    check_plan(boxed, ["sleep", "600"], launch={"image": IMAGE, "network": "none"})


# A shell and busybox are all it has: what it prints is what it got.
BOXED_ATTACK = r"""
for path in {paths}; do ls -d "$path" && cat "$path"; done 2>/dev/null
for pid in /proc/[0-9]*; do
    test "$(cat $pid/environ 2>/dev/null | busybox grep -c a-secret-of-the-victim)" -gt 0 && echo $pid
done
for pid in {pids}; do kill -0 $pid && echo signal $pid; done 2>/dev/null
test -S /.purser/run/sock && echo the socket of its order is still there
cat /.purser/run/* 2>/dev/null
(: > /.purser/init) 2>/dev/null && echo its init can be changed
(: > /bin/planted) 2>/dev/null && echo the image can be changed
busybox grep -E "^Cap(Prm|Eff|Bnd):" /proc/self/status | busybox grep -v 0000000000000000
busybox grep -q "NoNewPrivs:.*1" /proc/self/status || echo new privileges
cat /proc/1/environ 2>/dev/null | busybox grep -q . && echo the environment of its init
cat /proc/1/mem 2>/dev/null | busybox grep -q . && echo the memory of its init
echo done; exec sleep 600
"""


def test_a_hostile_agent_in_a_container_gets_nothing(boxed):
    victim = boxed.new_agent(secrets={"MY_SECRET": "a-secret-of-the-victim"})
    theirs = [p for root in (boxed.state, harness.run_directory(boxed.state)) for p in root.rglob("*") if not p.is_dir()]
    script = BOXED_ATTACK.format(paths=shlex.join(map(str, [*theirs, "/run/purser", boxed.home(victim.id) / "env"])),
                                 pids=" ".join(map(str, [boxed.process.pid, *children(boxed.process.pid)])))
    hostile, org = boxed.new_workspace(["/bin/sh", "-c", script], launch={"image": IMAGE, "network": "host"},
                                       org=boxed.new_org())
    log = wait_until(lambda: "done" in (out := boxed.api("GET", f"/workspaces/{hostile}/logs", org=org)["output"]) and out,
                     "the attack to end")
    assert log == "done\n"
    for workspace, of in ((hostile, org), (victim.id, victim.org)):
        boxed.api("POST", f"/workspaces/{workspace}/stop", org=of)


# ---- a purser that is no root ----

@pytest.fixture(scope="module")
def lowly(shared_sim):
    need_root()
    purser = Lowly(shared_sim)
    yield purser
    purser.stop()


def test_without_root_only_the_admin_chooses_a_folder_to_write_in(lowly):
    org = lowly.new_org()
    token = lowly.api("POST", "/org/tokens", {"name": "t"}, org=org)["auth_token"]
    body = {"name": "w", "runtime": "claude-code", "model": MODEL, "start": False, "workspace_dir": "/home"}
    refused = lowly.request("POST", "/workspaces", body, token=token)
    assert refused.status_code == 400 and "only the admin" in refused.text
    assert lowly.request("POST", "/workspaces", body, org=org).status_code == 201


class Bare(Lowly):
    """As if bubblewrap were not installed."""

    prefix = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /usr/bin/bwrap && exec "$@"', "sh")


def test_without_root_and_without_bubblewrap_nothing_starts_and_the_way_out_is_said(shared_sim):
    need_root()
    purser = Bare(shared_sim)
    workspace, org = purser.new_workspace(["/bin/sleep", "600"], start=False)
    with pytest.raises(Problem) as problem:
        purser.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
    assert "LAUNCH_FAILED" in problem.value.body and "install the package bubblewrap" in problem.value.body
    assert purser.api("GET", f"/workspaces/{workspace}", org=org)["status"] == "failed" and shims_of(purser) == []
    purser.stop()


# ---- what a workspace may ask for ----

@pytest.mark.parametrize("folder", ["/", "//etc", "/tmp/./x", "/tmp/../etc", "tmp", "/run/x", "/tmp/."])
def test_a_working_directory_is_a_plain_path(purser, folder):
    with pytest.raises(Problem) as problem:
        purser.new_workspace(["/bin/sh"], workspace_dir=folder, start=False)
    assert problem.value.status == 400 and "workspace directory" in problem.value.body


@pytest.mark.parametrize("network", ["container:purser-x", "ns:/proc/1/ns/net", "slirp4netns:port_handler=x", "a/b"])
def test_nobody_enters_the_network_of_another_container(purser, network):
    with pytest.raises(Problem) as problem:
        purser.new_workspace(["/bin/sh"], launch={"image": IMAGE, "network": network}, start=False)
    assert problem.value.status == 400


def test_a_named_network_is_the_admins_to_give(purser):
    token = purser.api("POST", "/org/tokens", {"name": "t"}, org=purser.new_org())["auth_token"]
    body = {"name": "w", "runtime": "claude-code", "model": MODEL, "start": False}
    refused = purser.request("POST", "/workspaces", body | {"launch": {"image": IMAGE, "network": "databases"}}, token=token)
    assert refused.status_code == 400 and "only the admin" in refused.text
    for network in ("", "none", "bridge"):
        made = body | {"name": "w" + network, "launch": {"image": IMAGE, "network": network}}
        assert purser.request("POST", "/workspaces", made, token=token).status_code == 201
