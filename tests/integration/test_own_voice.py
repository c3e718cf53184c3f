"""An agent that speaks for itself: the workspace token of its start, in a file of its HOME."""

import os
import signal
import stat
import textwrap

import pytest

from harness import Agent, Purser, wait_until

FILE = ".purser/workspace-token"
# Registers and goes on reporting, with nothing but its own environment and HOME.
SPEAKER = textwrap.dedent("""
    import json, os, time, urllib.request
    home = os.environ["HOME"]
    token = open(home + "/.purser/workspace-token").read()
    open(home + "/tokens", "a").write(token + "\\n")
    print("my token is", token, flush=True)
    def say(path, body):
        request = urllib.request.Request(os.environ["PLATFORM_URL"] + path, json.dumps(body).encode(),
            {"Authorization": "Bearer " + token, "Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=10).read()
    say("/registry/register", {"id": os.environ["WORKSPACE_ID"], "delivery_mode": "poll",
                               "agent_card": {"name": "speaker"}})
    beats = 0
    while True:
        try:
            say("/registry/heartbeat", {"workspace_id": os.environ["WORKSPACE_ID"], "active_tasks": beats})
            beats += 1
        except OSError:  # purser is away for a moment
            pass
        time.sleep(0.1)
""")


@pytest.fixture(scope="module")
def purser(shared_sim):
    purser = Purser(shared_sim)
    yield purser
    purser.stop()


def new_speaker(purser, **more):
    workspace, org = purser.new_workspace(["/usr/bin/python3", "-c", SPEAKER], readiness="register", **more)
    agent = Agent(purser, workspace, org, {})
    agent.wait_status("online")
    return agent


def tokens_of(agent):
    """What it was given, start by start."""
    return (agent.purser.home(agent.id) / "tokens").read_text().split()


def works(agent, token):
    answer = agent.purser.request("GET", f"/workspaces/{agent.id}/state", token=token)
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200


def beats(agent):
    return agent.row()["agent"]["active_tasks"]


def test_it_registers_and_reports_and_its_token_ends_with_its_start(purser):
    agent = new_speaker(purser)
    (first,) = tokens_of(agent)
    file = purser.home(agent.id) / FILE
    assert first.startswith("psr_ws_") and file.read_text() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert works(agent, first)
    wait_until(lambda: (beats(agent) or 0) > 0, "a heartbeat")
    purser.api("POST", f"/workspaces/{agent.id}/restart", org=agent.org)
    agent.wait_status("online")
    first, second = tokens_of(agent)
    assert not works(agent, first) and works(agent, second)
    agent.stop()
    assert not works(agent, second)
    log = purser.api("GET", f"/workspaces/{agent.id}/logs", org=agent.org)["output"]
    assert "my token is [.purser/workspace-token]" in log and "psr_ws_" not in log


def test_it_is_in_the_plan_by_name_and_never_in_the_environment(purser):
    agent = new_speaker(purser)
    (token,) = tokens_of(agent)
    plan = purser.api("GET", f"/workspaces/{agent.id}/env", org=agent.org)
    (file,) = [f for f in plan["files"] if f["path"] == FILE]
    assert file["mode"] == "0600" and "psr_" not in file["content"]
    assert FILE in purser.cli("env", agent.id).stdout
    assert token not in str(plan) and not [row for row in plan["env"] if "workspace-token" in str(row)]
    values = purser.request("GET", f"/workspaces/{agent.id}/secrets/values", token=token)
    assert values.status_code == 200 and token not in values.text
    for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
        try:
            environment = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        assert token.encode() not in environment
    agent.stop()


def test_it_is_not_one_of_the_fifty_and_makes_nothing_that_outlives_it(purser):
    agent = new_speaker(purser)
    (token,) = tokens_of(agent)
    for _ in range(50):
        purser.api("POST", f"/workspaces/{agent.id}/tokens", {}, org=agent.org)
    assert purser.request("POST", f"/workspaces/{agent.id}/tokens", {}, org=agent.org).status_code == 429
    listed = purser.api("GET", f"/workspaces/{agent.id}/tokens", org=agent.org)["tokens"]
    assert len(listed) == 51 and len([t for t in listed if t["name"]]) == 1
    for path in ("tokens", "runs"):
        refused = purser.request("POST", f"/workspaces/{agent.id}/{path}", {}, token=token)
        assert (refused.status_code, refused.json()["code"]) == (403, "WRONG_CREDENTIAL_KIND")
    agent.stop()


def test_it_outlives_purserd_and_dies_with_its_agent_while_nobody_looks(purser):
    stays, goes = new_speaker(purser), new_speaker(purser, restart="never")
    (kept,), (lost,) = tokens_of(stays), tokens_of(goes)
    pid = pid_of(goes)
    os.kill(purser.purserd_pid(), signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    wait_until(purser.healthy, "purserd to be back", 20)
    before = beats(stays) or 0
    wait_until(lambda: (beats(stays) or 0) > before, "another heartbeat")
    assert works(stays, kept)
    wait_until(lambda: not works(goes, lost), "the dead agent's token to be dead")
    assert goes.row()["status"] == "failed"
    purser.api("DELETE", f"/workspaces/{stays.id}", org=stays.org, headers={"X-Confirm-Name": stays.row()["name"]})
    assert purser.request("GET", f"/workspaces/{stays.id}/state", token=kept).status_code == 401


def pid_of(agent):
    for pid in [p for p in os.listdir("/proc") if p.isdigit()]:
        try:
            if f"WORKSPACE_ID={agent.id}".encode() in open(f"/proc/{pid}/environ", "rb").read():
                return int(pid)
        except OSError:
            continue
    raise AssertionError("the agent is not there")


def test_a_start_that_fails_leaves_no_token(purser):
    workspace, org = purser.new_workspace(["/no/such/program"], start=False)
    assert purser.request("POST", f"/workspaces/{workspace}/start", org=org).status_code >= 400
    assert purser.api("GET", f"/workspaces/{workspace}/tokens", org=org)["tokens"] == []


def test_a_run_gets_none(purser):
    workspace, org = purser.new_workspace(["/bin/sleep", "600"], start=False)
    run = purser.api("POST", f"/workspaces/{workspace}/runs", {}, org=org)
    assert "psr_ws_" not in str(run) and run["files"] == []
