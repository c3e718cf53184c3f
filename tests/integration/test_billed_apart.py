"""What a vendor bills otherwise than by the model asked for: its own searches, and a model of its choice."""

import json

import pytest

import httpx

from harness import MODEL, Purser, free_port
from raw import Client, Vendor, answer
from registries import lives_at, provider_in, registry_file, routed

PRO = ("deepseek", "deepseek-v4-pro")
SEARCH = {"type": "web_search_20250305", "name": "web_search"}
SONNET = "anthropic/claude-sonnet-4-6"
TIERED = "minimax/MiniMax-M2.7"


def offered(registry):
    deepseek = provider_in(registry, "deepseek")
    deepseek["upstream_vendor"] = "deepseek"
    for model in deepseek["models"].values():
        model["max_output"] = 1000
    provider_in(registry, "anthropic-api")["models"]["claude-haiku-5-5"]["max_output"] = 1000


@pytest.fixture(scope="module")
def vendor():
    vendor = Vendor("anthropic-api", "deepseek")
    registry = registry_file(lives_at("anthropic-api", vendor.url), lives_at("deepseek", vendor.url), offered,
                             routed(MODEL, PRO), routed(TIERED, ("anthropic-api", "claude-haiku-5-5")))
    vendor.metrics = f"127.0.0.1:{free_port()}"
    vendor.purser = Purser(keys=vendor.keys, flags=["--registry", registry, "--metrics-listen", vendor.metrics])
    yield vendor
    vendor.purser.stop()
    vendor.stop()


def play(vendor, model, **usage):
    body = json.dumps({"id": "m", "type": "message", "model": model, "stop_reason": "end_turn", "content": [],
                       "usage": {"input_tokens": 1000, "output_tokens": 100} | usage}).encode()

    def play(call):
        call.read()
        call.send(answer(body=body))
    vendor.reset()
    vendor.play = play


def send(agent, model, **fields):
    client = Client(agent)
    status, headers, body = client.send(body=json.dumps(
        {"model": model, "max_tokens": 200, "messages": [{"role": "user", "content": "hi"}]} | fields).encode()).answer()
    client.leave()
    return status, headers, json.loads(body)


@pytest.mark.parametrize("answered, cost, certainty, by", [
    # Peak prices in force: pro 1.32 and 3.96 USD a million, flash 0.30 and 1.20.
    ("deepseek-v4-pro", 1716000, "exact", None),
    ("deepseek-v4-flash", 420000, "exact", None),
    ("deepseek-v4-flash-20261101", 420000, "exact", None),
    ("deepseek-v5", 1716000, "estimated", "asked_model"),
    ("n" * 90, 1716000, "estimated", "asked_model"),
])
def test_the_model_that_answered_is_paid_where_the_vendor_bills_it(vendor, answered, cost, certainty, by):
    play(vendor, answered)
    agent = vendor.purser.new_agent()
    assert send(agent, MODEL)[0] == 200
    (row,) = agent.wait_entries(1)
    assert (row["model_answered"], row["cost_nano_usd"], row["certainty"], row["estimated_by"]) == (answered, cost, certainty, by)
    assert row["state"] == "settled"
    agent.stop()


def test_searches_are_counted_and_paid(vendor):
    play(vendor, "claude-sonnet-4-6", server_tool_use={"web_search_requests": 2})
    agent = vendor.purser.new_agent(model=SONNET)
    assert send(agent, SONNET, tools=[SEARCH | {"max_uses": 3}])[0] == 200
    (row,) = agent.wait_entries(1)
    assert row["web_searches"] == 2 and row["certainty"] == "exact"
    assert row["cost_nano_usd"] == 1000 * 3000 + 100 * 15000 + 2 * 10_000_000
    assert row["bound_nano_usd"] > row["cost_nano_usd"] + 10_000_000
    metrics = httpx.get(f"http://{vendor.metrics}/metrics").text
    assert f'purser_web_searches_total{{provider="anthropic-api",model="{SONNET}"}} 2' in metrics
    agent.stop()


@pytest.mark.parametrize("tokens, cost", [(100_000, 100_000 * 100 + 10 * 500), (100_001, 100_001 * 500 + 10 * 2500)])
def test_a_correction_is_priced_by_the_tier_of_what_the_prompt_was(vendor, tokens, cost):
    """A row that stands at its bound has the price of a short prompt."""
    def play(call):
        call.read()
        call.send(answer(body=b'{"id": "m", "type": "message", "model": "claude-haiku-5-5", "content": []}'))
    vendor.reset()
    vendor.play = play
    agent = vendor.purser.new_agent(model=TIERED)
    assert send(agent, TIERED)[0] == 200
    (row,) = agent.wait_entries(1)
    assert (row["certainty"], row["price_micro_usd_per_million"]["above_tokens"]) == ("bound", 0)
    vendor.purser.cli("ledger", "correct", row["call_id"], "--reason", "the bill", "--input", tokens, "--output", 10)
    correction = next(r for r in agent.entries() if r["kind"] == "correction")
    assert row["cost_nano_usd"] + correction["cost_nano_usd"] == cost == agent.usage()["cost_nano_usd"]
    assert correction["price_micro_usd_per_million"]["above_tokens"] == (100_000 if tokens > 100_000 else 0)
    agent.stop()


@pytest.mark.parametrize("model, tool, code, words", [
    (SONNET, SEARCH, "BAD_REQUEST", "max_uses"),
    (SONNET, {"type": "code_execution_20250825", "name": "c"}, "TOOL_NOT_PRICED", "code_execution_20250825"),
    (MODEL, SEARCH | {"max_uses": 3}, "TOOL_NOT_PRICED", "the agent's own settings"),
])
def test_what_has_no_price_is_refused_by_its_name(vendor, model, tool, code, words):
    play(vendor, "claude-sonnet-4-6")
    agent = vendor.purser.new_agent(model=model)
    status, headers, body = send(agent, model, tools=[tool])
    assert status == 400 and headers["x-purser-code"] == [code] and words in body["error"]["message"]
    assert "cannot be read" not in body["error"]["message"]
    assert vendor.calls == [] and agent.entries() == []
    agent.stop()
