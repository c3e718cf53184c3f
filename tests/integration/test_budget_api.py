"""Budgets and rate limits: who may set them, what they show, that they are in force at once, and their alerts."""

import hashlib
import hmac
import http.server
import json
import threading

import httpx
import pytest

from harness import MODEL, Purser, wait_until

CENT = 10_000_000  # nano-USD


def ask(agent, text="hi", **more):
    return agent.post({"model": MODEL, "max_tokens": 8, "messages": [{"role": "user", "content": text}]} | more)


pytestmark = pytest.mark.usefixtures("one_day")


@pytest.fixture
def agent(purser):
    agent = purser.new_agent(org=purser.new_org())
    yield agent
    agent.stop()


def org_budgets(purser, org):
    return purser.api("GET", "/org/budgets", org=org)["budgets"]


def test_an_org_without_a_budget_has_the_default(purser, agent):
    (budget,) = org_budgets(purser, agent.org)
    assert (budget["scope"], budget["period"], budget["mode"], budget["default"]) == ("org", "day", "hard", True)
    assert budget["limit_nano_usd"] == 20_000_000_000 == budget["left_nano_usd"]
    # A budget of its own takes its place; without it the default is back; exempted, there is none.
    purser.cli("budget", "set", "--org", agent.org, "--period", "month", "--limit", "12.50", "--warn")
    (own,) = org_budgets(purser, agent.org)
    assert (own["period"], own["mode"], own["limit_nano_usd"], own["default"]) == ("month", "warn", 1250 * CENT, False)
    purser.cli("budget", "rm", "--org", agent.org, "--period", "month")
    assert org_budgets(purser, agent.org)[0]["default"]
    purser.cli("budget", "exempt", "--org", agent.org)
    assert org_budgets(purser, agent.org) == []
    purser.cli("budget", "exempt", "--off", "--org", agent.org)
    assert len(org_budgets(purser, agent.org)) == 1


def test_only_the_admin_sets_an_orgs_budget_and_no_workspace_its_own(purser, agent):
    token = purser.api("POST", "/org/tokens", {}, org=agent.org)["auth_token"]
    own = purser.api("POST", f"/workspaces/{agent.id}/tokens", {}, org=agent.org)["auth_token"]
    budget = f"/workspaces/{agent.id}/budget"
    for method, path, body, who in [
            ("PUT", "/org/budgets/day", {"limit": 1}, token), ("PATCH", "/org/budgets", {"exempt": True}, token),
            ("PATCH", budget, {"budget_limit": 1}, own), ("PATCH", f"/workspaces/{agent.id}", {"budget_limit": 1}, own),
            ("PUT", f"/workspaces/{agent.id}/limits", {"workspace": {"concurrent": 1}}, own),
            ("GET", "/org/budgets", None, agent.token), ("GET", budget, None, agent.token)]:
        answer = purser.request(method, path, body, token=who)
        assert (answer.status_code, answer.json()["code"]) == (403, "WRONG_CREDENTIAL_KIND"), (method, path)
    assert purser.request("PATCH", budget, {"budget_limit": 500}, token=token).status_code == 200
    assert purser.request("GET", budget, token=own).json()["budget_limit"] == 500


def test_a_workspaces_budget_reads_as_it_was_written(purser, agent):
    path = f"/workspaces/{agent.id}/budget"
    empty = purser.api("GET", path, org=agent.org)
    assert empty["periods"]["daily"] == {"limit": None, "spend": 0, "remaining": None, "mode": None}
    told = purser.api("PATCH", path, {"budget_limits": {"hourly": 100, "monthly": {"limit": 3000, "mode": "warn"}}}, org=agent.org)
    assert told["periods"]["hourly"]["remaining"] == 100 and told["periods"]["monthly"]["mode"] == "warn"
    assert (told["budget_limit"], told["monthly_spend"], told["budget_remaining"]) == (3000, 0, 3000)
    assert agent.row()["budget_limit"] == 3000
    # All periods are replaced; the old form is the monthly one.
    told = purser.api("PATCH", path, {"budget_limit": 7}, org=agent.org)
    assert [k for k, v in told["periods"].items() if v["limit"] is not None] == ["monthly"]
    assert purser.api("PATCH", path, {"budget_limit": None}, org=agent.org)["budget_limit"] is None
    for body, said in [({}, "budget_limits or budget_limit field is required"),
                       ({"budget_limits": {"yearly": 1}}, "unknown budget period: yearly"),
                       ({"budget_limits": {"daily": -1}}, "budget limit for daily must be an integer >= 0 (USD cents)"),
                       ({"budget_limit": "1"}, "budget_limit must be an integer (USD cents) or null"),
                       ({"budget_limits": {"daily": 10**15}}, "the largest"),
                       ({"budget_limits": {p: 1 for p in ("hourly", "daily", "weekly", "monthly", "total")}}, "at most 4")]:
        answer = purser.request("PATCH", path, body, org=agent.org)
        assert answer.status_code == 400 and said in answer.json()["error"], answer.text


