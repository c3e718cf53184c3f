"""Two nodes on one PostgreSQL: budgets in shares, wishes that travel, one node per id, events at once."""

import concurrent.futures
import os
import shutil
import signal
import time

import httpx
import pytest

from harness import MODEL, PATIENCE, PROGRAM, Nodes, Process, command_of, free_port, make_folder, wait_until

LOOK_S = 2  # how often a node looks for what no notice told it


@pytest.fixture(scope="module")
def nodes(shared_sim):
    both = Nodes(shared_sim)
    yield both
    both.stop()


def ask(nodes, method, path, org, body=None, **more):
    """Of node b, as the admin of the store."""
    return nodes.b.request(method, path, body, org=org, token=nodes.a.admin_token, **more)


def test_together_they_spend_no_more_than_the_limit(nodes):
    agent = nodes.a.new_agent()
    wait_until(lambda: nodes.call(nodes.b, agent).status_code == 200, "the other node to know the token")
    spent = agent.wait_entries(1)[0]["cost_nano_usd"]
    limit = 40_000_000
    nodes.a.api("PUT", "/org/budgets/total", {"limit": 4, "mode": "hard"}, org=agent.org)

    def call(n):
        return nodes.call((nodes.a, nodes.b)[n % 2], agent).status_code

    wait_until(lambda: call(0) == 200, "its own node to have a share")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(call, range(120)))
    total = lambda: int(nodes.sql(f"SELECT COALESCE(SUM(cost_nano_usd), 0) FROM ledger WHERE org_id = '{agent.org}'"))
    held = lambda: int(nodes.sql("SELECT COALESCE(SUM(held_nano), 0) FROM budget_leases WHERE budget_id = "
                                 f"(SELECT id FROM budgets WHERE org_id = '{agent.org}')"))
    assert total() <= limit and held() <= limit, (codes, total(), held(), spent)
    # One of them dies with all it has; what the other may spend stays below the limit.
    nodes.b.abandon()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: nodes.call(nodes.a, agent), range(60)))
    assert total() <= limit and held() <= limit, (total(), held())
    nodes.b = nodes.start_b()
    wait_until(lambda: nodes.call(nodes.b, agent).status_code != 401, "the other node to be back")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(call, range(60)))
    assert total() <= limit and held() <= limit, (codes, total(), held())


def test_what_another_node_is_asked_comes_to_the_agent_s_own(nodes):
    agent = nodes.a.new_agent()
    agent.wait_status("online")
    asked = ask(nodes, "POST", f"/workspaces/{agent.id}/stop", agent.org)
    assert asked.status_code == 202 and asked.json()["desired"] == "stopped", asked.text
    agent.wait_status("stopped")
    assert ask(nodes, "POST", f"/workspaces/{agent.id}/start", agent.org).status_code == 202
    agent.wait_status("online")
    before = (nodes.a.home(agent.id) / "pid").read_text()
    assert ask(nodes, "POST", f"/workspaces/{agent.id}/restart", agent.org).status_code == 202
    wait_until(lambda: (nodes.a.home(agent.id) / "pid").read_text() not in ("", before), "another process")
    agent.wait_status("online")
    logs = ask(nodes, "GET", f"/workspaces/{agent.id}/logs", agent.org)
    assert logs.status_code == 409 and asked.json()["node_id"] in logs.text, logs.text
    paused = ask(nodes, "POST", f"/workspaces/{agent.id}/pause", agent.org)
    assert (paused.status_code, paused.json()["status"]) == (202, "pausing"), paused.text
    agent.wait_status("paused")
    assert ask(nodes, "POST", f"/workspaces/{agent.id}/resume", agent.org).status_code == 202
    agent.wait_status("online")
    name = agent.row()["name"]
    gone = ask(nodes, "DELETE", f"/workspaces/{agent.id}", agent.org, headers={"X-Confirm-Name": name})
    assert gone.status_code == 202, gone.text
    wait_until(lambda: nodes.sql(f"SELECT status FROM workspaces WHERE id = '{agent.id}'") == "removed", "it to be gone")


def test_a_suspended_org_has_no_agent_on_any_node(nodes):
    org = nodes.a.new_org()
    agent = nodes.a.new_agent(org=org)
    ask(nodes, "POST", f"/admin/orgs/{org}/suspend", None).raise_for_status()
    wait_until(lambda: nodes.sql(f"SELECT status FROM workspaces WHERE id = '{agent.id}'") == "stopped", "its end")


def test_a_copied_node_id_is_noticed(nodes):
    folder = make_folder()
    shutil.copytree(nodes.a.state, folder / "state", ignore=shutil.ignore_patterns("*.sock", "homes", "recorder*", "lock"))
    twin = Process([PROGRAM, "serve", "--state", folder / "state", "--store", nodes.url, "--recorder-slots", "64",
                    "--listen", f"127.0.0.1:{free_port()}"], folder / "log")
    wait_until(lambda: not twin.alive(), "it to refuse", 15)
    assert "STATE_LOCKED" in twin.log() and "same node" in twin.log(), twin.log()


