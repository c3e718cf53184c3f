"""Caps and rate limits hold when many call at once, leave, are cut off, and workers and purserd die in between.

CHAOS_CAPS (2) says how many rounds, CHAOS_SEED=N repeats a run.
"""

import collections
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness import ANTHROPIC_BASE, MODEL, Purser, Sim, new_key, wait_until
from storm import kill, whole

ROUNDS = int(os.environ.get("CHAOS_CAPS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
CENT = 10_000_000  # nano-USD
THREADS = 24


@pytest.fixture
def purser():
    sim = Sim({"anthropic-api": new_key()}, calls_kept=100_000)
    purser = Purser(sim, flags=["--worker-processes", "2"])
    yield purser
    purser.stop()
    sim.stop()


class Client:
    """Calls of any kind by any agent; the bounds of those that were refused for good."""

    def __init__(self, purser):
        self.url = purser.url + ANTHROPIC_BASE + "/v1/messages"
        self.http = httpx.Client(limits=httpx.Limits(max_connections=THREADS), timeout=30, verify=False)
        self.threads = ThreadPoolExecutor(THREADS)
        self.seen = collections.Counter()

    def post(self, agent, text, max_tokens=100, leave=False, stream=False):
        """The answer's code, status or trouble; leave: hangs up after the first bytes."""
        content = json.dumps({"model": MODEL, "max_tokens": max_tokens, "stream": stream,
                              "messages": [{"role": "user", "content": "sim: " + text}]})
        try:
            with self.http.stream("POST", self.url, content=content, headers={
                    "x-api-key": agent.token, "content-type": "application/json"}) as answer:
                if not leave:
                    answer.read()
                what = answer.headers.get("x-purser-code") or answer.status_code
                if answer.status_code == 429 and what != answer.status_code:
                    assert int(answer.headers["retry-after"]) >= 1
        except httpx.HTTPError as e:
            what = type(e).__name__
        self.seen[what] += 1
        return what

    def random_call(self, r, agent):
        output = r.randint(1, 900)
        max_tokens = r.randint(output, 1000)
        trouble = r.choice([""] * 6 + [f" die_after={r.randint(0, 3)}", " die_before=1", " status=500", " no_usage=1"])
        text = f"input={r.randint(1, 90)} output={output} events=4 delay_ms={r.randint(0, 15)}{trouble}"
        what = self.post(agent, text, max_tokens, r.random() < 0.15, r.random() < 0.6)
        # At most: every byte a token at its dearest, and all the output.
        return what, (len(text) + 200) * 10_000 + max_tokens * 25_000

    def stop(self):
        self.threads.shutdown()
        self.http.close()


@pytest.fixture
def client(purser):
    client = Client(purser)
    yield client
    client.stop()


def settled(purser, org):
    """The org's budgets, once nothing is open and each has spent what the ledger says."""
    spent = {w: int(cost) for w, cost in purser.sql(
        "SELECT workspace_id, SUM(cost_nano_usd) FROM ledger WHERE org_id = ? GROUP BY workspace_id", org)}
    budgets = purser.api("GET", "/org/budgets", org=org)["budgets"]
    for b in budgets:
        is_spent = sum(spent.values()) if b["scope"] == "org" else spent.get(b["workspace_id"], 0)
        if (b["open_nano_usd"], b["spent_nano_usd"]) != (0, is_spent):
            return None
    return {b["workspace_id"]: b for b in budgets}


def test_no_cap_is_ever_passed(purser, client):
    print(f"CHAOS_SEED={SEED} CHAOS_CAPS={ROUNDS}", flush=True)
    r = random.Random(SEED)
    org = purser.new_org()
    agents = [purser.new_agent(org=org, command="sleep 100000") for _ in range(3)]
    limits = dict.fromkeys([None, *(a.id for a in agents)], 0)
    for n in range(ROUNDS):
        for workspace in limits:
            limits[workspace] += r.randint(5, 60 if workspace else 120)
            if workspace:
                purser.api("PATCH", f"/workspaces/{workspace}/budget", {"budget_limits": {"monthly": limits[workspace]}}, org=org)
            else:
                purser.api("PUT", "/org/budgets/month", {"limit": limits[None]}, org=org)
        calls = [client.threads.submit(client.random_call, random.Random(r.random()), r.choice(agents)) for _ in range(150)]
        victims = r.choice(([], purser.worker_pids()[:1], [purser.purserd_pid()], [purser.purserd_pid(), *purser.worker_pids()]))
        wait_until(lambda: sum(c.done() for c in calls) > 40, "some calls to have ended", 30)
        kill(*victims)
        refused = [bound for what, bound in (c.result() for c in calls) if what == "BUDGET_EXHAUSTED"]
        wait_until(lambda: whole(purser), "purser to be whole", 30)
        budgets = wait_until(lambda: settled(purser, org), "the budgets to agree with the ledger", 30)
        left = {w: limits[w] * CENT - b["spent_nano_usd"] for w, b in budgets.items()}
        assert len(left) == 4 and min(left.values()) >= 0, f"round {n}: a cap was passed: {left}"
        # Whoever was refused for good could not have been paid by all of them.
        assert not refused or max(refused) > min(left.values()), f"round {n}: refused in vain: {max(refused)}, {left}"
    print(dict(client.seen))


def test_only_so_many_calls_run_at_one_time(purser, client):
    r = random.Random(SEED)
    agent = purser.new_agent()
    purser.api("PATCH", "/org/budgets", {"exempt": True}, org=agent.org)
    for n in range(ROUNDS):
        most = r.randint(1, 12)
        purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"concurrent": most}}, org=agent.org)
        calls = list(client.threads.map(lambda _: client.post(agent, "output=1 first_delay_ms=600"), range(THREADS)))
        assert calls.count(200) == most and calls.count("TOO_MANY_CALLS") == THREADS - most, (n, most, calls)


def hammer(client, agent, seconds, text):
    """What was answered to calls without a pause for so long, and how long it took."""
    began = time.monotonic()

    def until_over(_):
        seen = collections.Counter()
        while time.monotonic() < began + seconds:
            seen[client.post(agent, text)] += 1
        return seen

    return sum(client.threads.map(until_over, range(8)), collections.Counter()), time.monotonic() - began


def test_only_so_many_requests_and_tokens_a_minute(purser, client):
    r = random.Random(SEED)
    for n in range(ROUNDS):
        agent = purser.new_agent()
        purser.api("PATCH", "/org/budgets", {"exempt": True}, org=agent.org)
        most = r.randint(5, 200)
        purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"requests_per_minute": most}}, org=agent.org)
        seen, took = hammer(client, agent, 1, "output=1")
        assert set(seen) == {200, "REQUESTS_LIMITED"}, seen
        assert most <= seen[200] <= most + took * most / 60 + 1, (n, most, seen, took)
        # A minute's worth of tokens at once, and what was under way when it was used up.
        most, each = r.randint(500, 5000), r.randint(20, 200)
        purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"tokens_per_minute": most}}, org=agent.org)
        seen, took = hammer(client, agent, 1, f"input={each - 1} output=1")
        assert set(seen) == {200, "TOKENS_LIMITED"}, seen
        assert most <= seen[200] * each <= most + took * most / 60 + 9 * each, (n, most, each, seen, took)
        agent.stop()
