"""However a vendor counts, the row says the same tokens as the vendor meant."""

import itertools

import httpx
import pytest

from harness import Purser, Sim, new_key, wait_until

MODEL = "minimax/MiniMax-M2.7"
TOKENS = {"input": 50, "cache_read": 30, "cache_write_5m": 0, "cache_write_1h": 0, "output": 20, "reasoning": 7}
ASKED = "sim: input=50 cache_read=30 output=20 reasoning=7 "


@pytest.fixture(scope="module")
def vendor():
    sim = Sim({"minimax": new_key()})
    yield sim
    sim.stop()


@pytest.fixture(scope="module")
def agent(vendor):
    purser = Purser(vendor, flags=["--worker-processes", "1"])
    yield purser.new_agent(model=MODEL)
    purser.stop()


def call(agent, path, body):
    answer = httpx.post(agent.env["MOLECULE_LLM_BASE_URL"] + path, json=body | {"model": MODEL}, timeout=30, verify=False,
                        headers={"authorization": f"Bearer {agent.token}"})
    assert answer.status_code == 200, answer.text
    return answer


def row_of(agent, answer):
    """The ledger's row of this answer, told by the request id."""
    (row,) = wait_until(lambda: [r for r in agent.entries() if r["call_id"] == answer.headers["x-request-id"]], "the row")
    return row


@pytest.mark.parametrize("style, stream", list(itertools.product(["plain", "choice", "hit_miss", "beside", "each"], [True, False])))
def test_a_chat_completion_is_booked_exactly(agent, style, stream):
    answer = call(agent, "/chat/completions", {
        "stream": stream, "messages": [{"role": "user", "content": ASKED + f"style={style}"}]})
    row = row_of(agent, answer)
    assert (row["state"], row["certainty"]) == ("settled", "exact")
    assert {kind: row[kind + "_tokens"] for kind in TOKENS} == TOKENS
    # Nobody asked for the chunk that only tells usage.
    assert '"choices":[],"usage"' not in answer.text


@pytest.mark.parametrize("stream", [True, False])
def test_a_response_is_booked_exactly(agent, stream):
    row = row_of(agent, call(agent, "/responses", {"stream": stream, "input": ASKED}))
    assert (row["state"], row["certainty"]) == ("settled", "exact")
    assert (row["input_tokens"], row["cache_read_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (50, 30, 20, 7)


def test_usage_that_never_comes_is_booked_as_the_bound(agent):
    row = row_of(agent, call(agent, "/chat/completions", {
        "stream": True, "max_tokens": 9, "n": 2, "messages": [{"role": "user", "content": "sim: no_usage=1"}]}))
    assert (row["state"], row["certainty"], row["output_tokens"]) == ("interrupted", "bound", 18)
    assert row["cost_nano_usd"] == row["bound_nano_usd"]
