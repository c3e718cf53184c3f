"""How agents live: starts, readiness, silence, ends, pauses, and who pays after each of them."""

import os
import signal
import time

import pytest

from harness import MODEL, PATIENCE, Agent, Purser, new_key, wait_until

SILENCE_S = int(2 * PATIENCE)  # heartbeat_timeout: nobody here takes as long between two of its heartbeats


@pytest.fixture(scope="module")
def lively(shared_sim):
    purser = Purser(shared_sim, flags=["--restart-pause-ms", "50", "--heartbeat-timeout", str(SILENCE_S)])
    yield purser
    purser.stop()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def pid_of(agent):
    return int((agent.purser.home(agent.id) / "pid").read_text())


def events(agent):
    return agent.purser.api("GET", f"/workspaces/{agent.id}/events", org=agent.org)["events"]


def types(agent):
    return [e["type"] for e in events(agent)]


def details(agent, type):
    return [e["details"] for e in events(agent) if e["type"] == type]


def act(agent, action, body=None, status=200):
    answer = agent.purser.request("POST", f"/workspaces/{agent.id}/{action}", body, org=agent.org)
    assert answer.status_code == status, answer.text
    return answer.json()


class Voice:
    """The agent's own voice: its workspace token."""

    def __init__(self, agent):
        self.agent = agent
        self.token = agent.purser.api("POST", f"/workspaces/{agent.id}/tokens", {}, org=agent.org)["auth_token"]

    def register(self, **more):
        return self.agent.purser.request("POST", "/registry/register", {
            "id": self.agent.id, "agent_card": {"name": "x"}, "delivery_mode": "poll"} | more, token=self.token)

    def heartbeat(self, **figures):
        return self.agent.purser.request("POST", "/registry/heartbeat", {
            "workspace_id": self.agent.id} | figures, token=self.token)


def registering(purser, **more):
    return purser.new_agent(readiness="register", **more)


def test_a_process_is_online_after_a_second(lively):
    agent = lively.new_agent()
    agent.wait_status("online")
    told = events(agent)
    assert [e["type"] for e in told] == ["WORKSPACE_CREATED", "WORKSPACE_PROVISIONING", "WORKSPACE_ONLINE"]
    _, started, online = told
    assert online["at"] - started["at"] >= 1000
    assert started["details"]["runtime"] == "claude-code" and started["details"]["name"] == agent.row()["name"]


def test_death_is_noticed_at_once_and_mended(lively):
    agent = lively.new_agent()
    agent.wait_status("online")
    pid, killed = pid_of(agent), time.time() * 1000
    os.kill(pid, signal.SIGKILL)
    (end,) = wait_until(lambda: [e for e in events(agent) if e["type"] == "WORKSPACE_OFFLINE"], "its end to be told")
    assert end["at"] - killed < 1000 * PATIENCE
    row = agent.wait_status("online")
    assert (row["restarts"], row["last_error"]) == (1, None) and pid_of(agent) != pid
    assert agent.post({"model": MODEL}).status_code == 401, "the token of the start that ended"


