"""Two nodes spend one budget while one of them dies, again and again: never more than the limit, and nothing is forgotten.

CHAOS_NODE_KILLS says how often (2), CHAOS_SEED=N repeats a run.
"""

import json
import os
import random
import threading
import time

import httpx
import pytest

from harness import MODEL, PATIENCE, Purser, Sim, new_key, wait_until
from test_nodes import Nodes

KILLS = int(os.environ.get("CHAOS_NODE_KILLS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
CENT = 10_000_000  # nano-USD
PATH = "/api/v1/internal/llm/anthropic/v1/messages"


class Callers:
    """Threads that call both nodes in turn; some calls are streams, and all may be broken off."""

    def __init__(self, nodes, token, seed, threads=8):
        self.nodes, self.token, self.statuses, self.over = nodes, token, [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(seed + n), n), daemon=True) for n in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self, r, n):
        with httpx.Client(timeout=30 * PATIENCE, verify=False, headers={"x-api-key": self.token}) as client:
            while not self.over.is_set():
                n += 1
                output = r.randint(1, 200)
                body = {"model": MODEL, "max_tokens": 200, "stream": r.random() < 0.6, "messages": [{
                    "role": "user", "content": f"sim: input={r.randint(1, 50)} output={output} events=8 delay_ms={r.randint(0, 20)}"}]}
                try:
                    status = client.post((self.nodes.a, self.nodes.b)[n % 2].url + PATH, json=body).status_code
                except httpx.HTTPError:
                    status = None
                self.statuses.append(status)
                if status != 200:
                    self.over.wait(0.05)

    def stop(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)


@pytest.fixture
def nodes():
    sim = Sim({"anthropic-api": new_key()}, calls_kept=100_000)
    both = Nodes(sim)
    yield both
    both.a.stop()
    both.b.stop()
    sim.stop()


def total(nodes, org):
    return int(nodes.sql(f"SELECT COALESCE(SUM(cost_nano_usd), 0) FROM ledger WHERE org_id = '{org}'"))


def kill_and_revive(nodes):
    """Everything of node b dies at once, the recorder with what it holds stays."""
    port = nodes.b.port
    nodes.b.abandon()
    nodes.b = Purser(nodes.sim, keys={}, state=nodes.state_b, port=port, env={"PURSER_STORE": nodes.url})


def set_limit(nodes, org, nano):
    nodes.a.api("PUT", "/org/budgets/total", {"limit": nano // CENT, "mode": "hard"}, org=org)


def of_leases(nodes, org, column):
    return int(nodes.sql(f"SELECT COALESCE(SUM({column}), 0) FROM budget_leases WHERE budget_id IN "
                         f"(SELECT id FROM budgets WHERE org_id = '{org}')"))


def both_know(nodes, org):
    """What a node admits before it hears of a new budget is the documented part; here no more of it is wanted."""
    return int(nodes.sql("SELECT COUNT(*) FROM budget_leases WHERE wanted_ms >= 0 AND budget_id IN "
                         f"(SELECT id FROM budgets WHERE org_id = '{org}')")) == 2


def agree(nodes, org, limit):
    """Never more than the limit was spent; and nothing is open, nodes have told each other what the ledger says, and the
    limit holds for what is leased, too."""
    told = [node.request("GET", "/org/budgets", org=org, token=nodes.a.admin_token).json()["budgets"] for node in (nodes.a, nodes.b)]
    spent = total(nodes, org)
    assert spent <= limit, (spent, limit)
    # A node that has nothing new to tell has not asked for the last of the other.
    quiet = all(b["open_nano_usd"] == 0 and b["spent_nano_usd"] <= spent for (b,) in told)
    return quiet and of_leases(nodes, org, "spent_nano") == spent and of_leases(nodes, org, "held_nano") <= limit


def test_a_node_that_dies_spends_nothing_twice_and_forgets_nothing(nodes):
    print(f"CHAOS_SEED={SEED} CHAOS_NODE_KILLS={KILLS}", flush=True)
    r = random.Random(SEED)
    agent = nodes.a.new_agent(command="sleep 100000")
    org, limit = agent.org, CENT
    wait_until(lambda: nodes.call(nodes.b, agent).status_code == 200, "the other node to know the token")
    agent.wait_entries(1)
    set_limit(nodes, org, limit)
    wait_until(lambda: both_know(nodes, org) and agree(nodes, org, limit), "both nodes to know of the budget")
    began, statuses = time.monotonic(), []
    for n in range(KILLS):
        limit += r.randint(3, 20) * CENT  # only raised: another node hears of a change a moment later
        set_limit(nodes, org, limit)
        callers = Callers(nodes, agent.token, r.randrange(1 << 30))
        try:
            callers.over.wait(r.uniform(0.2, 2.0))  # the moment is what is random here
            kill_and_revive(nodes)
            wait_until(lambda: 200 in callers.statuses[-200:] or 402 in callers.statuses[-200:], "calls to go on", 30)
            callers.over.wait(r.uniform(0.2, 2.0))
        finally:
            callers.stop()
        statuses += callers.statuses
        wait_until(lambda: agree(nodes, org, limit), f"the nodes to agree with the ledger after kill {n}", 20)

    # What the node held when it died comes back: one node alone can spend the limit to its end.
    limit += 5 * CENT
    set_limit(nodes, org, limit)
    wait_until(lambda: nodes.call(nodes.a, agent).status_code == 402, "the limit to be reached", 60)
    wait_until(lambda: all(node.health().json()["recorder"]["used"] == 0 for node in (nodes.a, nodes.b)), "all calls to be booked")
    spent = total(nodes, org)
    assert limit - 2_000_000 < spent <= limit, (spent, limit)

    sent = [c for c in nodes.sim.stats()["calls"] if c["kind"] == "messages"]
    rows = nodes.sql(f"SELECT state, vendor_status, call_id FROM ledger WHERE org_id = '{org}'").splitlines()
    assert len(set(rows)) == len(rows)
    assert len(sent) <= sum(not row.startswith("failed|0|") for row in rows)
    told = json.loads(nodes.a.cli("audit", "verify", "--json").stdout)
    assert told["valid"], told
    print(f"{len(sent)} calls at the vendor, {len(rows)} rows, {({s: statuses.count(s) for s in set(statuses)})}, "
          f"{time.monotonic() - began:.0f} s")