def test_an_event_of_one_node_is_told_by_the_other_at_once(nodes):
    org, n = nodes.a.new_org(), 5
    with httpx.stream("GET", nodes.b.url + "/events", timeout=30 * PATIENCE, verify=False, headers={
            "Authorization": f"Bearer {nodes.a.admin_token}", "X-Molecule-Org-Id": org}) as stream:
        lines = stream.iter_lines()
        next(lines)
        began = time.monotonic()
        for _ in range(n):  # the next one happens when the last one was told
            nodes.a.new_workspace(["true"], org=org, start=False)
            next(line for line in lines if line.startswith("data:"))
        took = time.monotonic() - began
    assert took < (n - 1) * LOOK_S, "so many looks would be needed"


def test_a_node_that_is_gone_for_good_is_given_up(nodes):
    org, limit = nodes.a.new_org(), 4_000_000_000
    nodes.a.api("PUT", "/org/budgets/total", {"limit": limit // 10_000_000, "mode": "hard"}, org=org)
    made = [ask(nodes, "POST", "/workspaces", org, {
        "name": f"stray {restart}", "model": MODEL, "command": ["sleep", "600"], "restart": restart}).json()["id"]
        for restart in ("on-failure", "never")]
    row = lambda workspace: nodes.a.api("GET", f"/workspaces/{workspace}", org=org)
    wait_until(lambda: {row(w)["status"] for w in made} == {"online"}, "the agents to be online")
    own, lost = (nodes.sql(f"SELECT node_id FROM workspaces WHERE id = '{w}'") for w in (
        nodes.a.new_workspace(["true"], org=org, start=False)[0], made[0]))
    held = lambda node: int(nodes.sql("SELECT COALESCE(SUM(held_nano), 0) FROM budget_leases WHERE node_id = "
                                      f"'{node}' AND budget_id = (SELECT id FROM budgets WHERE org_id = '{org}')"))
    wait_until(lambda: held(lost) > 0, "the other node to have a lease")
    assert "less than 30 s ago" in nodes.a.cli("node", "forget", lost, check=False).stderr
    assert "not lost" in nodes.a.cli("node", "forget", own, check=False).stderr
    nodes.b.abandon()
    nodes.sql(f"UPDATE nodes SET last_seen_ms = 0 WHERE id = '{lost}'")
    assert "silent" in nodes.a.cli("node", "list").stdout
    assert "2 workspaces are taken over" in nodes.a.cli("node", "forget", lost).stdout
    # As after a failure of the machine itself: who may be started again is.
    wait_until(lambda: row(made[0])["status"] == "online", "its agent to be started here")
    assert (row(made[1])["status"], row(made[1])["last_error"]["code"]) == ("failed", "AGENT_EXITED")
    assert nodes.sql(f"SELECT COUNT(*) FROM workspaces WHERE node_id = '{lost}'") == "0"
    assert nodes.sql(f"SELECT COUNT(*) FROM tokens WHERE org_id = '{org}' AND kind = 'usage' AND revoked_ms = 0") == "1"
    wait_until(lambda: held(own) == limit and held(lost) == 0, "all of the budget to be here")
    assert nodes.a.cli("node", "forget", lost, check=False).returncode == 1
    nodes.b = nodes.new_b()


def test_a_node_that_was_given_up_and_comes_back_leaves_its_former_agents_alone(nodes):
    """It was cut off, not gone: the end of what still runs there is nobody's news, nor is its own."""
    nodes.b.stop()
    nodes.b = nodes.start_b("--on-shutdown", "stop")
    org = nodes.a.new_org()
    made = [ask(nodes, "POST", "/workspaces", org, {
        "name": f"twin {n}", "model": MODEL, "restart": "on-failure", "command": [
            "sh", "-c", "echo $$ > pid; exec sleep 600"]}).json()["id"] for n in range(2)]
    status = lambda id: nodes.a.api("GET", f"/workspaces/{id}", org=org)["status"]
    pid = lambda node, id: node.home(id) and (node.home(id) / "pid").exists() and (node.home(id) / "pid").read_text()
    state = lambda: [(status(id), pid(nodes.a, id), [
        e["type"] for e in nodes.a.api("GET", f"/workspaces/{id}/events", org=org)["events"]]) for id in made] + [
        nodes.sql(f"SELECT COUNT(*) FROM tokens WHERE org_id = '{org}' AND kind = 'usage' AND revoked_ms = 0")]
    wait_until(lambda: all(status(id) == "online" for id in made), "the agents to be online")
    lost = nodes.sql(f"SELECT node_id FROM workspaces WHERE id = '{made[0]}'")
    former, purserd = [int(pid(nodes.b, id)) for id in made], nodes.b.purserd_pid()
    os.kill(purserd, signal.SIGSTOP)
    nodes.sql(f"UPDATE nodes SET last_seen_ms = 0 WHERE id = '{lost}'")
    nodes.a.cli("node", "forget", lost)
    os.kill(purserd, signal.SIGCONT)
    wait_until(lambda: all(pid(nodes.a, id) and status(id) == "online" for id in made), "the agents to be started here")
    before = state()
    os.kill(former[0], signal.SIGKILL)
    wait_until(lambda: "another node has taken this workspace over" in nodes.b.log(), "the end to be noticed")
    assert state() == before and "sleep" in command_of(former[1])
    nodes.b.stop()
    assert state() == before and "sleep" not in command_of(former[1])
    nodes.b = nodes.start_b()