def test_ends_in_a_row_end_as_failed_with_a_reason(lively):
    workspace, org = lively.new_workspace(["/bin/sh", "-c", 'echo "$MOLECULE_LLM_USAGE_TOKEN" >> "$HOME/tokens"; exit 7'])
    agent = Agent(lively, workspace, org, {"ANTHROPIC_BASE_URL": lively.url + "/api/v1/internal/llm/anthropic"})
    row = agent.wait_status("failed")
    assert row["last_error"]["code"] == "CRASH_LOOP" and "exit code 7" in row["last_error"]["error"]
    tokens = (lively.home(workspace) / "tokens").read_text().split()
    assert len(tokens) == len(set(tokens)) == 6
    assert {agent.post({"model": MODEL}, token=t).status_code for t in tokens} == {401}
    assert [d["restart"] for d in details(agent, "WORKSPACE_OFFLINE")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("policy, code, status, starts", [
    ("never", 3, "failed", 1), ("never", 0, "stopped", 1), ("on-failure", 0, "stopped", 1), ("always", 0, "failed", 6)])
def test_the_restart_policy_says_what_an_end_means(lively, policy, code, status, starts):
    workspace, org = lively.new_workspace(["/bin/sh", "-c", f"echo >> $HOME/starts; exit {code}"], restart=policy)
    Agent(lively, workspace, org, {}).wait_status(status)
    assert len((lively.home(workspace) / "starts").read_text()) == starts


def test_one_that_registers_is_online_only_then(lively):
    agent = registering(lively)
    voice = Voice(agent)
    lively.new_agent().wait_status("online")  # started later, and a process: by now the first one would be, too
    assert agent.row()["status"] == "provisioning"
    assert voice.register().json() == {"status": "registered", "delivery_mode": "poll"}
    row = agent.wait_status("online")
    assert row["agent"]["card"] == {"name": "x"} and row["agent"]["seen_at"] > 0


def test_heartbeats_degrade_recover_and_their_absence_shows(lively):
    agent = registering(lively)
    voice = Voice(agent)
    assert voice.heartbeat().json() == {"status": "ok"}
    assert agent.row()["status"] == "online"
    for figures, status in [
        ({"error_rate": 0.5, "sample_error": "boom"}, "degraded"), ({"error_rate": 0.3}, "degraded"),
        ({"error_rate": 0.05, "runtime_state": "busy"}, "degraded"), ({"error_rate": 0.05}, "online"),
        ({"error_rate": 0.4}, "online"), ({"runtime_state": "wedged"}, "degraded"), ({}, "online")]:
        assert voice.heartbeat(**figures).status_code == 200
        assert agent.row()["status"] == status, figures
    (first, _) = details(agent, "WORKSPACE_DEGRADED")
    assert first["error_rate"] == 0.5 and first["sample_error"] == "boom"
    row = agent.wait_status("offline", 1 + 2 * SILENCE_S)
    assert row["last_error"]["code"] == "HEARTBEAT_MISSED"
    assert voice.heartbeat().status_code == 200
    assert agent.row()["status"] == "online" and agent.row()["last_error"] is None


def test_a_start_that_takes_too_long_fails_and_ends_the_agent(lively):
    agent = registering(lively, start_timeout=1)
    voice = Voice(agent)
    pid = pid_of(agent)
    row = agent.wait_status("failed")
    assert row["last_error"]["code"] == "START_TIMEOUT" and "/registry/register" in row["last_error"]["error"]
    (told,) = details(agent, "WORKSPACE_PROVISION_FAILED")
    assert (told["source"], told["timeout_secs"], told["runtime"]) == ("provision_timeout_sweep", 1, "claude-code")
    wait_until(lambda: not is_alive(pid), "the agent to be ended")
    late = voice.register()
    assert (late.status_code, late.json()["code"]) == (409, "CONFLICT")
    assert voice.heartbeat().status_code == 409
    assert agent.row()["status"] == "failed"
    assert agent.post({"model": MODEL}).status_code == 401


def test_an_agent_says_whether_it_is_configured_and_tells_no_secret(lively):
    value = "value-" + new_key()
    agent = registering(lively, secrets={"OWN_SECRET": value})
    voice = Voice(agent)
    said = f"no key; env: OWN_SECRET={value} token={agent.token}"
    for _ in range(2):
        assert voice.heartbeat(configured=False, reason=said, sample_error=said, error_rate=1).status_code == 200
    row = agent.row()
    assert row["agent"]["configured"] is False
    assert row["agent"]["reason"] == "no key; env: OWN_SECRET=[OWN_SECRET] token=[TOKEN]"
    assert "not configured: no key" in lively.cli("workspace", "show", agent.id, PURSER_ORG=agent.org).stdout
    assert voice.heartbeat(configured=True).status_code == 200
    assert agent.row()["agent"]["configured"] is True
    assert len(details(agent, "AGENT_NOT_CONFIGURED")) == 1 and len(details(agent, "AGENT_CONFIGURED")) == 1
    everything = lively.request("GET", f"/workspaces/{agent.id}/events", org=agent.org).text + str(agent.row())
    assert value not in everything and agent.token not in everything


def test_only_its_own_token_speaks_for_an_agent(lively):
    one, other = registering(lively), registering(lively)
    voice = Voice(one)
    body = {"workspace_id": other.id}
    assert lively.request("POST", "/registry/heartbeat", body, token=voice.token).status_code == 404
    assert lively.request("POST", "/registry/heartbeat", body).status_code == 403
    assert lively.request("POST", "/registry/heartbeat", body, token="").status_code == 401
    for url in ("http://169.254.169.254/", "http://127.0.0.1:80/", "http://[::1]/", "ftp://x/", "http://2130706433/",
                "http://a@b.example/", "http://[::ffff:10.0.0.1%25x]/"):
        answer = voice.register(url=url, delivery_mode="push")
        assert (answer.status_code, answer.json()["code"]) == (400, "INVALID_REQUEST"), url
    assert voice.register(delivery_mode="push").status_code == 400
    assert voice.register(url="http://agent.example:8000/a2a", delivery_mode="push").status_code == 200
    assert one.row()["url"] == "http://agent.example:8000/a2a"
    act(one, "stop")
    assert voice.heartbeat().status_code == 409, "nothing runs that could have said this"
    assert one.row()["status"] == "stopped"


def test_an_external_agent_comes_goes_and_comes_back(lively):
    org = lively.default_org()
    made = lively.api("POST", "/workspaces", {"name": "far-" + new_key()[-6:], "external": True}, org=org)
    agent = Agent(lively, made["id"], org, {})
    assert made["status"] == "awaiting_agent"

    def heartbeat():
        return lively.request("POST", "/registry/heartbeat", {"workspace_id": agent.id},
                              token=made["connection"]["auth_token"]).status_code

    assert heartbeat() == 200 and agent.row()["status"] == "online"
    agent.wait_status("offline", 1 + 2 * SILENCE_S)
    assert heartbeat() == 200 and agent.row()["status"] == "online"
    assert act(agent, "stop")["status"] == "noop" and act(agent, "start")["status"] == "noop"
    act(agent, "pause")
    assert heartbeat() == 409 and agent.row()["status"] == "paused"
    assert act(agent, "resume")["resumed_count"] == 1
    assert agent.row()["status"] == "awaiting_agent"
    assert heartbeat() == 200 and agent.row()["status"] == "online"
    lively.api("DELETE", f"/workspaces/{agent.id}", org=org, headers={"X-Confirm-Name": made["name"]})
    assert heartbeat() == 401
    assert types(agent)[-1] == "WORKSPACE_REMOVED"


def test_a_pause_holds_the_whole_subtree(lively):
    top = lively.new_agent()
    below = lively.new_agent(parent_id=top.id)
    idle = Agent(lively, lively.new_workspace(["sleep", "9"], start=False, parent_id=below.id)[0], top.org, {})
    pids = [pid_of(top), pid_of(below)]
    assert act(top, "pause") == {"status": "paused", "paused_count": 2}
    assert [a.row()["status"] for a in (top, below, idle)] == ["paused", "paused", "stopped"]
    wait_until(lambda: not any(map(is_alive, pids)), "both to be gone")
    assert "is paused" in act(idle, "start", status=409)["error"]
    assert "is paused" in act(below, "restart", status=409)["error"]
    assert "is paused" in act(below, "resume", status=409)["error"]
    act(top, "pause", status=404)
    answer = act(top, "resume")
    assert (answer["status"], answer["resumed_count"], answer["refused"]) == ("provisioning", 2, [])
    top.wait_status("online"), below.wait_status("online")
    assert idle.row()["status"] == "stopped"
    act(top, "resume", status=404)


def test_a_secret_that_was_missing_starts_what_failed_without_it(lively):
    workspace, org = lively.new_workspace(["sleep", "600"], model="opus", start=False,
                                          secrets={"CLAUDE_CODE_OAUTH_TOKEN": "x" * 20})
    agent = Agent(lively, workspace, org, {})
    lively.api("DELETE", f"/workspaces/{workspace}/secrets/CLAUDE_CODE_OAUTH_TOKEN", org=org)
    assert act(agent, "start", status=422)["code"] == "MISSING_BYOK_CREDENTIAL"
    assert "a start would be refused: MISSING_BYOK_CREDENTIAL" in lively.cli("explain", workspace, PURSER_ORG=org).stdout
    assert agent.row()["status"] == "failed"
    lively.api("POST", f"/workspaces/{workspace}/secrets", {"key": "CLAUDE_CODE_OAUTH_TOKEN", "value": "y" * 20}, org=org)
    agent.wait_status("online")
    assert "a start would not be refused" in lively.cli("explain", workspace, PURSER_ORG=org).stdout


def payer(agent):
    """What the read endpoint says, and what the agent that runs was given."""
    said = agent.purser.api("GET", f"/admin/workspaces/{agent.id}/llm-billing-mode", org=agent.org)
    env = agent.purser.read_env(agent.id)
    return said["resolved_mode"], env["MOLECULE_LLM_BILLING_MODE_RESOLVED"], env["MODEL"]


def once_started_anew(agent, change):
    """Makes the change, and waits until another start's agent has written down what it got."""
    file = agent.purser.home(agent.id) / "env"
    before = file.stat().st_ino
    change()
    wait_until(lambda: file.stat().st_ino != before, "the agent anew", 10)


@pytest.mark.parametrize("model, more, mode, other", [
    (MODEL, {}, "platform_managed", None),
    ("opus", {"secrets": {"CLAUDE_CODE_OAUTH_TOKEN": "x" * 20}}, "byok", (MODEL, "platform_managed"))])
def test_the_payer_is_the_same_after_whatever_starts_it_anew(lively, model, more, mode, other):
    agent = lively.new_agent(model=model, **more)
    api, org, path = lively.api, agent.org, f"/workspaces/{agent.id}"
    assert payer(agent) == (mode, mode, model)
    once_started_anew(agent, lambda: act(agent, "restart"))
    assert payer(agent) == (mode, mode, model), "restart"
    once_started_anew(agent, lambda: (act(agent, "pause"), act(agent, "resume")))
    assert payer(agent) == (mode, mode, model), "resume"
    once_started_anew(agent, lambda: os.kill(pid_of(agent), signal.SIGKILL))
    assert payer(agent) == (mode, mode, model), "after its death"
    if other is None:
        return
    once_started_anew(agent, lambda: api("POST", path + "/secrets", {"key": "EXTRA", "value": "1"}, org=org))
    assert payer(agent) == (mode, mode, model), "another secret"
    assert lively.read_env(agent.id)["EXTRA"] == "1"
    once_started_anew(agent, lambda: api("PUT", path + "/model", {"model": other[0]}, org=org))
    assert payer(agent) == (other[1], other[1], other[0]), "another model"


def test_a_stopped_server_brings_its_agents_back(shared_sim):
    purser = Purser(shared_sim)
    try:
        agent = purser.new_agent()
        agent.wait_status("online")
        stopped = purser.new_agent()
        act(stopped, "stop")
        pid, token = pid_of(agent), agent.token
        purser.process.stop(signal.SIGINT, 20)
        assert not is_alive(pid)
        purser.start()
        agent.wait_status("online")
        assert pid_of(agent) != pid and is_alive(pid_of(agent))
        assert agent.post({"model": MODEL}, token=token).status_code == 401
        assert stopped.row()["status"] == "stopped"
        assert {"reason": "shutdown"} in details(agent, "WORKSPACE_OFFLINE")
    finally:
        purser.stop()
