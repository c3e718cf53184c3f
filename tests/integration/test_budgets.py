"""Budgets and rate limits at the gateway: what is refused, how it is said, and that no cap is ever passed."""

import json
import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from harness import MODEL, Purser, Sim, new_key, wait_until

CENT = 10_000_000  # nano-USD
OUTPUT = 25_000  # of one token
INPUT = 10_000  # the dearest way to pay for one


pytestmark = pytest.mark.usefixtures("one_day")


@pytest.fixture(scope="module")
def vendor():
    sim = Sim({"anthropic-api": new_key(), "minimax": new_key()}, calls_kept=20_000)
    yield sim
    sim.stop()


@pytest.fixture(scope="module")
def purser(vendor):
    purser = Purser(vendor, flags=["--worker-processes", "2"])
    yield purser
    purser.stop()


def body(text="hi", max_tokens=1000, **more):
    return {"model": MODEL, "max_tokens": max_tokens, "messages": [{"role": "user", "content": text}]} | more


def bound(b):
    """The most such a call can cost: every byte a token at the dearest rate, and all the output."""
    return len(json.dumps(b)) * INPUT + b["max_tokens"] * OUTPUT


def cap(purser, agent, cents, period="monthly", mode="hard"):
    limit = None if cents is None else {"limit": cents, "mode": mode}
    return purser.api("PATCH", f"/workspaces/{agent.id}/budget", {"budget_limits": {period: limit}}, org=agent.org)


def budget(purser, agent, period="month"):
    """The workspace's own budget of that period."""
    shown = purser.api("GET", f"/workspaces/{agent.id}/budget", org=agent.org)["budgets"]
    (found,) = [b for b in shown if b["scope"] == "workspace" and b["period"] == period]
    return found


def settled(purser, agent):
    """The budget, once nothing is open."""
    return wait_until(lambda: (b := budget(purser, agent))["open_nano_usd"] == 0 and b, "all calls to be settled")


def ledger_sum(agent):
    return agent.usage()["cost_nano_usd"]


class Caller:
    """Many calls at one time over connections that are kept."""

    def __init__(self, agent, threads):
        self.agent = agent
        self.http = httpx.Client(limits=httpx.Limits(max_connections=threads), timeout=30,
                                 headers={"x-api-key": agent.token, "content-type": "application/json"})
        self.threads = ThreadPoolExecutor(threads)

    def post(self, b):
        return self.http.post(self.agent.env["ANTHROPIC_BASE_URL"] + "/v1/messages", content=json.dumps(b))

    def all(self, bodies):
        return list(self.threads.map(self.post, bodies))

    def stop(self):
        self.threads.shutdown()
        self.http.close()


@pytest.fixture
def caller(purser):
    made = []

    def make(threads, **more):
        made.append(Caller(purser.new_agent(**more), threads))
        return made[-1]

    yield make
    for c in made:
        c.stop()


def test_a_cap_of_three_bounds_admits_three_of_forty_forty_times_in_a_row(purser, caller):
    many = caller(40)
    # Each costs exactly three cents and may cost a little more: of ten cents a fourth never fits.
    b = body("x" * 400 + " sim: input=1000 output=1000")
    assert 3 * CENT <= bound(b) <= 10 * CENT / 3
    for done in range(40):
        cap(purser, many.agent, 9 * done + 10)
        answers = many.all([b] * 40)
        admitted = [a for a in answers if a.status_code == 200]
        assert len(admitted) == 3, [a.status_code for a in answers]
        assert {a.status_code for a in answers} <= {200, 402, 429}
        for a in answers:
            if a.status_code == 429:
                assert a.headers["x-purser-code"] == "BUDGET_BUSY" and int(a.headers["retry-after"]) >= 1
            elif a.status_code == 402:
                assert a.headers["x-purser-code"] == "BUDGET_EXHAUSTED" and "retry-after" not in a.headers
    assert settled(purser, many.agent)["spent_nano_usd"] == 40 * 9 * CENT


def test_small_costs_against_large_bounds_all_get_through(purser, caller):
    many = caller(12)
    b = body("sim: input=10 output=5 first_delay_ms=30")
    cap(purser, many.agent, 8)  # three bounds at a time
    refused = []

    def until_served(_):
        def served():
            answer = many.post(b)
            if answer.status_code != 200:
                refused.append((answer.status_code, answer.headers["x-purser-code"], "retry-after" in answer.headers))
            return answer.status_code == 200

        for _ in range(3):
            wait_until(served, "the call to be served", seconds=30)

    list(many.threads.map(until_served, range(12)))
    assert set(refused) <= {(429, "BUDGET_BUSY", True)}
    assert settled(purser, many.agent)["spent_nano_usd"] == 36 * (10 * 5_000 + 5 * OUTPUT)


