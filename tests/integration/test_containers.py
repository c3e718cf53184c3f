"""Workspaces whose agent runs in a container of a real podman: the same decisions, the same
environment, the same end. Skips, with the reason, where podman cannot run."""

import os
import shutil
import signal
import subprocess

import pytest

from harness import Problem, Process, Purser, clean_environment, make_folder, wait_until

IMAGE = "localhost/purser-agent:1"
SCRIPT = ("tr '\\0' '\\n' </proc/$$/environ >$HOME/env.part; mv $HOME/env.part $HOME/env; "
          "echo my key is $ANTHROPIC_API_KEY; {then}")


class Podman:
    """A podman service on folders of its own, with one image of a static busybox."""

    def __init__(self):
        self.folder = make_folder()
        self.socket = self.folder / "engine.sock"
        image = self.folder / "image"
        for name in ("bin", "tmp", "etc"):
            (image / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", image / "bin")
        for name in ("sh", "cat", "tr", "mv", "sleep", "wget", "id", "ls"):
            (image / "bin" / name).symlink_to("busybox")
        subprocess.run(["tar", "-C", image, "-cf", self.folder / "image.tar", "."], check=True)
        self.run("import", self.folder / "image.tar", IMAGE)
        self.serve()

    def serve(self):
        self.socket.unlink(missing_ok=True)
        self.service = Process(self.argv("system", "service", "-t", "0", f"unix://{self.socket}"), self.folder / "log")
        wait_until(self.socket.exists, "podman's socket")

    def argv(self, *words):
        return ["podman", "--root", self.folder / "root", "--runroot", self.folder / "run",
                "--storage-driver", "vfs", "--runtime", "runc", *words]

    def run(self, *words):
        done = subprocess.run([str(w) for w in self.argv(*words)], text=True, capture_output=True, timeout=60,
                              env=clean_environment())
        assert done.returncode == 0, done.stderr
        return done.stdout

    def names(self):
        return self.run("ps", "--all", "--format", "{{.Names}}").split()

    def stop(self):
        self.service.stop()
        with open("/proc/mounts") as mounts:
            for mount in [line.split()[1] for line in mounts if str(self.folder) in line]:
                subprocess.run(["umount", "-l", mount], check=False)


@pytest.fixture(scope="module")
def podman():
    if os.geteuid() != 0:
        pytest.skip("containers with a uid for each workspace need root")
    if not all(map(shutil.which, ("podman", "runc", "busybox"))):
        pytest.skip("podman, runc or busybox is not installed")
    if subprocess.run(["ldd", "/bin/busybox"], capture_output=True).returncode == 0:
        pytest.skip("/bin/busybox is not static, and an image of it alone has no libraries (package busybox-static)")
    try:
        engine = Podman()
    except AssertionError as e:  # of podman import
        pytest.skip(f"podman cannot import an image here: {str(e).strip()[-200:]}")
    probe = subprocess.run([str(w) for w in engine.argv("run", "--rm", "--network", "none", "--ulimit", "nofile=1024:1024",
                                                        "--ulimit", "nproc=1024:1024", IMAGE, "/bin/sh", "-c", ":")],
                           capture_output=True, text=True, env=clean_environment(), timeout=60)
    if probe.returncode != 0:
        engine.stop()
        pytest.skip(f"podman cannot run a container here: {probe.stderr.strip()[-200:]}")
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def boxed(podman, shared_sim):
    purser = Purser(shared_sim, flags=["--container-engine", podman.socket, "--stop-grace-ms", "200"])
    yield purser
    purser.stop()


def new_boxed(purser, then="exec sleep 600", network="host", **more):
    return purser.new_workspace(["/bin/sh", "-c", SCRIPT.format(then=then)],
                                launch={"image": IMAGE, "network": network, "memory_mb": 256, "processes": 50}, **more)


def environment(purser, workspace):
    path = purser.home(workspace) / "env"
    wait_until(path.exists, "the agent's environment")
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


def planned(purser, workspace, org):
    plan = purser.api("GET", f"/workspaces/{workspace}/env", org=org)
    return {v["name"] for v in plan["env"] if v["action"] != "strip"}


def status(purser, workspace, org):
    return purser.api("GET", f"/workspaces/{workspace}", org=org)["status"]


def test_the_environment_is_the_plan_and_its_token_works(boxed, podman, sim):
    workspace, org = new_boxed(boxed)
    env = environment(boxed, workspace)
    assert set(env) == planned(boxed, workspace, org)
    assert podman.names() == [f"purser-{workspace}"]
    log = lambda: boxed.api("GET", f"/workspaces/{workspace}/logs", org=org)["output"]
    said = wait_until(lambda: "my key is" in (text := log()) and text.endswith("\n") and text, "the agent's words")
    assert env["ANTHROPIC_API_KEY"] not in said and "my key is [" in said
    boxed.api("POST", f"/workspaces/{workspace}/stop", org=org)
    assert podman.names() == []


def test_nothing_secret_is_in_the_engine(boxed, podman):
    workspace, org = new_boxed(boxed)
    token = environment(boxed, workspace)["ANTHROPIC_API_KEY"]
    inspected = podman.run("inspect", f"purser-{workspace}")
    assert token not in inspected and workspace in inspected
    found = subprocess.run(["grep", "-rlsF", "--devices=skip", token, str(podman.folder)], capture_output=True, text=True)
    assert found.stdout == ""
    boxed.api("POST", f"/workspaces/{workspace}/stop", org=org)


def test_the_agent_in_the_container_calls_the_gateway(boxed, podman, sim):
    call = ("wget -q -O $HOME/answer --header \"x-api-key: $ANTHROPIC_API_KEY\" --header 'content-type: application/json' "
            "--post-data '{\"model\":\"anthropic/claude-opus-4-7\",\"max_tokens\":16,\"messages\":[{\"role\":\"user\","
            "\"content\":\"hi\"}]}' $ANTHROPIC_BASE_URL/v1/messages; exec sleep 600")
    workspace, org = new_boxed(boxed, then=call)
    answer = boxed.home(workspace) / "answer"
    wait_until(lambda: answer.exists() and answer.stat().st_size > 0, "the vendor's answer")
    wait_until(lambda: len(boxed.api("GET", f"/workspaces/{workspace}/usage", org=org)["entries"]) == 1, "one ledger row")
    boxed.api("POST", f"/workspaces/{workspace}/stop", org=org)


@pytest.fixture
def own_boxed(podman, shared_sim):
    """One that the test may kill parts of."""
    purser = Purser(shared_sim, flags=["--container-engine", podman.socket])
    yield purser
    purser.stop()


def test_kill_9_of_purserd_leaves_the_container_and_finds_it_again(own_boxed, podman):
    purser = own_boxed
    workspace, org = new_boxed(purser)
    token = environment(purser, workspace)["ANTHROPIC_API_KEY"]
    os.kill(purser.purserd_pid(), signal.SIGKILL)
    wait_until(purser.healthy, "purserd to be back")
    wait_until(lambda: status(purser, workspace, org) == "online", "the workspace to be online")
    assert podman.names() == [f"purser-{workspace}"]
    assert environment(purser, workspace)["ANTHROPIC_API_KEY"] == token
    purser.api("POST", f"/workspaces/{workspace}/restart", {}, org=org)
    wait_until(lambda: environment(purser, workspace)["ANTHROPIC_API_KEY"] != token, "the new start's token")
    assert podman.names() == [f"purser-{workspace}"]
    name = purser.api("GET", f"/workspaces/{workspace}", org=org)["name"]
    purser.api("DELETE", f"/workspaces/{workspace}", org=org, headers={"X-Confirm-Name": name})
    assert podman.names() == []


def test_an_engine_that_goes_away_during_a_stop_leaves_nothing_running(own_boxed, podman):
    purser = own_boxed
    workspace, org = new_boxed(purser)
    podman.service.stop(signal.SIGKILL)
    answer = purser.request("POST", f"/workspaces/{workspace}/stop", {}, org=org)
    assert answer.status_code == 422 and "when its engine answers again" in answer.text, answer.text
    assert podman.names() == [f"purser-{workspace}"], "what still runs is not called stopped"
    assert purser.api("GET", f"/workspaces/{workspace}", org=org)["desired"] == "stopped"
    podman.serve()
    wait_until(lambda: podman.names() == [], "the container to be taken away")
    wait_until(lambda: status(purser, workspace, org) == "stopped", "the stop to be through")
    assert purser.sql("SELECT COUNT(*) FROM tokens WHERE workspace_id = ? AND kind = 'usage' AND revoked_ms = 0",
                      workspace) == [(0,)]


def test_a_missing_image_is_said_and_nothing_runs(boxed, podman):
    workspace, org = boxed.new_workspace(["/bin/sh"], launch={"image": "localhost/purser-no-such:1", "network": "host"}, start=False)
    with pytest.raises(Problem) as problem:
        boxed.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
    assert "purser-no-such" in problem.value.body and "LAUNCH_FAILED" in problem.value.body
    assert status(boxed, workspace, org) == "failed"
    assert podman.names() == []


@pytest.mark.parametrize("launch", [
    {"image": "a b"}, {"image": "-v"}, {"memory_mb": 1}, {"cpus": "2"}, {"colour": "red"}, {"network": "bridge"}, [], "x",
    {"image": IMAGE, "network": "a:b c"}])
def test_a_wrong_launch_is_refused(boxed, launch):
    with pytest.raises(Problem) as problem:
        boxed.new_workspace(["/bin/sh"], launch=launch, start=False)
    assert problem.value.status == 400 and "launch" in problem.value.body


def test_only_the_admin_gives_the_machines_network(boxed):
    org = boxed.new_org()
    token = boxed.api("POST", "/org/tokens", {"name": "t"}, org=org)["auth_token"]
    body = {"name": "w", "runtime": "claude-code", "model": "anthropic/claude-opus-4-7", "start": False}
    refused = boxed.request("POST", "/workspaces", body | {"launch": {"image": IMAGE, "network": "host"}}, token=token)
    assert refused.status_code == 400 and "only the admin" in refused.text
    assert boxed.request("POST", "/workspaces", body | {"launch": {"image": IMAGE}}, token=token).status_code == 201


@pytest.mark.parametrize("network", ["", "none", "bridge"])
def test_a_container_that_cannot_reach_the_gateway_is_refused(boxed, podman, network):
    workspace, org = new_boxed(boxed, network=network, start=False)
    with pytest.raises(Problem) as problem:
        boxed.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
    assert "MISSING_PLATFORM_PROXY" in problem.value.body and "public_url" in problem.value.body
    assert podman.names() == []


def test_without_an_engine_it_is_said(purser):
    workspace, org = purser.new_workspace(["/bin/sh"], launch={"image": IMAGE, "network": "host"}, start=False)
    with pytest.raises(Problem) as problem:
        purser.api("POST", f"/workspaces/{workspace}/start", {}, org=org)
    assert "container_engine" in problem.value.body
