"""Two nodes on one PostgreSQL: budgets in shares, wishes that travel, one node per id, events at once."""

import concurrent.futures
import shutil
import time

import httpx
import pytest

from harness import PROGRAM, PATIENCE, Postgres, Process, Purser, free_port, make_folder, wait_until

BODY = {"model": "anthropic/claude-opus-4-7", "max_tokens": 16, "messages": [{"role": "user", "content": "hello"}]}


class Nodes:
    """Two purserds with gateways of their own, one PostgreSQL and one keyring."""

    def __init__(self, sim):
        self.engine, self.sim = Postgres.shared(), sim
        self.url = self.engine.fresh()
        self.a = Purser(sim, env={"PURSER_STORE": self.url})
        self.state_b = make_folder() / "state"
        self.state_b.mkdir(mode=0o711)
        shutil.copy2(self.a.state / "master-key", self.state_b / "master-key")
        self.b = self.start_b()

    def start_b(self):
        return Purser(self.sim, keys={}, state=self.state_b, env={"PURSER_STORE": self.url})

    def call(self, node, agent):
        return httpx.post(node.url + "/api/v1/internal/llm/anthropic/v1/messages", json=BODY, timeout=30, headers={
            "x-api-key": agent.token, "anthropic-version": "2023-06-01"})

    def sql(self, text):
        return self.engine.sql(self.url, text)

    def ask(self, method, path, org, body=None, **more):
        """Of node b, as the admin of the store."""
        return self.b.request(method, path, body, org=org, token=self.a.admin_token, **more)


@pytest.fixture(scope="module")
def nodes(shared_sim):
    both = Nodes(shared_sim)
    yield both
    both.a.stop()
    both.b.stop()


def test_together_they_spend_no_more_than_the_limit(nodes):
    agent = nodes.a.new_agent()
    wait_until(lambda: nodes.call(nodes.b, agent).status_code == 200, "the other node to know the token")
    spent = agent.wait_entries(1)[0]["cost_nano_usd"]
    limit = 40_000_000
    nodes.a.api("PUT", "/org/budgets/total", {"limit": 4, "mode": "hard"}, org=agent.org)

    def call(n):
        return nodes.call((nodes.a, nodes.b)[n % 2], agent).status_code

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(call, range(120)))
    total = lambda: int(nodes.sql(f"SELECT COALESCE(SUM(cost_nano_usd), 0) FROM ledger WHERE org_id = '{agent.org}'"))
    held = lambda: int(nodes.sql("SELECT COALESCE(SUM(held_nano), 0) FROM budget_leases WHERE budget_id = "
                                 f"(SELECT id FROM budgets WHERE org_id = '{agent.org}')"))
    assert codes.count(200) > 0 and total() <= limit and held() <= limit, (codes, total(), held(), spent)
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
    asked = nodes.ask("POST", f"/workspaces/{agent.id}/stop", agent.org)
    assert asked.status_code == 202 and asked.json()["desired"] == "stopped", asked.text
    agent.wait_status("stopped")
    assert nodes.ask("POST", f"/workspaces/{agent.id}/start", agent.org).status_code == 202
    agent.wait_status("online")
    before = (nodes.a.home(agent.id) / "pid").read_text()
    assert nodes.ask("POST", f"/workspaces/{agent.id}/restart", agent.org).status_code == 202
    wait_until(lambda: (nodes.a.home(agent.id) / "pid").read_text() not in ("", before), "another process")
    agent.wait_status("online")
    logs = nodes.ask("GET", f"/workspaces/{agent.id}/logs", agent.org)
    assert logs.status_code == 409 and asked.json()["node_id"] in logs.text, logs.text
    assert nodes.ask("POST", f"/workspaces/{agent.id}/pause", agent.org).status_code == 200
    agent.wait_status("paused")
    name = agent.row()["name"]
    gone = nodes.ask("DELETE", f"/workspaces/{agent.id}", agent.org, headers={"X-Confirm-Name": name})
    assert gone.status_code == 202, gone.text
    wait_until(lambda: nodes.sql(f"SELECT status FROM workspaces WHERE id = '{agent.id}'") == "removed", "it to be gone")


def test_a_suspended_org_has_no_agent_on_any_node(nodes):
    org = nodes.a.new_org()
    agent = nodes.a.new_agent(org=org)
    nodes.ask("POST", f"/admin/orgs/{org}/suspend", None).raise_for_status()
    wait_until(lambda: nodes.sql(f"SELECT status FROM workspaces WHERE id = '{agent.id}'") == "stopped", "its end")


def test_a_copied_node_id_is_noticed(nodes):
    folder = make_folder()
    shutil.copytree(nodes.a.state, folder / "state", ignore=shutil.ignore_patterns("*.sock", "homes", "recorder*", "lock"))
    twin = Process([PROGRAM, "serve", "--state", folder / "state", "--store", nodes.url, "--recorder-slots", "64",
                    "--listen", f"127.0.0.1:{free_port()}"], folder / "log")
    wait_until(lambda: not twin.alive(), "it to refuse", 15)
    assert "STATE_LOCKED" in twin.log() and "same node" in twin.log(), twin.log()


def test_an_event_of_one_node_is_told_by_the_other_at_once(nodes):
    org = nodes.a.new_org()
    with httpx.stream("GET", nodes.b.url + "/events", timeout=10, headers={
            "Authorization": f"Bearer {nodes.a.admin_token}", "X-Molecule-Org-Id": org}) as stream:
        took = []
        lines = stream.iter_lines()
        next(lines)
        for _ in range(3):
            began = time.monotonic()
            nodes.a.new_workspace(["true"], org=org, start=False)
            next(line for line in lines if line.startswith("data:"))
            took.append(time.monotonic() - began)
    assert max(took) < 1.0 * PATIENCE, took
