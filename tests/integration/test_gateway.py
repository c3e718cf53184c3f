"""Real SDKs through the gateway: the vendor's truth, the ledger and `purser usage` agree exactly."""

import json
import os
from pathlib import Path

import anthropic
import httpx
import pytest

from harness import MODEL, VENDOR_MODEL, opus_cost, wait_until

KINDS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")


def ask(text, **more):
    return {"model": MODEL, "max_tokens": 400, "messages": [{"role": "user", "content": text}]} | more


@pytest.fixture
def agent(purser):
    agent = purser.new_agent()
    yield agent
    agent.stop()


def check_books(purser, sim, agent, n=1):
    """n calls: the sim's truth, the ledger's rows, the workspace's sums and the command line."""
    truth = sim.calls(model=VENDOR_MODEL)
    rows = agent.wait_entries(n)
    assert len(truth) == n
    costs = [opus_cost(c["usage"]) for c in truth]
    for row in rows:
        assert (row["state"], row["certainty"]) == ("settled", "exact"), row
        assert row["model_asked"] == MODEL
    as_told = sorted(tuple(row[f"{k}_tokens"] for k in KINDS) + (row["cost_nano_usd"],) for row in rows)
    assert as_told == sorted(tuple(c["usage"][k] for k in KINDS) + (cost,) for c, cost in zip(truth, costs))

    usage = agent.usage()
    shown = json.loads(purser.cli("usage", "--org", agent.org, "--json", agent.id).stdout)
    for sums in (usage, shown):
        assert sums["calls"] == n
        assert sums["cost_nano_usd"] == sum(costs)
        for kind in KINDS:
            assert sums[f"{kind}_tokens"] == sum(c["usage"][kind] for c in truth)
    return truth


def test_a_json_call_is_accounted_to_the_token_and_the_nano_dollar(purser, sim, agent):
    message = agent.anthropic().messages.create(**ask(
        "sim: input=1000 output=500 cache_read=20000 cache_write_5m=3000 cache_write_1h=7"))
    assert message.usage.output_tokens == 500 and message.content[0].text.startswith("Hello!")
    check_books(purser, sim, agent)


def test_a_streamed_call_is_accounted_to_the_token_and_the_nano_dollar(purser, sim, agent):
    with agent.anthropic().messages.stream(**ask(
            "sim: input=1001 output=77 cache_read=13 cache_write_5m=1 events=30 delay_ms=2")) as stream:
        pieces = list(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens == 77
    assert len(pieces) == 30
    check_books(purser, sim, agent)


def test_the_worked_example_costs_what_the_price_list_says(purser, sim, agent):
    agent.anthropic().messages.create(**ask("sim: input=1000 cache_read=20000 cache_write_5m=3000 output=500"))
    assert agent.wait_entries(1)[0]["cost_nano_usd"] == 46_250_000


def test_many_calls_are_each_accounted_once(purser, sim, agent):
    client = agent.anthropic()
    for i in range(20):
        body = ask(f"sim: input={100 + i} output={10 + i}")
        if i % 2:
            client.messages.create(**body)
        else:
            with client.messages.stream(**body) as stream:
                stream.until_done()
    check_books(purser, sim, agent, 20)


def test_usage_that_comes_late_in_the_stream_counts(purser, sim, agent):
    with agent.anthropic().messages.stream(**ask("sim: input=321 output=12 cache_read=5 late_usage=1")) as stream:
        stream.until_done()
    check_books(purser, sim, agent)


def test_the_vendor_sees_the_platforms_key_and_nothing_of_the_agents(purser, sim, agent):
    agent.anthropic().messages.create(**ask("hi"))
    (call,) = check_books(purser, sim, agent)
    assert call["key"]["name"] == "anthropic-api"
    assert "psr_" not in json.dumps(call["headers"])
    assert "anthropic-version" in call["headers"]


def test_events_come_one_by_one_not_in_one_lump(purser, sim, agent):
    """The vendor falls silent after each third event: what it said until then is with the client."""
    for said in (3, 6, 9):
        with agent.anthropic().messages.stream(**ask(f"sim: events=20 output=20 stall_after={said}")) as stream:
            for heard, _ in enumerate(stream.text_stream, 1):
                if heard == said:
                    break
    assert {row["state"] for row in agent.wait_entries(3)} == {"aborted"}


@pytest.mark.parametrize("status", [400, 429, 500, 529])
def test_a_vendors_error_is_relayed_and_costs_nothing(purser, sim, agent, status):
    with pytest.raises(anthropic.APIStatusError) as told:
        agent.anthropic().messages.create(**ask(f"sim: status={status} retry_after=7"))
    assert told.value.status_code == status and told.value.response.headers["retry-after"] == "7"
    assert "asked to answer like this" in told.value.body["error"]["message"]
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["cost_nano_usd"]) == ("failed", 0)


def test_a_client_that_leaves_pays_for_the_prompt_and_what_it_got(purser, sim, agent):
    with agent.anthropic().messages.stream(**ask("sim: input=500 output=200 events=200 stall_after=5")) as stream:
        for seen, _ in enumerate(stream.text_stream, 1):
            if seen == 5:
                break
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"]) == ("aborted", "estimated")
    assert row["input_tokens"] == 500 and 0 < row["output_tokens"] <= 400
    wait_until(lambda: sim.calls(outcome="aborted_by_client"), "the vendor to notice")


def test_a_vendor_that_dies_is_an_interrupted_call(purser, sim, agent):
    with pytest.raises(Exception):
        with agent.anthropic().messages.stream(**ask("sim: input=500 output=100 events=100 die_after=5")) as stream:
            stream.until_done()
    (row,) = agent.wait_entries(1)
    assert (row["state"], row["certainty"], row["input_tokens"]) == ("interrupted", "estimated", 500)


def test_the_token_dies_with_the_start_it_was_made_for(purser, sim):
    agent = purser.new_agent()
    assert agent.post(ask("hi")).status_code == 200
    agent.stop()
    assert agent.post(ask("hi")).status_code == 401
    assert len(sim.calls(outcome="completed")) == 1


def test_clients_may_probe_the_base_and_hello_without_a_token_and_nothing_else(purser):
    for base in ("/api/v1/internal/llm/anthropic", "/api/v1/internal/llm/openai/v1"):
        for path in (base, base + "/", base + "/api/hello"):
            assert httpx.head(purser.url + path).status_code == 200, path
            assert httpx.get(purser.url + path).status_code == 404, path
        assert httpx.head(purser.url + base + "/v1/nothing").status_code == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts workers as another user")
def test_no_process_of_the_workers_user_can_look_into_a_worker(purser):
    for pid in purser.worker_pids():
        # The kernel gives the files of a process that may be looked into to the user it runs as.
        assert Path(f"/proc/{pid}").stat().st_uid != 0
        assert Path(f"/proc/{pid}/mem").stat().st_uid == 0
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0