def test_random_calls_never_pass_random_caps(purser, vendor, caller):
    rng = random.Random(7)
    many = caller(8)
    for cents in (rng.randint(3, 12), rng.randint(13, 60)):
        start = settled(purser, many.agent)["spent_nano_usd"] if cents > 12 else 0
        cap(purser, many.agent, start // CENT + cents)
        limit = (start // CENT + cents) * CENT
        bodies = []
        for _ in range(80):
            output = rng.randint(1, 900)
            bodies.append(body(f"sim: input={rng.randint(1, 90)} output={rng.randint(1, output)} events=3",
                               max_tokens=output, stream=rng.random() < 0.5))
        answers = many.all(bodies)
        assert {a.status_code for a in answers} <= {200, 402, 429}
        shown = settled(purser, many.agent)
        assert start < shown["spent_nano_usd"] <= limit
    wait_until(lambda: ledger_sum(many.agent) == settled(purser, many.agent)["spent_nano_usd"],
               "the ledger to say what the budget says")


def test_a_used_up_budget_is_told_as_each_dialect_tells_it(purser, caller):
    agent = caller(1).agent
    cap(purser, agent, 1)
    answer = agent.post(body())
    assert answer.status_code == 402 and answer.json()["error"]["type"] == "billing_error"
    assert answer.headers["x-should-retry"] == "false"
    message = answer.json()["error"]["message"]
    assert "this call can cost up to 0.026" in message and "0.0100 USD is left until" in message, message
    assert agent.entries() == []


def test_an_openai_client_hears_insufficient_quota(purser, vendor):
    model = "minimax/MiniMax-M2.7"
    agent = purser.new_agent(model=model)
    cap(purser, agent, 0)
    base, key = agent.env["MOLECULE_LLM_BASE_URL"], {"authorization": f"Bearer {agent.token}"}
    for path, more in (("/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}),
                       ("/responses", {"input": "hi"})):
        answer = httpx.post(base + path, headers=key, json={"model": model} | more, verify=False)
        assert answer.status_code == 429 and answer.headers["x-should-retry"] == "false", answer.text
        assert answer.json()["error"]["code"] == answer.json()["error"]["type"] == "insufficient_quota"
    assert vendor.calls(model="MiniMax-M2.7") == []


def test_a_warning_budget_only_counts(purser, caller):
    agent = caller(1).agent
    cap(purser, agent, 1, mode="warn")
    assert [agent.post(body("sim: input=10 output=900")).status_code for _ in range(3)] == [200] * 3
    assert settled(purser, agent)["spent_nano_usd"] == 3 * (50_000 + 900 * OUTPUT)


def test_a_stream_holds_only_what_it_may_still_cost(purser, vendor):
    agent = purser.new_agent()
    cap(purser, agent, 100)
    with agent.open_call("input=40", max_tokens=1000, metadata={"user_id": "x" * 500}):
        wait_until(lambda: budget(purser, agent)["open_nano_usd"] == 40 * 5_000 + 1000 * OUTPUT, "the bound to shrink")
    assert 40 * 5_000 < settled(purser, agent)["spent_nano_usd"] < 40 * 5_000 + 1000 * OUTPUT
    agent.post(body("sim: input=40 output=5 events=5", stream=True))
    assert agent.wait_entries(2)[0]["cost_nano_usd"] == 40 * 5_000 + 5 * OUTPUT


def test_a_stream_that_began_before_the_budget_counts_in_it(purser, vendor):
    agent = purser.new_agent()
    with agent.open_call("input=40", max_tokens=1000):
        cap(purser, agent, 100)
        assert budget(purser, agent)["open_nano_usd"] >= 1000 * OUTPUT
    spent = agent.wait_entries(1)[0]["cost_nano_usd"]
    assert spent > 0 and settled(purser, agent)["spent_nano_usd"] == spent


def test_an_orgs_budget_holds_for_all_its_workspaces(purser):
    org = purser.new_org()
    agents = [purser.new_agent(org=org) for _ in range(2)]
    purser.api("PUT", "/org/budgets/day", {"limit": 7}, org=org)
    b = body("x" * 400 + " sim: input=1000 output=1000")  # three cents

    def answered(agent):
        """Until what the call before reserved is settled, the gateway says: in a moment (429)."""
        return wait_until(lambda: (a := agent.post(b)).status_code != 429 and a, "an answer that is final").status_code

    assert [answered(agents[i % 2]) for i in range(4)] == [200, 200, 402, 402]
    answer = agents[0].post(b)
    assert "organisation" in answer.json()["error"]["message"]


def test_an_error_of_the_vendor_costs_nothing(purser, caller):
    agent = caller(1).agent
    cap(purser, agent, 3)
    assert [agent.post(body("sim: status=400")).status_code for _ in range(4)] == [400] * 4
    assert settled(purser, agent)["spent_nano_usd"] == 0


def test_rate_limits_say_when_to_come_back(purser, caller):
    agent = caller(1).agent
    purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"requests_per_minute": 3}}, org=agent.org)
    answers = [agent.post(body()) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert answers[3].headers["x-purser-code"] == "REQUESTS_LIMITED" and 1 <= int(answers[3].headers["retry-after"]) <= 20
    purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"concurrent": 2}}, org=agent.org)
    with agent.open_call(), agent.open_call():
        assert [agent.post(body()).headers["x-purser-code"] for _ in range(2)] == ["TOO_MANY_CALLS"] * 2
    purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"tokens_per_minute": 50}}, org=agent.org)
    assert agent.post(body("sim: input=100 output=100")).status_code == 200
    refused = wait_until(lambda: (a := agent.post(body())).status_code == 429 and a, "the tokens to be charged")
    assert refused.headers["x-purser-code"] == "TOKENS_LIMITED"