def test_a_budget_given_at_create_is_in_force_before_the_first_call(purser, sim):
    agent = purser.new_agent(org=purser.new_org(), budget_limit=0)
    answer = ask(agent)
    assert answer.status_code == 402 and answer.json()["error"]["type"] == "billing_error"
    assert sim.calls() == []
    purser.cli("budget", "set", agent.id, "--org", agent.org, "--period", "month", "--limit", "1")
    assert ask(agent).status_code == 200
    agent.wait_entries(1)
    budgets = purser.api("GET", f"/workspaces/{agent.id}/budget", org=agent.org)["budgets"]
    cost = agent.entries()[0]["cost_nano_usd"]
    assert {(b["scope"], b["spent_nano_usd"]) for b in budgets} == {("org", cost), ("workspace", cost)}
    agent.stop()


def test_a_new_budget_counts_what_was_spent_before_it(purser, agent):
    ask(agent, "sim: input=20000 output=8")
    cost = agent.wait_entries(1)[0]["cost_nano_usd"]
    told = purser.api("PUT", "/org/budgets/week", {"limit": cost // CENT}, org=agent.org)["budgets"]
    assert [b["spent_nano_usd"] for b in told if b["period"] == "week"] == [cost]
    assert ask(agent).status_code == 402


def test_an_agent_sees_what_is_left_to_it(purser, agent):
    ask(agent)
    cost = agent.wait_entries(1)[0]["cost_nano_usd"]
    url, bearer = agent.env["MOLECULE_LLM_USAGE_URL"], {"Authorization": f"Bearer {agent.token}"}
    told = httpx.get(url, headers=bearer, verify=False).json()
    assert told["workspace_id"] == agent.id and told["today"]["cost_nano_usd"] == cost
    assert told["budgets"][0]["left_nano_usd"] == 20_000_000_000 - cost
    assert httpx.get(url, verify=False).status_code == 401
    agent.stop()
    assert httpx.get(url, headers=bearer, verify=False).status_code == 401


def test_rate_limits_hold_at_once_and_go_again(purser, agent):
    path = f"/workspaces/{agent.id}/limits"
    purser.cli("budget", "limits", agent.id, "--org", agent.org, "--requests", "2")
    answers = [ask(agent) for _ in range(4)]
    assert [a.status_code for a in answers] == [200, 200, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert purser.api("GET", path, org=agent.org)["workspace"]["requests_per_minute"] == 2
    purser.api("PUT", path, {"workspace": None}, org=agent.org)
    assert ask(agent).status_code == 200
    purser.api("PUT", path, {"token": {"concurrent": 1}}, org=agent.org)
    with agent.open_call():
        assert ask(agent).status_code == 429
    wait_until(lambda: ask(agent).status_code == 200, "the place to be free again")


class Webhook:
    """Where alerts are posted; the first post fails, to see it tried again."""

    def __init__(self):
        self.posts = posts = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                posts.append((dict(self.headers), self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(500 if len(posts) == 1 else 204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def test_passing_a_threshold_is_told_once_as_an_event_and_to_the_webhook(sim):
    hook = Webhook()
    purser = Purser(sim, flags=["--alert-webhook", hook.url, "--metrics-listen", "none"])
    try:
        agent = purser.new_agent(org=purser.new_org())
        purser.api("PUT", "/org/budgets/day", {"limit": 100, "mode": "warn"}, org=agent.org)
        ask(agent, "sim: input=120000 output=8")  # 0.60 USD
        wait_until(lambda: len(hook.posts) == 2, "the alert and its repetition")
        headers, body = hook.posts[1]
        alert = json.loads(body)
        assert (alert["type"], alert["percent"], alert["org_id"], alert["period"]) == ("budget.alert", 50, agent.org, "day")
        key = bytes.fromhex((purser.state / "alert-key").read_text().strip())
        signed = headers["X-Purser-Timestamp"].encode() + b"." + body
        assert headers["X-Purser-Signature"] == "sha256=" + hmac.new(key, signed, hashlib.sha256).hexdigest()
        ask(agent, "sim: input=120000 output=8")  # 1.20 USD: 75 and 90 are old news by now
        wait_until(lambda: len(hook.posts) == 3, "the next alert")
        assert json.loads(hook.posts[2][1])["percent"] == 100
        ask(agent)
        agent.wait_entries(3)
        # Told once: also a purserd that starts anew tells nothing again.
        purser.process.stop()
        purser.start()
        agent.purser.api("GET", "/org/budgets", org=agent.org)
        assert len(hook.posts) == 3
    finally:
        purser.stop()
        hook.server.shutdown()
