"""Budgets of several nodes with calls of all sizes: a limit that is lowered, a call that another node corrects, alerts."""

import concurrent.futures
import contextlib
import http.server
import json
import random
import threading

import httpx
import pytest

from harness import MODEL, Nodes, wait_until

CENT = 10_000_000


class Hook:
    """Where both nodes post their alerts."""

    def __init__(self):
        self.percents = percents = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                percents.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["percent"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def hook():
    made = Hook()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def nodes(shared_sim, hook):
    both = Nodes(shared_sim, flags=["--alert-webhook", hook.url])
    yield both
    both.stop()


def call(node, agent, text="hi", max_tokens=400):
    return httpx.post(node.url + "/api/v1/internal/llm/anthropic/v1/messages", timeout=30, headers={
        "x-api-key": agent.token, "anthropic-version": "2023-06-01"}, json={
            "model": MODEL, "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]})


def known_agent(nodes):
    agent = nodes.a.new_agent(org=nodes.a.new_org())
    wait_until(lambda: call(nodes.b, agent, max_tokens=1).status_code == 200, "the other node to know the token")
    agent.wait_entries(1)
    return agent


def spent(nodes, agent):
    return int(nodes.sql(f"SELECT COALESCE(SUM(cost_nano_usd), 0) FROM ledger WHERE org_id = '{agent.org}'"))


def held(nodes, agent):
    return int(nodes.sql("SELECT COALESCE(SUM(held_nano), 0) FROM budget_leases WHERE budget_id ="
                         f" (SELECT id FROM budgets WHERE org_id = '{agent.org}')"))


def unequal(rng, n):
    """Prompts and outputs from nothing to a cent and a half."""
    return [(f"sim: input={rng.randint(1, 90)} output={(output := rng.randint(1, 600))}", output) for _ in range(n)]


def storm(nodes, agent, calls):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda x: call((nodes.a, nodes.b)[x[0] % 2], agent, *x[1]), enumerate(calls)))
    assert {a.status_code for a in answers} <= {200, 402, 429}, {a.text for a in answers}
    return answers


def test_a_limit_lowered_under_load_holds_for_both_nodes_together(nodes):
    agent = known_agent(nodes)
    rng = random.Random(5)
    nodes.a.api("PUT", "/org/budgets/total", {"limit": 100}, org=agent.org)
    storm(nodes, agent, unequal(rng, 16))
    so_far = spent(nodes, agent) // CENT + 1
    limit = so_far + 8
    nodes.a.api("PUT", "/org/budgets/total", {"limit": limit}, org=agent.org)
    wait_until(lambda: held(nodes, agent) <= limit * CENT, "both nodes to have heard of it")
    for _ in range(2):
        storm(nodes, agent, unequal(rng, 16))
    wait_until(lambda: all(n.health().json()["recorder"]["used"] == 0 for n in (nodes.a, nodes.b)), "all to be booked")
    assert so_far * CENT < spent(nodes, agent) <= limit * CENT
    assert held(nodes, agent) <= limit * CENT


def test_a_new_budget_pays_for_what_the_other_node_has_open(nodes):
    agent = known_agent(nodes)
    limit, small = 30 * CENT, ("sim: input=10 output=400", 400)  # a cent
    agent.env = agent.env | {"ANTHROPIC_BASE_URL": nodes.b.url + "/api/v1/internal/llm/anthropic"}
    with contextlib.ExitStack() as streams:
        for _ in range(4):
            streams.enter_context(agent.open_call("input=2000 " + "x" * 2500))  # a cent at least, three at most
        nodes.a.api("PUT", "/org/budgets/total", {"limit": limit // CENT}, org=agent.org)
        wait_until(lambda: call(nodes.a, agent, *small) and spent(nodes, agent) > limit // 2, "most of the limit to be spent")
        storm(nodes, agent, [small] * 40)
    wait_until(lambda: all(n.health().json()["recorder"]["used"] == 0 for n in (nodes.a, nodes.b)), "all to be booked")
    assert limit // 2 < spent(nodes, agent) <= limit
    wait_until(lambda: held(nodes, agent) <= limit, "no more to be leased than there is")


def test_what_one_node_corrects_another_may_spend_again(nodes):
    agent = known_agent(nodes)
    served = call(nodes.b, agent, "sim: no_usage=1", max_tokens=3000)
    assert served.status_code == 200, served.text
    row = next(r for r in agent.wait_entries(2) if r["certainty"] == "bound")
    nodes.a.api("PUT", "/org/budgets/total", {"limit": spent(nodes, agent) // CENT + 1}, org=agent.org)
    big = ("sim: input=10 output=5", 2500)  # a bound of six cents
    wait_until(lambda: call(nodes.b, agent, *big).status_code == 402, "the bound to stand in the way")
    nodes.a.api("POST", "/admin/ledger/corrections", {
        "call_id": row["call_id"], "reason": "the bill", "input_tokens": 10, "output_tokens": 5}, org=agent.org)
    wait_until(lambda: call(nodes.b, agent, *big).status_code == 200, "the other node to count what it was")


def test_a_threshold_is_told_once_by_whichever_node(nodes, hook):
    agent = known_agent(nodes)
    hook.percents.clear()
    before = spent(nodes, agent)
    limit = 20
    nodes.a.api("PUT", "/org/budgets/day", {"limit": limit}, org=agent.org)
    shares = ((55, [50]), (80, [50, 75]), (92, [50, 75, 90]))
    for n, (percent, told) in enumerate(shares):
        tokens = (limit * CENT * percent // 100 - before) // 5_000
        node = (nodes.a, nodes.b)[n % 2]
        wait_until(lambda: call(node, agent, f"sim: input={tokens} output=0", max_tokens=1).status_code == 200,
                   "its share of the budget")
        before += tokens * 5_000
        wait_until(lambda: sorted(hook.percents) == told, f"the alerts {told}, not {hook.percents}")
    # Neither another purserd nor a node that only now hears of the sums tells it again.
    nodes.b.stop()
    nodes.b = nodes.start_b()
    wait_until(lambda: call(nodes.b, agent, max_tokens=1).status_code in (200, 429), "the node to be back")
    alerts = int(nodes.sql(f"SELECT COUNT(*) FROM events WHERE org_id = '{agent.org}' AND type = 'budget.alert'"))
    assert (alerts, sorted(hook.percents)) == (3, [50, 75, 90])