def test_what_a_dead_worker_held_is_settled_by_its_row(vendor):
    purser = Purser(vendor, flags=["--worker-processes", "1"])
    try:
        agent = purser.new_agent()
        cap(purser, agent, 8)
        with agent.open_call("input=10"), agent.open_call("input=10"):
            assert 0 < budget(purser, agent)["open_nano_usd"] < 2 * bound(body())
            for pid in purser.worker_pids():
                os.kill(pid, signal.SIGKILL)
        rows = agent.wait_entries(2)
        assert {row["state"] for row in rows} == {"recovered"}
        wait_until(lambda: budget(purser, agent)["spent_nano_usd"] == sum(r["cost_nano_usd"] for r in rows)
                   and budget(purser, agent)["open_nano_usd"] == 0, "the budget to say what the ledger says", 20)
    finally:
        purser.stop()


def test_an_sdk_waits_for_the_rate_limit_and_gets_through(purser, caller):
    import anthropic

    agent = caller(1).agent
    purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"requests_per_minute": 30}}, org=agent.org)
    refused = next(a for a in (agent.post(body()) for _ in range(300)) if a.status_code != 200)
    assert refused.status_code == 429 and refused.headers["retry-after"] in ("1", "2"), refused.headers
    client = anthropic.Anthropic(base_url=agent.env["ANTHROPIC_BASE_URL"], api_key=agent.token, max_retries=2)
    answer = client.messages.with_raw_response.create(**body())
    assert answer.retries_taken <= 1 and answer.parse().type == "message"
    cap(purser, agent, 0)
    with pytest.raises(anthropic.APIStatusError) as refusal:
        client.messages.create(**body())
    assert refusal.value.response.headers["x-should-retry"] == "false"


def test_a_limit_outlives_purserd_and_a_reload_of_nginx(vendor):
    purser = Purser(vendor, flags=["--worker-processes", "1"])
    try:
        agent = purser.new_agent()
        purser.api("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"requests_per_minute": 2}}, org=agent.org)
        assert [agent.post(body()).status_code for _ in range(3)] == [200, 200, 429]
        os.kill(purser.purserd_pid(), signal.SIGKILL)
        wait_until(lambda: purser.healthy(), "another purserd")
        assert agent.post(body()).headers["x-purser-code"] == "REQUESTS_LIMITED"
        purser.api("PUT", "/admin/platform/keys/minimax", {"value": vendor.keys["minimax"]})  # reloads nginx
        assert agent.post(body()).headers["x-purser-code"] == "REQUESTS_LIMITED"
    finally:
        purser.stop()
